"""An HTTP connection's stream: starts with bytes already read, and limits the waits for a head."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable

from tornado.iostream import IOStream

CHUNK_BYTES = 64 * 1024
LAST_LOOK_S = 1.0
"""How long a connection is kept on after a request was seen in its socket at the last moment."""


class BegunStream(IOStream):
    """Gives what was read of a socket before anything that is still in it.

    Two time limits, in seconds, which Tornado's single one cannot tell apart: ``head_timeout_s``
    from the first byte of a request to the end of its head, and ``keepalive_timeout_s`` without
    any byte between two requests. A request that has reached the socket when the latter ends is
    read all the same: a proxy that sent it would answer 502 for it, and may not send it again.
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
        """Has a byte of the head come that is waited for?"""
        self._timer: asyncio.TimerHandle | None = None
        # One read takes it all, so that none is left here when the socket changes hands.
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
        """Read a head, within the time limits; Tornado's HTTP/1 reads nothing else by this."""
        self._waits_for_head = True
        self._has_begun = self._read_buffer_size > 0  # of a request behind the one just answered
        future = super().read_until_regex(regex, max_bytes)
        if not isinstance(future, asyncio.Future) or future.done():
            self._waits_for_head = False
            return future
        self._wait(self._head_timeout_s if self._has_begun else self._keepalive_timeout_s)
        future.add_done_callback(self._head_has_come)
        return future

    def _wait(self, timeout_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._end_wait)

    def _head_has_come(self, _: asyncio.Future[bytes]) -> None:
        self._waits_for_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_wait(self) -> None:
        self._timer = None
        if not self._waits_for_head or self.closed():
            return
        if not self._has_begun and self._is_readable():
            self._wait(LAST_LOOK_S)  # the loop is about to read it
            return
        self.close()

    def _is_readable(self) -> bool:
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False
