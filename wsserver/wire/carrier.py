"""Writes to the connections of a poller, and closes them.

Both are one job: a failed write closes a connection, and closing one writes a close frame.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Final

from wsserver.clock import Clock
from wsserver.wire.closing_handshakes import ClosingHandshakes
from wsserver.wire.cork import Cork
from wsserver.wire.counters import Counters
from wsserver.wire.frames import ABNORMAL, SLOW_CONSUMER
from wsserver.wire.outbox import Outbox
from wsserver.wire.readiness import READ, WRITE, Loop, Readiness
from wsserver.wire.sockets import shutdown_writing
from wsserver.wire.transport import CLOSED, CLOSING, LEAVING, OPEN, Owner, State, Transport
from wsserver.wire.transport_table import TransportTable

log = logging.getLogger(__name__)

CORK_LIMIT_BYTES: Final = 64 * 1024
"""Held by the cork for one connection at most; more is worth a system call."""

ENDS_PER_TURN: Final = 128
"""Ends reported in one turn of the event loop: thousands may be lost at the same time."""

_LOST: Final = "connection lost"
_EMPTY: Final = Outbox(0.0)
"""The outbox of all closed connections: always empty."""


class Carrier:
    """The sockets of one poller: their queues, their interest, and their closing.

    ``on_backlog`` delivers more of a connection's backlog; ``on_progress`` is called whenever a
    queue was emptied or a socket closed.
    """

    def __init__(
        self,
        loop: Loop,
        clock: Clock,
        readiness: Readiness,
        queue_limit_bytes: int,
        close_timeout_s: float,
        on_backlog: Callable[[Transport], None],
        on_progress: Callable[[], None],
    ) -> None:
        self.counters = Counters()
        self.cork = Cork(loop, min(queue_limit_bytes, CORK_LIMIT_BYTES))
        self.transports = TransportTable()
        self.blocked: set[Transport] = set()
        """Connections with bytes that their sockets did not accept."""
        self.deflating = 0
        """Number of connections with compression."""
        self.event_streams = 0
        """Number of connections that are event streams."""
        self.closing = ClosingHandshakes(loop, clock, close_timeout_s, self.drop)
        self._loop = loop
        self._clock = clock
        self._readiness = readiness
        self._queue_limit_bytes = queue_limit_bytes
        self._on_backlog = on_backlog
        self._on_progress = on_progress
        self._behind: list[Transport] = []
        """Connections with messages to deliver, or to parse, in the next turn."""
        self._ended: deque[tuple[Transport, Owner, int, str, bool]] = deque()
        """Ends to be reported once no owner's code is on the stack."""
        self.unreported_ends = 0
        """Connections whose end has not been reported to their owners."""
        self._is_reporting_due = False
        self._in_batch = False
        self._dead_fds: list[int] = []
        """Closed after the current batch: before, the system could reuse their numbers, and later
        events of the batch would reach the wrong connection."""

    def now(self) -> float:
        """The time (monotonic seconds)."""
        return self._clock.monotonic()

    # -- writing

    def wrote(self, transport: Transport, frame: bytes, written: int) -> bool:
        """Account for a direct write, and queue what the socket did not accept."""
        if written != len(frame):
            return self.hold(transport, frame, written)
        self.counters.writes += 1
        self.counters.bytes_out += written
        return True

    def hold(self, transport: Transport, frame: bytes, written: int) -> bool:
        """Queue the part of a frame that a socket did not accept; False: above the queue limit."""
        if written:
            self.counters.writes += 1
            self.counters.bytes_out += written
        transport.outbox = Outbox(self._clock.monotonic())
        self.counters.changes += 1
        transport.outbox.append(frame, written)
        self.blocked.add(transport)
        self.update_interest(transport)
        return self._check_limit(transport)

    def enqueue(self, transport: Transport, frame: bytes) -> bool:
        """Send after what is queued already."""
        if transport.state is not OPEN:
            return False
        if transport.outbox is None and self.cork.hold(transport, frame):
            return True
        return self.send_now(transport, frame)

    def send_now(self, transport: Transport, frame: bytes) -> bool:
        """The same, and without waiting for the end of the loop's turn."""
        if transport.state is not OPEN:
            return False
        if transport.outbox is None:
            # Collected frames go first, in the same system call.
            self._open_outbox(transport).append(frame)
            self.push(transport)
            return transport.is_open
        transport.outbox.append(frame)
        return self._check_limit(transport)

    def push(self, transport: Transport) -> None:
        """Write what is queued, as far as the socket accepts it."""
        out = transport.outbox
        if out is None or transport.state is CLOSED:
            return
        if out.size:
            try:
                written = out.write_to(transport.fd)
            except OSError:
                self.drop(transport)
                return
            if written:
                self.counters.writes += 1
                self.counters.bytes_out += written
                transport.note_progress(self._clock.monotonic())
        if out.size:
            self.blocked.add(transport)
            if transport.state is OPEN and not self._check_limit(transport):
                return
        else:
            self.blocked.discard(transport)
            if transport.state is OPEN:
                transport.outbox = None
            elif transport.state is LEAVING:
                shutdown_writing(transport.fd)
            self._on_progress()
        self.update_interest(transport)

    def update_interest(self, transport: Transport) -> None:
        """Watch the socket for exactly those events that can be processed."""
        if transport.state is CLOSED:
            return
        reads = not transport.is_paused and transport.backlog is None
        interest = READ if reads else 0
        if transport.outbox is not None and transport.outbox.size:
            interest |= WRITE
        if interest != transport.interest:
            transport.interest = interest
            self._readiness.change(transport.fd, interest)

    def _open_outbox(self, transport: Transport) -> Outbox:
        """Return the connection's queue, with collected frames moved into it."""
        out = transport.outbox
        if out is None:
            out = transport.outbox = Outbox(self._clock.monotonic())
            self.counters.changes += 1
            if transport.collected is not None:
                out.append(transport.collected.join())
                transport.collected = None
        return out

    def _check_limit(self, transport: Transport) -> bool:
        out = transport.outbox
        if out is None or out.size <= self._queue_limit_bytes:
            return True
        # A frame sent in part is completed, so that the peer can parse the close frame if it ever
        # reads on; everything else is dropped.
        self.counters.slow_consumers += 1
        out.drop_unstarted()
        self.fail(transport, SLOW_CONSUMER, "slow consumer")
        return False

    # -- reading on

    def pause(self, transport: Transport, paused: bool) -> None:
        """Stop or go on delivering."""
        if transport.state is not OPEN or transport.is_paused is paused:
            return
        transport.is_paused = paused
        self.update_interest(transport)
        if not paused and transport.is_behind:
            self.deliver_later(transport)

    def deliver_later(self, transport: Transport) -> None:
        """Schedule the delivery of the backlog for the loop's next turn."""
        self._behind.append(transport)
        if len(self._behind) == 1:
            self._loop.add_callback(self._on_behind)

    def _on_behind(self) -> None:
        behind, self._behind = self._behind, []
        self.begin_batch()
        try:
            for transport in behind:
                if transport.is_behind:
                    self._on_backlog(transport)
        finally:
            self.end_batch()

    # -- ending

    def begin_close(self, transport: Transport, code: int, reason: str) -> None:
        """Start the closing handshake on behalf of the owner; end an event stream."""
        if transport.state is not OPEN:
            return
        if transport.is_event_stream:  # nothing is awaited from its peer
            self.end(transport, code, reason, True)
            self._send_close(transport, LEAVING, code, reason)
            return
        if transport.is_behind:
            # None of it is delivered, but the peer's close frame may be in it.
            self.deliver_later(transport)
        self._send_close(transport, CLOSING, code, reason)

    def peer_closed(self, transport: Transport, code: int, reason: str) -> None:
        """Process the peer's close frame: answer it, unless it is the answer."""
        if transport.state is OPEN:
            self.end(transport, code, reason, True)
            self._send_close(transport, LEAVING, code, reason, said="")
        elif transport.state is CLOSING:
            self._leave(transport, True)

    def fail(self, transport: Transport, code: int, reason: str) -> None:
        """End a connection after a violation of the peer, or an exception of its owner."""
        if transport.state is OPEN:
            self.end(transport, code, reason, False)
            self._send_close(transport, LEAVING, code, reason)
        elif transport.state is CLOSING:
            self._leave(transport, False)

    def drop(self, transport: Transport) -> None:
        """Close the socket now, as the connection is broken, or its closing handshake late."""
        if transport.state is CLOSED:
            return
        handshake = self.closing.get(transport)
        if handshake is None:
            self.end(transport, ABNORMAL, _LOST, False)
        else:
            self.end(transport, handshake.code, handshake.reason, False)
        self.release(transport)

    def release(self, transport: Transport) -> None:
        """Close the socket and release everything the connection held."""
        fd = transport.fd
        transport.state = CLOSED
        transport.outbox = _EMPTY
        self.counters.changes += 1
        transport.collected = None
        transport.parser = None
        transport.backlog = None
        self.transports.remove(transport)
        if transport.deflate_bits:
            self.deflating -= 1
        if transport.is_event_stream:
            self.event_streams -= 1
        self.blocked.discard(transport)
        self.closing.discard(transport)
        self._readiness.forget(fd)
        if self._in_batch:
            self._dead_fds.append(fd)
        else:
            os.close(fd)
        self._on_progress()

    def end(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
        """Schedule the report of a connection's end to its owner, once."""
        owner = transport.owner
        if owner is None:
            return
        transport.owner = None
        self._ended.append((transport, owner, code, reason, clean))
        self.unreported_ends += 1
        if not self._in_batch and not self._is_reporting_due:
            self._is_reporting_due = True
            self._loop.add_callback(self.report_ends)

    def report_ends(self) -> None:
        """Report the ends so far, as many as one turn allows."""
        self._is_reporting_due = False
        self._report(ENDS_PER_TURN)
        if self._ended and not self._is_reporting_due:
            self._is_reporting_due = True
            self._loop.add_callback(self.report_ends)

    def report_all_ends(self) -> None:
        """Report every end, now."""
        while self._ended:
            self._report(len(self._ended))

    def _report(self, count: int) -> None:
        for _ in range(min(count, len(self._ended))):
            transport, owner, code, reason, clean = self._ended.popleft()
            self.unreported_ends -= 1
            try:
                owner.on_close(transport, code, reason, clean)
            except Exception:
                log.exception("close handler failed code=%d", code)

    def begin_batch(self) -> None:
        """Keep closed descriptors from being reused by the system, until ``end_batch``."""
        self._in_batch = True

    def end_batch(self) -> None:
        """Close the descriptors of the batch, and report the ends."""
        self._in_batch = False
        for fd in self._dead_fds:
            os.close(fd)
        self._dead_fds.clear()
        self.report_ends()

    def _send_close(
        self, transport: Transport, state: State, code: int, reason: str, said: str | None = None
    ) -> None:
        """Queue the close frame behind everything else; deliver nothing from now on.

        ``said``: the reason in the frame, if it is another one.
        """
        frame = transport.close_bytes(code, reason if said is None else said)
        self._open_outbox(transport).append(frame)
        transport.state = state
        transport.is_paused = False
        self.closing.add(transport, code, reason)
        self._drop_input(transport)
        self.push(transport)

    def _leave(self, transport: Transport, clean: bool) -> None:
        """Expect nothing more from a peer; the close frame has been sent to it, or queued."""
        handshake = self.closing.get(transport)
        if handshake is not None:
            self.end(transport, handshake.code, handshake.reason, clean)
        transport.state = LEAVING
        self._drop_input(transport)
        self.push(transport)

    @staticmethod
    def _drop_input(transport: Transport) -> None:
        if transport.state is LEAVING:
            transport.parser = None
            transport.backlog = None
