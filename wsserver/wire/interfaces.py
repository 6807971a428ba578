"""Interfaces of a transport: its owner, and its poller.

They are generic so that this module needs none of the others: these may be compiled (``setup.py``),
and a class that is not compiled can only implement an interface that is not either.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

T = TypeVar("T", contravariant=True)


class OwnerOf(Protocol[T]):
    """Callbacks for a connection's messages and its end, run in the event loop; none may block.

    An exception in one is logged, and closes that connection with 1011. Subclasses have to define
    only ``on_text`` and ``on_close``.
    """

    __slots__ = ()

    def on_text(self, transport: T, payload: bytes) -> None:
        """A text message: valid UTF-8, at most the poller's ``max_message_bytes``."""

    def on_close(self, transport: T, code: int, reason: str, clean: bool) -> None:
        """The connection has ended. Called exactly once, never from inside a call of the owner.

        ``code`` and ``reason`` are of the side that closed first: the peer's (1005: it sent none),
        those passed to ``close``, 4002 for a slow consumer, those of a violation, or 1006 for a
        lost connection. ``clean``: both close frames were exchanged.
        """

    def on_binary(self, transport: T, payload: bytes) -> None:
        """A binary message; only called by a poller with ``accept_binary``."""
        return

    def on_ping(self, transport: T, payload: bytes) -> None:
        """A ping, which has been answered."""
        return

    def on_pong(self, transport: T, payload: bytes) -> None:
        """A pong: the answer to a ping, or unsolicited."""
        return


class Corked(Protocol):
    """State of a ``Cork``."""

    @property
    def is_in(self) -> bool:
        """Whether frames are held back until the loop's next turn."""


class BackendOf(Protocol[T]):
    """A transport's poller; ``Carrier`` implements it."""

    @property
    def cork(self) -> Corked:
        """The poller's cork."""

    def now(self) -> float:
        """The time (monotonic seconds)."""

    def enqueue(self, transport: T, frame: bytes) -> bool:
        """Send after what is queued already; False as for ``Transport.send``."""

    def wrote(self, transport: T, frame: bytes, written: int) -> bool:
        """Account for a direct write, and queue what the socket did not accept."""

    def drop(self, transport: T) -> None:
        """Close the socket of a broken connection."""

    def begin_close(self, transport: T, code: int, reason: str) -> None:
        """Start the closing handshake."""

    def pause(self, transport: T, paused: bool) -> None:
        """Stop or resume delivering."""
