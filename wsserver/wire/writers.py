"""Ways to write the same bytes to many sockets; which one is best depends on the system."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Final, Protocol

from wsserver.wire.uring import Ring, open_ring

BROKEN: Final = -1
"""In place of a number of bytes: the connection is broken."""

FEW: Final = 8
"""To so few sockets one write after the other takes no longer than all at once."""

_WOULD_BLOCK: Final = (-errno.EAGAIN, -errno.EINTR)

Shortfalls = list[tuple[int, int]]
"""``(index, written)`` of each socket that did not take everything: how many bytes, or ``BROKEN``.
In no particular order."""


class Writer(Protocol):
    """Writes to many non-blocking sockets. Not thread-safe."""

    how: str
    """In a few words, for the log."""

    def write_all(self, fds: Sequence[int], data: bytes) -> Shortfalls:
        """Write to each, without waiting for any; no descriptor may be there twice."""
        ...

    def close(self) -> None:
        """Give back what it holds; nothing is written afterwards."""
        ...


class SingleWriter:
    """A system call for each socket: works everywhere. ``why``: why there is nothing better."""

    def __init__(self, why: str = "as configured") -> None:
        self.how = f"one socket at a time ({why})"

    def write_all(self, fds: Sequence[int], data: bytes) -> Shortfalls:
        """See ``Writer``."""
        write = os.write
        size = len(data)
        shortfalls: Shortfalls = []
        for index, fd in enumerate(fds):
            try:
                written = write(fd, data)
            except BlockingIOError:
                written = 0
            except OSError:
                written = BROKEN
            if written != size:
                shortfalls.append((index, written))
        return shortfalls

    def close(self) -> None:
        """See ``Writer``; it holds nothing."""


class RingWriter:
    """A system call for up to a thousand sockets: Linux, where it lets us."""

    def __init__(self, ring: Ring) -> None:
        self.how = "many sockets at a time (io_uring)"
        self._ring = ring
        self._single = SingleWriter()

    def write_all(self, fds: Sequence[int], data: bytes) -> Shortfalls:
        """See ``Writer``."""
        if len(fds) <= FEW:
            return self._single.write_all(fds, data)
        return [
            (index, 0 if result in _WOULD_BLOCK else max(result, BROKEN))
            for index, result in self._ring.send_all(fds, data)
        ]

    def close(self) -> None:
        """See ``Writer``."""
        self._ring.close()


def best_writer() -> Writer:
    """Choose io_uring where it can be used.

    That is not everywhere: containers commonly forbid it, as does ``kernel.io_uring_disabled``.
    """
    try:
        ring = open_ring()
    except OSError as error:
        return SingleWriter(f"io_uring: {error.strerror}")
    return RingWriter(ring)
