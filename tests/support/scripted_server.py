"""A scripted WebSocket server for a browser page; playwright routes the sockets to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from playwright.async_api import Browser, Page, WebSocketRoute

from tests.support.browser_pages import page_of
from tests.support.waiting import PATIENCE_S
from tests.support.web_server import Server

Command = dict[str, Any]
Reply = Callable[[Command], dict[str, Any] | None]

# Makes a client in the page and notes what happens to it; does not wait until it is connected.
START = """
    async (options = {}) => {
        const { WsClient } = await import("/static/client.js");
        window.seen = [];
        window.client = new WsClient({ token: "t", minDelayMs: 1, maxDelayMs: 5, ...options });
        const plain = ({ error, ...detail }) =>
            error ? { ...detail, code: error.code, message: error.message } : detail;
        for (const name of ["state", "open", "close", "rejoined", "error", "lost"]) {
            client.addEventListener(`ws:${name}`, ({ detail }) =>
                seen.push([`ws:${name}`, plain(detail)]));
        }
        window.outcome = (promise) => promise.then(
            (reply) => reply.type ?? "done", (error) => error.code ?? String(error));
        window.until = (test) => new Promise((resolve) => {
            const look = () => (test() ? resolve() : setTimeout(look, 5));
            look();
        });
        window.closes = () =>
            seen.filter(([name]) => name === "ws:close").map(([, detail]) => detail);
        client.connect().catch(() => {});
    }
"""


def error(code: str, **details: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"code": code, "message": code, **details}}


def resumed(command: Command) -> dict[str, Any]:
    answer = {"recovered": True, "epoch": "e", "offset": 0, "messages": []}
    return {"type": "resumed", "streams": dict.fromkeys(command["streams"], answer)}


def joined(command: Command) -> dict[str, Any]:
    members = {"epoch": "e", "offset": 0, "recovered": False, "messages": [], "users": []}
    return {"type": "session_joined", "session_id": command["session_id"], **members}


class ScriptedServer:
    """Accepts every client and answers its commands from ``replies``, which tests change."""

    def __init__(self) -> None:
        self.greeting: dict[str, Any] | None = {
            "type": "connection_established",
            "connection_id": "c",
            "user_id": "u1",
            "heartbeat_interval": 30,
            "max_message_bytes": 65536,
        }
        self.replies: dict[str, Reply] = {
            "ping": lambda _: {"type": "pong"},
            "resume": resumed,
            "join_session": joined,
            "leave_session": lambda command: {**command, "type": "session_left"},
            "send_message": lambda _: {"type": "ack"},
            "ack": lambda _: {"type": "ack"},
            "read": lambda _: {"type": "ack"},
            "refresh_token": lambda _: {"type": "token_refreshed"},
        }
        self.sockets: list[WebSocketRoute] = []
        self.commands: list[Command] = []
        self.closes: list[tuple[int | None, str | None]] = []
        self._arrived = asyncio.Event()

    async def attend(self, page: Page) -> None:
        await page.route_web_socket("**/ws/chat", self._take_in)

    def push(self, **members: Any) -> None:
        self.sockets[-1].send(json.dumps(members))

    async def close(self, code: int, reason: str = "") -> None:
        await self.sockets[-1].close(code=code, reason=reason)

    def of(self, type_: str) -> list[Command]:
        return [command for command in self.commands if command["type"] == type_]

    async def command(self, type_: str, count: int = 1) -> Command:
        """The so-manieth command of a type, once it is there."""
        while len(self.of(type_)) < count:
            self._arrived.clear()
            await asyncio.wait_for(self._arrived.wait(), PATIENCE_S)
        return self.of(type_)[count - 1]

    def _take_in(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        socket.on_message(lambda text: self._hear(socket, json.loads(text)))
        socket.on_close(lambda code, reason: self.closes.append((code, reason)))
        if self.greeting is not None:
            socket.send(json.dumps(self.greeting))

    def _hear(self, socket: WebSocketRoute, command: Command) -> None:
        self.commands.append(command)
        self._arrived.set()
        make_reply = self.replies.get(command["type"])
        reply = make_reply(command) if make_reply is not None else None
        if reply is not None:
            socket.send(json.dumps({**reply, "ref": command["ref"]}))


@contextlib.asynccontextmanager
async def staged(
    chromium: Browser, server: Server, **options: Any
) -> AsyncIterator[tuple[Page, ScriptedServer]]:
    """A client in a page, connected to a server that the test plays."""
    scripted = ScriptedServer()
    async with page_of(chromium, server) as page:
        await scripted.attend(page)
        await page.evaluate(START, options)
        await page.evaluate("until(() => client.state === 'open')")
        yield page, scripted
