"""Sockets as bare descriptors: TCP options, half-close, and detaching from a Tornado stream."""

from __future__ import annotations

import fcntl
import os
import socket
import termios
from array import array
from asyncio import Future
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast


def set_nodelay(fd: int) -> None:
    """Disable Nagle's algorithm (TCP_NODELAY); no effect on sockets that are not TCP.

    Sockets inherit it from the listening socket that accepts them.
    """
    with _borrowed(fd) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            pass


def set_user_timeout(fd: int, timeout_s: float) -> None:
    """Break a connection whose peer confirms nothing that was sent for so long (RFC 5482).

    TCP alone would go on for a quarter of an hour. No effect on other sockets and systems.
    """
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None:
        return
    with _borrowed(fd) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, option, max(1, round(timeout_s * 1000)))
        except OSError:
            pass


def unconfirmed_bytes(fd: int) -> int:
    """Number of bytes in the send buffer of a socket: those that its peer has not confirmed.

    Raises ``OSError`` where the system cannot tell.
    """
    count = array("i", [0])
    fcntl.ioctl(fd, termios.TIOCOUTQ, count)
    return count[0]


def shutdown_writing(fd: int) -> None:
    """Send FIN after the last byte; the peer then closes its side, which a read reports."""
    with _borrowed(fd) as sock:
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # already broken, which a read reports too


class Stream(Protocol):
    """Stream interface; ``tornado.iostream.IOStream`` implements it."""

    max_buffer_size: int

    def closed(self) -> bool:
        """Whether the stream was closed."""

    def fileno(self) -> Any:
        """Return the descriptor, or the socket that has it."""

    def close(self) -> None:
        """Close the stream's descriptor, without shutting the connection down."""

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        """Read up to ``num_bytes``."""


def take_socket(stream: Stream) -> tuple[int, bytes]:
    """Detach the connection of a stream: ``(descriptor, bytes received but not used)``.

    The caller owns the descriptor, which is non-blocking as the stream's was. The stream must have
    nothing left to write and no read under way, as after ``RequestHandler.detach()``. Nagle's
    algorithm is switched off. Raises
    ``ConnectionError`` when the stream was closed already, ``OSError`` when no descriptor is free.

    Only plain TCP streams: the bytes of a TLS stream mean nothing without its state.
    """
    if stream.closed():
        raise ConnectionResetError("the connection was lost before it could be taken over")
    source = stream.fileno()
    fd = os.dup(source if isinstance(source, int) else source.fileno())
    stream.close()
    set_nodelay(fd)
    # A closed stream still serves reads from its buffer, and cannot read more from the socket,
    # which an open one would do when its buffer is empty.
    try:
        rest = cast("Future[bytes]", stream.read_bytes(stream.max_buffer_size, partial=True))
        return fd, rest.result()
    except OSError:
        return fd, b""


@contextmanager
def _borrowed(fd: int) -> Iterator[socket.socket]:
    """A socket object for a descriptor, which stays open."""
    # Neither of the two calls depends on the family, so any will do.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    try:
        yield sock
    finally:
        sock.detach()
