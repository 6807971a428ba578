"""Takes the socket out of a stream that has done its part, so that the stream can be let go."""

from __future__ import annotations

import os
from asyncio import Future
from collections.abc import Awaitable
from typing import Any, Protocol, cast


class Stream(Protocol):
    """What is needed of a ``tornado.iostream.IOStream``."""

    max_buffer_size: int

    def closed(self) -> bool:
        """Whether the stream was closed."""
        ...

    def fileno(self) -> Any:
        """Return the descriptor, or the socket that has it."""
        ...

    def close(self) -> None:
        """Close the stream's own descriptor, without shutting the connection down."""
        ...

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        """Read up to ``num_bytes``."""
        ...


def take_socket(stream: Stream) -> tuple[int, bytes]:
    """Close a stream but keep its connection: ``(descriptor, bytes read but not used)``.

    The caller owns the descriptor, which is non-blocking as the stream's was. The stream must have
    nothing left to write and no read under way, as after ``RequestHandler.detach()``. Raises
    ``ConnectionError`` when the stream was closed already, ``OSError`` when no descriptor is free.

    Only plain TCP streams: the bytes of a TLS stream mean nothing without its state.
    """
    if stream.closed():
        raise ConnectionResetError("the connection was lost before it could be taken over")
    source = stream.fileno()
    fd = os.dup(source if isinstance(source, int) else source.fileno())
    stream.close()
    # A closed stream still serves reads from its buffer, and cannot read more from the socket,
    # which an open one would do when its buffer is empty.
    try:
        rest = cast("Future[bytes]", stream.read_bytes(stream.max_buffer_size, partial=True))
        return fd, rest.result()
    except OSError:
        return fd, b""
