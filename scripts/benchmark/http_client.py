"""A small HTTP client that keeps its connection: one request at a time, JSON in and out."""

from __future__ import annotations

import asyncio
import json
import os
from types import TracebackType
from typing import Any, Self

_BLOCK = memoryview(os.urandom(256 * 1024))
"""Of a body whose bytes mean nothing."""


class RequestError(Exception):
    """An answer that is none, or not a success."""


class HttpClient:
    """One connection to a server on loopback."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self._port = port
        self._head = f"Host: 127.0.0.1:{port}\r\n"
        if token is not None:
            self._head += f"Authorization: Bearer {token}\r\n"

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()

    async def get(self, path: str) -> bytes:
        """Return the body of a successful answer; raises ``RequestError``."""
        return await self._request(f"GET {path} HTTP/1.1\r\n{self._head}\r\n".encode())

    async def post(self, path: str, body: bytes, key: str | None = None) -> dict[str, Any]:
        """Post JSON; return the answer's JSON. Raises ``RequestError``.

        ``key``: the idempotency key; the same one may be sent again.
        """
        return await self._send("POST", path, body, key)

    async def put(self, path: str, body: bytes) -> dict[str, Any]:
        """Put JSON; return the answer's JSON. Raises ``RequestError``."""
        return await self._send("PUT", path, body)

    async def exchange(
        self, method: str, path: str, headers: dict[str, str], length: int = 0
    ) -> dict[str, str]:
        """Send a body of so many bytes; return the headers of the successful answer.

        Their names are in lower case. Raises ``RequestError``.
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {path} HTTP/1.1\r\n{self._head}{lines}Content-Length: {length}\r\n\r\n"
        self._writer.write(head.encode())
        for start in range(0, length, len(_BLOCK)):
            self._writer.write(_BLOCK[: length - start])
            await self._writer.drain()
        answered, _ = await self._answer()
        return answered

    async def _send(
        self, method: str, path: str, body: bytes, key: str | None = None
    ) -> dict[str, Any]:
        once = f"Idempotency-Key: {key}\r\n" if key is not None else ""
        head = (
            f"{method} {path} HTTP/1.1\r\n{self._head}{once}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        answer: dict[str, Any] = json.loads(await self._request(head.encode() + body))
        return answer

    async def _request(self, request: bytes) -> bytes:
        self._writer.write(request)
        _, body = await self._answer()
        return body

    async def _answer(self) -> tuple[dict[str, str], bytes]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:])
        }
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        status = head[0].split(" ", 2)[1]
        if not status.startswith("2"):
            raise RequestError(f"{status}: {body[:300].decode('utf-8', 'replace')}")
        return headers, body
