"""A client of an event stream (Server-Sent Events): hands over whole events as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

PATH, CHAT_PATH = "/sse/chat", "/ws/chat"
OPEN_TIMEOUT_S = 30.0


class Stream(asyncio.Protocol):
    """One event stream."""

    def __init__(
        self, request: bytes, on_events: Callable[[bytes], None], on_end: Callable[[Stream], None]
    ) -> None:
        self._request = request
        self._on_events = on_events
        self._on_end = on_end
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the first event is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        # Those of uvloop do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Hand over all events that are complete."""
        data = self._rest + data
        if not self.opened.done():
            head, _, events = data.partition(b"\r\n\r\n")
            if b"\n\n" not in events:
                self._rest = data
                return
            if not head.startswith(b"HTTP/1.1 200 "):
                self._fail(ConnectionError(head.partition(b"\r\n")[0].decode("latin-1")))
                return
            self.opened.set_result(None)
            data = events
        end = data.rfind(b"\n\n") + 2
        if end < 2:
            self._rest = data
            return
        self._rest = data[end:]
        self._on_events(data[:end])

    def connection_lost(self, error: Exception | None) -> None:
        """Tell that it has ended."""
        self._fail(error or ConnectionError("ended before its first event"))
        self._on_end(self)

    def close(self) -> None:
        """Leave."""
        if self._transport is not None:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
            self.close()


async def open_stream(
    url: str,
    headers: dict[str, str],
    on_events: Callable[[bytes], None],
    on_end: Callable[[Stream], None],
) -> Stream:
    """Open an event stream on the server with this address of WebSockets."""
    server = url.removeprefix("ws://").removesuffix(CHAT_PATH)
    host, _, port = server.partition(":")
    lines = [f"GET {PATH} HTTP/1.1", f"Host: {server}", "Accept: text/event-stream"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    request = "\r\n".join([*lines, "", ""]).encode()
    _, stream = await asyncio.get_running_loop().create_connection(
        lambda: Stream(request, on_events, on_end), host, int(port)
    )
    await asyncio.wait_for(stream.opened, OPEN_TIMEOUT_S)
    return stream
