"""An AI service: a real HTTP server whose answers the test writes piece by piece."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.support.waiting import until


class Asked:
    """One request: what it asked for, and the connection on which it is answered."""

    def __init__(
        self, path: str, headers: dict[str, str], body: Any, writer: asyncio.StreamWriter
    ) -> None:
        self.path, self.headers, self.body = path, headers, body
        self.is_left = False
        """Whether the client has closed the connection."""
        self._writer = writer

    def head(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        """Send the head of an answer; the body ends with the connection."""
        lines = {"Content-Type": kind, "Connection": "close"}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._writer.write(f"HTTP/1.1 {status} Said\r\n{text}\r\n".encode())

    def send(self, data: bytes) -> None:
        """Send bytes of the body."""
        self._writer.write(data)

    def event(self, data: Any, name: str = "") -> None:
        """Send an event; ``data`` as JSON, texts as they are."""
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        line = f"event: {name}\n" if name else ""
        self.send(f"{line}data: {text}\n\n".encode())

    def text(self, text: str) -> None:
        """Send a chunk with text."""
        self.event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})

    def done(self, **usage: int) -> None:
        """Send the usage and the end."""
        self.event({"choices": [], "usage": usage})
        self.event("[DONE]")
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


class AiProvider:
    """Listens on 127.0.0.1; each request waits until the test answers it."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything."""
        self._server.close()
        for writer in self._writers:
            writer.close()

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def request(self, number: int = 1) -> Asked:
        """The request of this number, from 1."""
        await until(lambda: len(self.asked) >= number)
        return self.asked[number - 1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        asked = Asked(first.split()[1], headers, json.loads(body), writer)
        self.asked.append(asked)
        try:
            await reader.read()
        except ConnectionError:
            pass
        asked.is_left = True
