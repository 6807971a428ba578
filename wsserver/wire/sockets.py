"""The few system calls that Python offers on socket objects only, for bare descriptors."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


def set_nodelay(fd: int) -> None:
    """Send small frames at once (TCP_NODELAY); a socket that is not TCP has no such delay."""
    with _borrowed(fd) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            pass


def shutdown_writing(fd: int) -> None:
    """Send FIN after the last byte; the peer then closes its side, which a read will tell."""
    with _borrowed(fd) as sock:
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # already broken: a read will tell that too


@contextmanager
def _borrowed(fd: int) -> Iterator[socket.socket]:
    """A socket object for a descriptor, which stays open."""
    # Neither of the two calls depends on the family, so any will do.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    try:
        yield sock
    finally:
        sock.detach()
