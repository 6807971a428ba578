"""Servers inside the test's own process, and WebSocket clients of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.waiting import PATIENCE_S
from wsserver import Server

SECRET = "a secret of these tests with 32+ bytes"
Make = Callable[..., Server]


class Client:
    """A WebSocket client past the greeting."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def push(self, type_: str) -> Any:
        """The next push, which must be of this type."""
        push = await self.any_push()
        assert push["type"] == type_, push
        return push

    async def any_push(self) -> Any:
        """The next push."""
        return json.loads(await asyncio.wait_for(self._socket.recv(), PATIENCE_S))

    async def close_code(self) -> int:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.wait_for(self._socket.recv(), PATIENCE_S)
        return int(self._socket.close_code or 0)


@asynccontextmanager
async def client_of(
    server: Server, user_id: str = "u1", path: str = "/ws/chat", **claims: Any
) -> AsyncIterator[Client]:
    bearer = f"bearer.{server.token(user_id, **claims)}"
    offers = [Subprotocol("wsserver.v1"), Subprotocol(bearer)]
    async with connect(server.websocket_url(path), subprotocols=offers) as socket:
        client = Client(socket)
        await client.push("connection_established")
        yield client
