"""Tornado's HTTP server with limits, and streams for connections that were read from already."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application

from wsserver.config import Settings

MAX_HEADER_BYTES = 16 * 1024
MAX_BUFFER_BYTES = 1024 * 1024
CHUNK_BYTES = 64 * 1024
BODY_GRACE_S = 5.0
IDLE_GRACE_S = 60.0
LAST_READ_S = 1.0
"""Further wait for a request whose first bytes were in the socket when its time was over."""


def make_http_server(application: Application, settings: Settings) -> HTTPServer:
    """Tornado's server, with limits on the size and the duration of everything.

    ``PrefilledStream`` limits the time between requests and for a head. The limit for a body is the
    handler's, which answers 408; the one here is longer, and closes the connection.
    """
    return HTTPServer(
        application,
        max_header_size=MAX_HEADER_BYTES,
        max_buffer_size=MAX_BUFFER_BYTES,
        body_timeout=settings.handshake_timeout_s + BODY_GRACE_S,
        idle_connection_timeout=(
            settings.keepalive_timeout_s + settings.handshake_timeout_s + IDLE_GRACE_S
        ),
    )


class PrefilledStream(IOStream):
    """A stream of the bytes already received, then of those in the socket.

    It has two time limits, for which Tornado has only one: ``head_timeout_s`` from the first byte
    of a request to the end of its head, and ``keepalive_timeout_s`` between two requests. A request
    that has reached the socket when the latter ends is read all the same: a proxy that sent it
    would answer 502, and may not send it again.
    """

    def __init__(
        self,
        connection: socket.socket,
        received: bytes,
        max_buffer_size: int,
        *,
        head_timeout_s: float,
        keepalive_timeout_s: float,
    ) -> None:
        self._before = memoryview(received)
        self._head_timeout_s = head_timeout_s
        self._keepalive_timeout_s = keepalive_timeout_s
        self._waits_for_head = False
        self._has_begun = False
        """Whether a byte of the awaited head has been received."""
        self._timer: asyncio.TimerHandle | None = None
        # One read returns all of it, so that none is left here when the socket is detached.
        chunk_bytes = max(CHUNK_BYTES, len(received))
        super().__init__(connection, max_buffer_size=max_buffer_size, read_chunk_size=chunk_bytes)

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        """Read into ``buf`` (Tornado's hook)."""
        if self._before:
            count: int | None = min(len(buf), len(self._before))
            buf[:count] = self._before[:count]
            self._before = self._before[count:]
        else:
            count = super().read_from_fd(buf)
        if count and self._waits_for_head and not self._has_begun:
            self._has_begun = True
            if self._timer is not None:
                self._wait(self._head_timeout_s)
        return count

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """Read a head, within the time limits (Tornado's HTTP/1 calls this for heads only)."""
        self._waits_for_head = True
        self._has_begun = self._read_buffer_size > 0  # of a request behind the one just answered
        future = super().read_until_regex(regex, max_bytes)
        if not isinstance(future, asyncio.Future) or future.done():
            self._waits_for_head = False
            return future
        self._wait(self._head_timeout_s if self._has_begun else self._keepalive_timeout_s)
        future.add_done_callback(self._on_head)
        return future

    def _wait(self, timeout_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._end_wait)

    def _on_head(self, _: asyncio.Future[bytes]) -> None:
        self._waits_for_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_wait(self) -> None:
        self._timer = None
        if not self._waits_for_head or self.closed():
            return
        if not self._has_begun and self._is_readable():
            self._wait(LAST_READ_S)  # the loop is about to read it
            return
        self.close()

    def _is_readable(self) -> bool:
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False
