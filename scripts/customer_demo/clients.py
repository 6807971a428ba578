"""Clients of the demo: the REST API as an administrator, and a person's WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

API = "/api/v1/websocket"
Push = dict[str, Any]


class StepFailed(Exception):
    """Something did not happen as it should; says what."""


class Api:
    """Requests with one token; what was answered is kept in ``answers``."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token
        self.answers: list[str] = []

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON; raises ``StepFailed`` for an error."""
        request = HTTPRequest(
            f"{self._url}{API}{path}",
            method,
            {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            None if body is None else json.dumps(body).encode(),
        )
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        text = answer.body.decode()
        self.answers.append(text)
        if not 200 <= answer.code < 300:
            raise StepFailed(f"{method} {path}: {answer.code} {text}")
        return json.loads(text)


class Person:
    """Somebody at a browser: one WebSocket, and every push that came."""

    def __init__(self, url: str, token: str, patience_s: float) -> None:
        self._url = url.replace("http", "ws", 1) + "/ws/chat"
        self._token = token
        self._patience_s = patience_s
        self.pushes: list[Push] = []
        self._changed = asyncio.Event()

    async def connect(self) -> None:
        """Connect, and read until the connection ends."""
        self._socket: WebSocketClientConnection = await websocket_connect(
            self._url, subprotocols=["wsserver.v1", f"bearer.{self._token}"]
        )
        self._reading = asyncio.ensure_future(self._read())

    async def close(self) -> None:
        """Disconnect."""
        self._reading.cancel()
        self._socket.close()

    async def send(self, **command: Any) -> None:
        """Send a command."""
        await self._socket.write_message(json.dumps(command))

    async def wait(self, what: str, wanted: Callable[[Push], bool]) -> Push:
        """The first push that is wanted, whether it has come already or not.

        Raises ``StepFailed`` if it does not come.
        """
        at = 0
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    while at < len(self.pushes):
                        if wanted(self.pushes[at]):
                            return self.pushes[at]
                        at += 1
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise StepFailed(f"{what} did not come within {self._patience_s:g} s") from None

    def of_type(self, type_: str) -> list[Push]:
        """The pushes of a type that have come so far."""
        return [push for push in self.pushes if push["type"] == type_]

    async def _read(self) -> None:
        while (text := await self._socket.read_message()) is not None:
            push = json.loads(text)
            if push["type"] == "ping":
                await self.send(type="pong", id=push["id"])
            elif "stream" in push and "id" in push:
                await self.send(type="ack", ids=[push["id"]])
            self.pushes.append(push)
            self._changed.set()
