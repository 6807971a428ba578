"""A stream that somebody else has begun to read."""

from __future__ import annotations

import socket

from tornado.iostream import IOStream

CHUNK_BYTES = 64 * 1024


class BegunStream(IOStream):
    """Gives what was read of a socket before anything that is still in it."""

    def __init__(self, connection: socket.socket, received: bytes, max_buffer_size: int) -> None:
        self._before = memoryview(received)
        # One read takes it all, so that none is left here when the socket changes hands.
        chunk_bytes = max(CHUNK_BYTES, len(received))
        super().__init__(connection, max_buffer_size=max_buffer_size, read_chunk_size=chunk_bytes)

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        """Read into ``buf`` (Tornado's hook)."""
        if not self._before:
            return super().read_from_fd(buf)
        count = min(len(buf), len(self._before))
        buf[:count] = self._before[:count]
        self._before = self._before[count:]
        return count
