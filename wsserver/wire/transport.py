"""Transport: one connection after its handshake, its states, and the callbacks of its owner.

The other modules of ``wire`` work on the attributes of ``Transport``, and import this one.
"""

from __future__ import annotations

import os
from collections import deque
from enum import IntEnum
from typing import ClassVar, TypeAlias

from wsserver.native import mypyc_attr
from wsserver.wire.frames import build_frame, close_frame
from wsserver.wire.interfaces import BackendOf, OwnerOf
from wsserver.wire.outbox import Link, Outbox
from wsserver.wire.parser import Event, FrameParser
from wsserver.wire.pings import Ping
from wsserver.wire.sockets import unconfirmed_bytes


class State(IntEnum):
    """State of a connection, from open to closed."""

    OPEN = 0
    CLOSING = 1
    """A close frame has been queued; that of the peer is awaited."""
    LEAVING = 2
    """Nothing is expected from the peer; queued bytes are sent, then the socket is closed."""
    CLOSED = 3


OPEN, CLOSING, LEAVING, CLOSED = State

Owner: TypeAlias = OwnerOf["Transport"]
"""What a connection's messages and its end are reported to."""
Backend: TypeAlias = BackendOf["Transport"]
"""A connection's poller."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Transport:
    """An open WebSocket. Made by ``Poller.adopt``; not thread-safe.

    An idle one has no queue, no parser and no buffer. Outside ``wire`` only the methods, the
    properties, ``state`` and ``deflate_bits`` are used, and nothing is assigned.
    ``EventStream`` is the same for Server-Sent Events.
    """

    is_event_stream: ClassVar[bool] = False
    """Whether the peer only receives: nothing that it sends is parsed, or awaited."""

    __slots__ = (
        "_backend",
        "backlog",
        "collected",
        "deflate_bits",
        "fd",
        "heard_at",
        "interest",
        "is_paused",
        "outbox",
        "owner",
        "parser",
        "state",
    )

    def __init__(
        self, backend: Backend, fd: int, owner: Owner, now: float, deflate_bits: int = 0
    ) -> None:
        self.state: State = OPEN
        self.deflate_bits = deflate_bits
        """Window for compressed messages to the peer, as a power of two; 0: no compression."""
        self.heard_at = now
        """When bytes last arrived (monotonic seconds)."""
        self._backend = backend
        self.fd = fd
        self.owner: Owner | None = owner
        """None once the end of the connection has been reported."""
        self.interest = 0
        """Events the socket is watched for."""
        self.is_paused = False
        self.outbox: Outbox | None = None
        """None: a frame may be written directly. Set while bytes wait, and from closing on."""
        self.collected: Link | None = None
        """Frames held back by the cork or a coalescing window; only while ``outbox`` is None."""
        self.parser: FrameParser | None = None
        """Only while a frame or a message is incomplete."""
        self.backlog: deque[Event] | None = None
        """Parsed but not delivered: the owner paused, or has had its share of this turn.

        While it is set, even if it is empty, the socket is not read.
        """

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent and are delivered."""
        return self.state is OPEN

    @property
    def last_heard(self) -> float:
        """When the peer last gave a sign of life (monotonic seconds).

        A property, because compiled code does not see one that replaces an attribute in a subclass.
        """
        return self.heard_at

    @property
    def is_behind(self) -> bool:
        """Whether received bytes have not been delivered, or not been parsed."""
        return bool(self.backlog) or (self.parser is not None and self.parser.is_behind)

    @property
    def queued_bytes(self) -> int:
        """Bytes accepted by ``send`` and ``send_many`` and not yet by the operating system."""
        return (self.outbox.size if self.outbox is not None else 0) + (
            self.collected.size if self.collected is not None else 0
        )

    @property
    def is_confirmed(self) -> bool:
        """Whether the peer's system has confirmed everything that was sent."""
        return not self.queued_bytes and not unconfirmed_bytes(self.fd)

    @property
    def waiting_since(self) -> float | None:
        """Since when bytes have been waiting for the operating system (monotonic seconds).

        None: none are waiting, or the connection is closed.
        """
        return self.outbox.since if self.outbox is not None and self.outbox.size else None

    def send(self, frame: bytes) -> bool:
        """Send a whole frame (``build_frame``), or several in one bytes object, in order.

        False: the connection is closed or closing, was found broken, or exceeded its queue limit.
        """
        if self.outbox is not None or self.collected is not None or self._backend.cork.is_in:
            return self._backend.enqueue(self, frame)
        try:
            written = os.write(self.fd, frame)
        except BlockingIOError:
            written = 0
        except OSError:
            self._backend.drop(self)
            return False
        return self._backend.wrote(self, frame, written)

    def send_text(self, text: bytes) -> bool:
        """Send a text message; the result is that of ``send``."""
        return self.send(build_frame(text))

    def send_ping(self, ping: Ping) -> bool:
        """Send a ping."""
        return self.send(ping.frames)

    def close_bytes(self, code: int, reason: str = "") -> bytes:
        """What tells the peer that, and why, the connection is closed."""
        return close_frame(code, reason)

    def note_progress(self, now: float) -> None:
        """Bytes that had to wait were written (monotonic seconds); called by the poller."""

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake; queued frames are sent before the close frame.

        It ends with the peer's close frame, or after the poller's ``close_timeout_s``. Nothing is
        delivered meanwhile. Does nothing on a connection that is not open.
        """
        self._backend.begin_close(self, code, reason)

    def pause_reading(self) -> None:
        """Deliver nothing until ``resume_reading``, so that TCP slows the peer down.

        Up to one read (``read_bytes``) stays parsed in memory. While paused, pings are not answered
        and ``last_heard`` does not change.
        """
        self._backend.pause(self, True)

    def resume_reading(self) -> None:
        """Deliver again, in the loop's next turn, beginning with the backlog."""
        self._backend.pause(self, False)
