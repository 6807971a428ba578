"""Plays a plan to a server: connections, commands and publications at their times."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from wsctl.errors import Failed
from wsctl.replay.plan import Connection, Plan, Step, publication
from wsctl.replay.translation import Translation
from wsctl.text import one_line
from wsctl.websocket.connection import SUBPROTOCOL, options, websocket_url

REPLY_PATIENCE_S = 10.0
"""For one reply."""
OPEN_TIMEOUT_S = 10.0

Publish = Callable[[str, dict[str, Any]], Mapping[str, Any]]
"""Posts a body to a path of the API; raises ``Failed``."""


@dataclass
class Played:
    """What a replay did, and where it went otherwise than recorded."""

    commands: int = 0
    replies: int = 0
    published: int = 0
    different: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For output."""
        return {
            "commands": self.commands,
            "replies": self.replies,
            "published": self.published,
            "different": self.different,
        }


class Player:
    """Plays one plan. ``sign`` makes a token for a connection; ``speed``: 2 is twice as fast."""

    def __init__(
        self,
        plan: Plan,
        url: str,
        *,
        sign: Callable[[Connection], str],
        publish: Publish,
        suffix: str,
        speed: float = 1.0,
    ) -> None:
        self.played = Played()
        self._plan = plan
        self._url = url
        self._sign = sign
        self._publish = publish
        self._speed = speed
        self._translation = Translation(suffix)
        self._sockets: dict[str, ClientConnection] = {}
        self._readers: list[asyncio.Task[None]] = []
        self._awaited: dict[tuple[str, Any], tuple[Mapping[str, Any], asyncio.Event]] = {}
        """Commands without a reply, by connection and ref."""

    async def run(self) -> Played:
        """Play everything, and close the connections.

        What was done after a reply is done after that reply here, too, however late it comes.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            for step in self._plan.steps:
                await asyncio.sleep(began + step.at_s / self._speed - loop.time())
                await self._take(step)
        finally:
            for socket in self._sockets.values():
                await socket.close()
            await asyncio.gather(*self._readers)
        return self.played

    async def _take(self, step: Step) -> None:
        connection = self._plan.connections[step.connection]
        if step.action == "connect":
            await self._connect(connection)
        elif step.action == "send":
            await self._send(connection, step.frame)
        elif step.action == "reply":
            await self._wait_for_reply(connection, step.frame.get("ref"))
        elif step.action == "publish":
            await self._publish_push(step, connection)
        elif (socket := self._sockets.pop(step.connection, None)) is not None:
            await socket.close()

    async def _connect(self, connection: Connection) -> None:
        given = options(self._sign(connection))
        if connection.protocol != SUBPROTOCOL:
            del given["subprotocols"]
        try:
            socket = await connect(
                websocket_url(self._url, connection.path), open_timeout=OPEN_TIMEOUT_S, **given
            )
        except (OSError, InvalidHandshake, TimeoutError) as error:
            self._differs(connection, "connect", "opened", one_line(str(error) or "no answer"))
            return
        self._sockets[connection.connection_id] = socket
        self._readers.append(asyncio.create_task(self._read(connection, socket)))

    async def _send(self, connection: Connection, recorded: Mapping[str, Any]) -> None:
        socket = self._sockets.get(connection.connection_id)
        if socket is None:
            return
        key = (connection.connection_id, recorded.get("ref"))
        if key in self._plan.replies:
            self._awaited[key] = (recorded, asyncio.Event())
        try:
            await socket.send(json.dumps(self._translation.command(recorded)))
        except ConnectionClosed:
            self._awaited.pop(key, None)
            self._differs(connection, str(recorded.get("type")), "sent", "connection closed")
            return
        self.played.commands += 1

    async def _wait_for_reply(self, connection: Connection, ref: Any) -> None:
        key = (connection.connection_id, ref)
        if key not in self._awaited:
            return
        command, replied = self._awaited[key]
        try:
            await asyncio.wait_for(replied.wait(), REPLY_PATIENCE_S)
        except TimeoutError:
            self._awaited.pop(key, None)
            self._differs(connection, str(command.get("type")), "a reply", "none")

    async def _publish_push(self, step: Step, connection: Connection) -> None:
        made = publication(step, connection.user_id)
        if made is None:
            return
        try:
            answer = await asyncio.to_thread(self._publish, *made)
        except Failed as error:
            self._differs(connection, f"publish {step.frame.get('type')}", "published",
                          one_line(error.message))  # fmt: skip
            return
        self.played.published += 1
        recorded = {**step.frame, "message_id": step.frame.get("id")}
        self._translation.learn(recorded, answer)

    async def _read(self, connection: Connection, socket: ClientConnection) -> None:
        try:
            async for text in socket:
                frame = json.loads(text)
                if frame.get("type") == "ping" and "ref" not in frame:
                    await socket.send(json.dumps({"type": "pong", "id": frame.get("id")}))
                else:
                    self._compare(connection, frame)
        except ConnectionClosed:
            return

    def _compare(self, connection: Connection, frame: Mapping[str, Any]) -> None:
        """Compare a reply with the recorded one."""
        key = (connection.connection_id, frame.get("ref"))
        if key not in self._awaited:
            return
        command, replied = self._awaited.pop(key)
        self.played.replies += 1
        recorded = self._plan.replies[key]
        self._translation.learn(recorded, frame)
        expected, got = outcome(recorded), outcome(frame)
        if expected != got:
            self._differs(connection, str(command.get("type")), expected, got)
        replied.set()

    def _differs(self, connection: Connection, what: str, recorded: str, got: str) -> None:
        self.played.different.append(
            {"user_id": connection.user_id, "what": what, "recorded": recorded, "now": got}
        )


def outcome(reply: Mapping[str, Any]) -> str:
    """What a reply says, in one word: its type, or the code of an error."""
    error = reply.get("error")
    if reply.get("type") == "error" and isinstance(error, dict):
        return f"error {error.get('code')}"
    return str(reply.get("type"))
