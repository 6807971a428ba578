"""Writers of the same bytes to many sockets: io_uring, or one system call for each socket."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Final, Protocol

from wsserver.wire.uring import Results, Ring, open_ring

BROKEN: Final = -1
"""Instead of a number of bytes: the connection is broken."""

FEW: Final = 8
"""Up to so many sockets single writes are as fast as io_uring."""

_WOULD_BLOCK: Final = (-errno.EAGAIN, -errno.EINTR)

Shortfalls = list[tuple[int, int]]
"""``(index, written)`` of each socket that did not accept everything: bytes, or ``BROKEN``.
In no particular order."""


class Writer(Protocol):
    """Writes to many non-blocking sockets. Not thread-safe."""

    how: str
    """Description for the log."""

    def write_all(self, fds: Sequence[int], data: bytes) -> Shortfalls:
        """Write to each without blocking; the descriptors must be distinct.

        An array of them must not change later: it may be recognized by its identity.
        """

    def write_each(self, fds: Sequence[int], frames: Sequence[bytes]) -> Shortfalls:
        """The same with other bytes for each."""

    def close(self) -> None:
        """Release its resources; nothing may be written afterwards."""


class SingleWriter:
    """One system call for each socket, on every system. ``why`` it is used, for the log."""

    def __init__(self, why: str = "as configured") -> None:
        self.how = f"one socket at a time ({why})"

    def write_all(self, fds: Sequence[int], data: bytes) -> Shortfalls:
        """See ``Writer``."""
        return self.write_each(fds, [data] * len(fds))

    def write_each(self, fds: Sequence[int], frames: Sequence[bytes]) -> Shortfalls:
        """See ``Writer``."""
        write = os.write
        shortfalls: Shortfalls = []
        for index, (fd, frame) in enumerate(zip(fds, frames, strict=True)):
            try:
                written = write(fd, frame)
            except BlockingIOError:
                written = 0
            except OSError:
                written = BROKEN
            if written != len(frame):
                shortfalls.append((index, written))
        return shortfalls

    def close(self) -> None:
        """See ``Writer``; it has no resources."""


class RingWriter:
    """One system call for up to 1,024 sockets (io_uring, Linux)."""

    def __init__(self, ring: Ring) -> None:
        self.how = "many sockets at a time (io_uring)"
        self._ring = ring
        self._single = SingleWriter()

    def write_all(self, fds: Sequence[int], data: bytes) -> Shortfalls:
        """See ``Writer``."""
        if len(fds) <= FEW:
            return self._single.write_all(fds, data)
        return _shortfalls(self._ring.send_all(fds, data))

    def write_each(self, fds: Sequence[int], frames: Sequence[bytes]) -> Shortfalls:
        """See ``Writer``."""
        if len(fds) <= FEW:
            return self._single.write_each(fds, frames)
        return _shortfalls(self._ring.send_each(fds, frames))

    def close(self) -> None:
        """See ``Writer``."""
        self._ring.close()


def _shortfalls(results: Results) -> Shortfalls:
    return [
        (index, 0 if result in _WOULD_BLOCK else max(result, BROKEN)) for index, result in results
    ]


def best_writer() -> Writer:
    """Choose io_uring where it is available.

    Most containers forbid it, as does ``kernel.io_uring_disabled``.
    """
    try:
        ring = open_ring()
    except OSError as error:
        return SingleWriter(f"io_uring: {error.strerror}")
    return RingWriter(ring)
