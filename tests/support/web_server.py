"""A whole server on a real port, and clients that can say anything to it."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

from tests.support import tokens
from tests.support.frames import client_frame, read_close, read_frame
from tests.support.http_response import Response
from tests.support.tokens import SECRET
from wsserver.app import System, build
from wsserver.config import Settings
from wsserver.web.server.listener import Listener

API = "/api/v1/websocket"
KEY = base64.b64encode(bytes(range(16))).decode()


def token(sub: str = "admin1", role: str = "admin", **claims: Any) -> str:
    """An administrator's token unless otherwise said; claims of None are left out."""
    now = time.time()
    claims = {"role": role, "iat": now - 10, "exp": now + 3600, **claims}
    present = {name: value for name, value in claims.items() if value is not None}
    return tokens.token(sub, exp_in=None, **present)


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body; raises ``asyncio.IncompleteReadError`` for one without its last chunk."""
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body


async def read_response(reader: asyncio.StreamReader, method: str = "GET") -> Response:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    body = b""
    if method != "HEAD" and "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif method != "HEAD" and headers.get("transfer-encoding") == "chunked":
        body = await read_chunks(reader)
    return Response(int(first.split()[1]), headers, body)


class Socket:
    """A WebSocket client that reads frames and masks what it sends."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, response: Response
    ) -> None:
        self.reader, self.writer, self.response = reader, writer, response
        self.greeting: dict[str, Any] = {}

    async def frame(self) -> tuple[int, bytes]:
        first, payload = await read_frame(self.reader.readexactly)
        return first & 15, payload

    async def push(self, type_: str | None = None) -> dict[str, Any]:
        """The next JSON message, or the next one of a type."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                raise AssertionError(f"closed {payload!r}")
            if opcode == 1:
                message = json.loads(payload)
                if type_ == message["type"] or (
                    type_ is None and message["type"] != "unread_changed"
                ):
                    return dict(message)

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the close frame; answers it as a browser does."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                self.send_frame(8, payload[:2])
                return read_close(payload)

    def send_frame(self, opcode: int, payload: bytes) -> None:
        self.writer.write(client_frame(payload, opcode))

    def send(self, **message: Any) -> None:
        self.send_frame(1, json.dumps(message).encode())

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass


class Server:
    """The system of ``app.build`` behind a listener."""

    def __init__(self, system: System, listener: Listener, port: int) -> None:
        self.system, self.listener, self.port = system, listener, port
        self.sockets: list[Socket] = []
        self.event_streams: list[Any] = []

    @property
    def context(self) -> Any:
        return self.system.application.settings["context"]

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def raw(self, data: bytes, method: str = "GET") -> Response:
        """Send bytes as they are and read one answer."""
        reader, writer = await self.open()
        try:
            writer.write(data)
            return await read_response(reader, method)
        finally:
            writer.close()

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        bearer: str | None = None,
        headers: Mapping[str, str] | None = None,
        **json_body: Any,
    ) -> Response:
        """One request on its own connection; keyword arguments are a JSON body."""
        lines = {"Host": f"127.0.0.1:{self.port}", "Connection": "close"}
        if json_body:
            body = json.dumps(json_body).encode()
        if body is not None:
            lines |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        if bearer is not None:
            lines["Authorization"] = f"Bearer {bearer}"
        lines |= headers or {}
        head = "".join(f"{k}: {v}\r\n" for k, v in lines.items() if v)
        data = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b"")
        return await self.raw(data, method)

    async def get(self, path: str, **options: Any) -> Response:
        options.setdefault("bearer", token())
        return await self.request("GET", f"{API}{path}", **options)

    async def post(self, path: str, body: bytes | None = None, /, **options: Any) -> Response:
        options.setdefault("bearer", token())
        return await self.request("POST", f"{API}{path}", body, **options)

    async def upgrade(
        self,
        path: str = "/ws/chat",
        *,
        bearer: str | None = None,
        protocols: str = "wsserver.v1",
        headers: Mapping[str, str] | None = None,
        after: bytes = b"",
        method: str = "GET",
    ) -> Socket:
        """An upgrade request; the answer may be a refusal."""
        lines = {
            "Host": f"127.0.0.1:{self.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": KEY,
            "Sec-WebSocket-Protocol": protocols,
        }
        if bearer is not None:
            lines["Authorization"] = f"Bearer {bearer}"
        lines |= headers or {}
        head = "".join(f"{k}: {v}\r\n" for k, v in lines.items() if v)
        reader, writer = await self.open()
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + after)
        socket = Socket(reader, writer, await read_response(reader))
        self.sockets.append(socket)
        return socket

    async def connect(self, sub: str = "u1", role: str = "user", **claims: Any) -> Socket:
        """A chat connection, past its greeting."""
        socket = await self.upgrade(bearer=token(sub, role, **claims))
        assert socket.response.status == 101, socket.response
        socket.greeting = await socket.push("connection_established")
        return socket

    async def stop(self) -> None:
        for socket in [*self.sockets, *self.event_streams]:
            await socket.close()
        await self.listener.stop(1.0)
        await self.system.service.stop()


async def start(folder: Path, **settings: Any) -> Server:
    """Build and start a server on 127.0.0.1, on a free port unless ``port`` is given."""
    chosen = Settings(
        **{
            "port": 0,
            "data_dir": folder,
            "database": folder / "wsserver.sqlite3",
            "jwt_secret": SECRET,
            "chaos": True,
            "jwt_algorithm": ("HS256",),
            "node": "test",
            **settings,
        }
    )
    system = build(chosen)
    await system.service.start()
    listener = Listener(system.application, chosen)
    sockets = bind_sockets(chosen.port, "127.0.0.1")
    port = sockets[0].getsockname()[1]
    listener.start(sockets)
    return Server(system, listener, port)


StartServer = Callable[..., Awaitable[Server]]
"""Starts a server with settings, as ``start`` does."""


@contextmanager
def starting(io_loop: IOLoop, folder: Path) -> Iterator[StartServer]:
    """Starts servers, each in a folder of its own; all are stopped at the end."""
    started: list[Server] = []

    async def make(**settings: Any) -> Server:
        started.append(await start(folder / str(len(started)), **settings))
        return started[-1]

    yield make
    for server in started:
        io_loop.run_sync(server.stop)


def always(answer: Any) -> Callable[..., Awaitable[Any]]:
    """A query that has one answer."""

    async def query(*_: object) -> Any:
        return answer

    return query
