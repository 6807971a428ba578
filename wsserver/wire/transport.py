"""One connection after its handshake, as its owner sees it."""

from __future__ import annotations

import os
from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from wsserver.wire.outbox import Link, Outbox
from wsserver.wire.parser import Event, FrameParser

if TYPE_CHECKING:
    from wsserver.wire.carrier import Carrier


class State(IntEnum):
    """How far a connection is on its way out."""

    OPEN = 0
    CLOSING = 1
    """A close frame has been queued; the peer's is awaited."""
    LEAVING = 2
    """Nothing more is expected from the peer; what is queued goes out, then the socket closes."""
    CLOSED = 3


OPEN, CLOSING, LEAVING, CLOSED = State


class Owner(Protocol):
    """Whoever gets a connection's messages. Its methods run in the event loop and must not block.

    An exception in one is logged, and closes that connection with 1011. Subclasses need to define
    only ``on_text`` and ``on_close``.
    """

    __slots__ = ()

    def on_text(self, transport: Transport, payload: bytes) -> None:
        """Take a text message: valid UTF-8, at most the poller's ``max_message_bytes``."""
        ...

    def on_close(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
        """Learn that the connection has ended: exactly once, never from inside an own call.

        ``code`` and ``reason`` are of the side that closed first: the peer's (1005: it gave none),
        those given to ``close``, 4002 for a slow consumer, those of a violation, or 1006 for a
        connection that was lost. ``clean``: both close frames were exchanged.
        """
        ...

    def on_binary(self, transport: Transport, payload: bytes) -> None:
        """Take a binary message; only called by a poller with ``accept_binary``."""

    def on_ping(self, transport: Transport, payload: bytes) -> None:
        """Learn of a ping, which has been answered."""

    def on_pong(self, transport: Transport, payload: bytes) -> None:
        """Learn of a pong: the answer to a ping, or unsolicited."""


class Transport:
    """An open WebSocket. Made by ``Poller.adopt``; not thread-safe.

    An idle one holds no queue, no parser and no buffer. What begins with an underscore is the
    wire's own.
    """

    __slots__ = (
        "_backlog",
        "_carrier",
        "_deflate_bits",
        "_fd",
        "_interest",
        "_out",
        "_owner",
        "_parser",
        "_paused",
        "_pending",
        "_state",
        "last_heard",
    )

    def __init__(
        self, carrier: Carrier, fd: int, owner: Owner, now: float, deflate_bits: int = 0
    ) -> None:
        self.last_heard = now
        """When bytes last arrived (monotonic seconds)."""
        self._carrier = carrier
        self._fd = fd
        self._owner: Owner | None = owner
        """None once the end of the connection has been reported."""
        self._state: State = OPEN
        self._deflate_bits = deflate_bits
        self._interest = 0
        self._paused = False
        self._out: Outbox | None = None
        """None: a frame may be written at once. Set while something waits and from closing on."""
        self._pending: Link | None = None
        """Fan-outs being collected; only while ``_out`` is None."""
        self._parser: FrameParser | None = None
        """Only while a frame or a message is incomplete."""
        self._backlog: deque[Event] | None = None
        """Parsed but not delivered: the owner paused, or has had its share of this turn.

        An empty one keeps reading off: more has been read than was parsed.
        """

    @property
    def state(self) -> State:
        """How far the connection is on its way out."""
        return self._state

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent and are delivered."""
        return self._state is OPEN

    @property
    def deflate_bits(self) -> int:
        """Window that the peer has for compressed messages, as a power of two; 0: it takes none."""
        return self._deflate_bits

    @property
    def is_behind(self) -> bool:
        """Whether something that was read has not been delivered, or not even been parsed."""
        return bool(self._backlog) or (self._parser is not None and self._parser.is_behind)

    @property
    def queued_bytes(self) -> int:
        """Bytes accepted by ``send`` and ``send_many`` and not yet by the operating system."""
        return (self._out.size if self._out is not None else 0) + (
            self._pending.size if self._pending is not None else 0
        )

    @property
    def waiting_since(self) -> float | None:
        """Since when there always was something that the operating system had not taken.

        Monotonic seconds; None: everything has been taken, or the connection is closed.
        """
        return self._out.since if self._out is not None and self._out.size else None

    def send(self, frame: bytes) -> bool:
        """Send a whole frame (``build_frame``), or several in one bytes object, after all before.

        False: the connection is closed or closing, was found broken, or exceeded its queue limit.
        """
        if self._out is not None or self._pending is not None or self._carrier.cork.is_in:
            return self._carrier.enqueue(self, frame)
        try:
            written = os.write(self._fd, frame)
        except BlockingIOError:
            written = 0
        except OSError:
            self._carrier.drop(self)
            return False
        return self._carrier.wrote(self, frame, written)

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake; what is queued goes out before the close frame.

        Ends with the peer's close frame or after the poller's ``close_timeout_s``. Nothing is
        delivered meanwhile. Does nothing on a connection that is not open.
        """
        self._carrier.begin_close(self, code, reason)

    def pause_reading(self) -> None:
        """Deliver nothing more until ``resume_reading``, so that the peer is slowed down by TCP.

        Up to one read (``read_bytes``) stays parsed in memory. While paused, pings are not answered
        and ``last_heard`` stands still.
        """
        self._carrier.pause(self, True)

    def resume_reading(self) -> None:
        """Deliver again, in the loop's next turn, beginning with what was left."""
        self._carrier.pause(self, False)
