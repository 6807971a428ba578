"""A client of event streams, on a raw socket: events as they come, and commands in requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.support.http_response import Response
from tests.support.waiting import PATIENCE_S
from tests.support.web_server import Server, read_response, token


class Event(NamedTuple):
    """One event; ``id`` is what a browser would remember after it."""

    name: str
    data: Any
    id: str


class EventClient:
    """One event stream."""

    def __init__(
        self,
        server: Server,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        response: Response,
        bearer: str,
    ) -> None:
        self.server, self.response, self.bearer = server, response, bearer
        self.established: dict[str, Any] = {}
        self.last_id = ""
        self._reader, self._writer = reader, writer

    async def block(self) -> dict[str, str]:
        """The fields up to the next empty line."""
        async with asyncio.timeout(PATIENCE_S):
            text = (await self._reader.readuntil(b"\n\n")).decode()
        fields = dict(line.split(": ", 1) for line in text.strip().split("\n"))
        self.last_id = fields.get("id", self.last_id)
        return fields

    async def event(self) -> Event:
        """The next event of any name."""
        while True:
            fields = await self.block()
            if "data" in fields:
                return Event(fields["event"], json.loads(fields["data"]), self.last_id)

    async def push(self, type_: str | None = None) -> dict[str, Any]:
        """The next push, or the next one of a type."""
        while True:
            event = await self.event()
            assert event.name != "close", event
            if event.name == "message" and type_ in (None, event.data["type"]):
                return dict(event.data)

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the ``close`` event, which is the last thing to come."""
        while True:
            event = await self.event()
            if event.name == "close":
                async with asyncio.timeout(PATIENCE_S):
                    assert await self._reader.read() == b""
                await self.close()
                return event.data["code"], event.data["reason"]

    async def run(self, commands: Any, **options: Any) -> Response:
        """Send a command, or an array of them."""
        return await send_commands(
            self.server,
            commands,
            **{"channel": self.established["channel"], "bearer": self.bearer, **options},
        )

    async def command(self, type_: str, **fields: Any) -> dict[str, Any]:
        """Send one command; returns the reply."""
        answer = await self.run({"type": type_, **fields})
        assert answer.status == 200, answer
        return dict(answer.json())

    async def close(self) -> None:
        """Go away."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass


async def send_commands(
    server: Server, commands: Any, *, channel: str | None, bearer: str | None, **options: Any
) -> Response:
    """``POST /sse/commands``; bytes are sent as they are."""
    body = commands if isinstance(commands, bytes) else json.dumps(commands).encode()
    headers = {} if channel is None else {"X-Wsserver-Channel": channel}
    headers |= options.pop("headers", {})
    return await server.request(
        "POST", "/sse/commands", body, bearer=bearer, headers=headers, **options
    )


async def open_events(
    server: Server,
    path: str = "/sse/chat",
    *,
    bearer: str | None = None,
    headers: Mapping[str, str] | None = None,
    **query: str,
) -> EventClient:
    """Ask for an event stream; the answer may be a refusal."""
    lines = {"Host": f"127.0.0.1:{server.port}", "Accept": "text/event-stream"}
    if bearer is not None:
        lines["Authorization"] = f"Bearer {bearer}"
    lines |= headers or {}
    pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    reader, writer = await server.open()
    writer.write(f"GET {path}{'?' if pairs else ''}{pairs} HTTP/1.1\r\n{head}\r\n".encode())
    response = await read_response(reader)
    client = EventClient(server, reader, writer, response, bearer or "")
    server.event_streams.append(client)
    return client


async def connect_events(
    server: Server,
    sub: str = "u1",
    role: str = "user",
    *,
    path: str = "/sse/chat",
    cursor: str = "",
    query: Mapping[str, str] | None = None,
    **claims: Any,
) -> EventClient:
    """An event stream, past ``connection_established``."""
    headers = {"Last-Event-ID": cursor} if cursor else {}
    client = await open_events(
        server, path, bearer=token(sub, role, **claims), headers=headers, **(query or {})
    )
    assert client.response.status == 200, client.response
    client.established = await client.push("connection_established")
    return client
