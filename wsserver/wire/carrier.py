"""Gets bytes out of the connections, and the connections to their end.

Writing and ending are one job: a failed write ends a connection, and ending one writes a close
frame.
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
from wsserver.wire.frames import ABNORMAL, SLOW_CONSUMER, close_frame
from wsserver.wire.outbox import Outbox
from wsserver.wire.readiness import READ, WRITE, Loop, Readiness
from wsserver.wire.sockets import shutdown_writing
from wsserver.wire.transport import CLOSED, CLOSING, LEAVING, OPEN, Owner, State, Transport

log = logging.getLogger(__name__)

CORK_LIMIT_BYTES: Final = 64 * 1024
"""Held back for one connection at most; more is worth a system call of its own."""

ENDS_PER_TURN: Final = 128
"""Owners told of an end before everybody else has a turn: thousands may be lost at once."""

_LOST: Final = "connection lost"
_NOWHERE: Final = Outbox(0.0)
"""The outbox of everything that is closed: always empty."""


class Carrier:
    """The sockets of one poller: what waits for them, and how they are closed.

    ``on_backlog`` delivers more of what a connection has sent; ``on_progress`` is called
    whenever a queue was emptied or a socket closed.
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
        self.transports: dict[int, Transport] = {}
        self.blocked: set[Transport] = set()
        """Those with bytes that their socket did not take."""
        self.deflating = 0
        """How many of them take compressed messages."""
        self.farewells = ClosingHandshakes(loop, clock, close_timeout_s, self.drop)
        self._loop = loop
        self._clock = clock
        self._readiness = readiness
        self._queue_limit_bytes = queue_limit_bytes
        self._on_backlog = on_backlog
        self._on_progress = on_progress
        self._behind: list[Transport] = []
        """Those with messages to deliver, or to parse, in the next turn."""
        self._ended: deque[tuple[Transport, Owner, int, str, bool]] = deque()
        """Ends to be reported as soon as no owner's code is on the stack."""
        self.unreported_ends = 0
        """Connections that have ended without their owners knowing yet."""
        self._telling = False
        self._in_batch = False
        self._dead_fds: list[int] = []
        """Closed after the current batch: until then their numbers must not be given out again,
        as later events of the batch would reach the wrong connection."""

    # -- writing

    def wrote(self, transport: Transport, frame: bytes, written: int) -> bool:
        """Account for a direct write, and keep what the socket did not take."""
        if written != len(frame):
            return self.hold(transport, frame, written)
        self.counters.writes += 1
        self.counters.bytes_out += written
        return True

    def hold(self, transport: Transport, frame: bytes, written: int) -> bool:
        """Queue what a socket did not take of a frame; False: that was too much."""
        if written:
            self.counters.writes += 1
            self.counters.bytes_out += written
        transport._out = Outbox(self._clock.monotonic())
        transport._out.append(frame, written)
        self.blocked.add(transport)
        self.update_interest(transport)
        return self._check_limit(transport)

    def enqueue(self, transport: Transport, frame: bytes) -> bool:
        """Send after what waits already."""
        if transport._state is not OPEN:
            return False
        if transport._out is None:
            if self.cork.hold(transport, frame):
                return True
            # Collected fan-outs go first, in the same system call.
            self._open_outbox(transport).append(frame)
            self.push(transport)
            return transport.is_open
        transport._out.append(frame)
        return self._check_limit(transport)

    def push(self, transport: Transport) -> None:
        """Write what is queued, as far as the socket takes it."""
        out = transport._out
        if out is None or transport._state is CLOSED:
            return
        if out.size:
            try:
                written = out.write_to(transport._fd)
            except OSError:
                self.drop(transport)
                return
            if written:
                self.counters.writes += 1
                self.counters.bytes_out += written
        if out.size:
            self.blocked.add(transport)
            if transport._state is OPEN and not self._check_limit(transport):
                return
        else:
            self.blocked.discard(transport)
            if transport._state is OPEN:
                transport._out = None
            elif transport._state is LEAVING:
                shutdown_writing(transport._fd)
            self._on_progress()
        self.update_interest(transport)

    def update_interest(self, transport: Transport) -> None:
        """Have the socket watched for exactly what can be used."""
        if transport._state is CLOSED:
            return
        reads = not transport._paused and transport._backlog is None
        interest = READ if reads else 0
        if transport._out is not None and transport._out.size:
            interest |= WRITE
        if interest != transport._interest:
            transport._interest = interest
            self._readiness.change(transport._fd, interest)

    def _open_outbox(self, transport: Transport) -> Outbox:
        """Return the connection's queue, with collected fan-outs moved into it."""
        out = transport._out
        if out is None:
            out = transport._out = Outbox(self._clock.monotonic())
            if transport._pending is not None:
                out.append(transport._pending.join())
                transport._pending = None
        return out

    def _check_limit(self, transport: Transport) -> bool:
        out = transport._out
        if out is None or out.size <= self._queue_limit_bytes:
            return True
        # What was begun is finished, so that the close frame can be understood if the peer ever
        # reads on; everything else is let go at once.
        self.counters.slow_consumers += 1
        out.drop_unstarted()
        self.fail(transport, SLOW_CONSUMER, "slow consumer")
        return False

    # -- reading on

    def pause(self, transport: Transport, paused: bool) -> None:
        """Stop or go on delivering."""
        if transport._state is not OPEN or transport._paused is paused:
            return
        transport._paused = paused
        self.update_interest(transport)
        if not paused and transport.is_behind:
            self.deliver_later(transport)

    def deliver_later(self, transport: Transport) -> None:
        """Have the backlog delivered in the loop's next turn."""
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
        """Close a connection because its owner wants to."""
        if transport._state is not OPEN:
            return
        if transport.is_behind:
            # Nothing of it is delivered, but the peer's own close frame may be in it.
            self.deliver_later(transport)
        self._say_goodbye(transport, CLOSING, close_frame(code, reason), code, reason)

    def peer_closed(self, transport: Transport, code: int, reason: str) -> None:
        """Answer the peer's close frame, or take it as the answer."""
        if transport._state is OPEN:
            self.end(transport, code, reason, True)
            self._say_goodbye(transport, LEAVING, close_frame(code), code, reason)
        elif transport._state is CLOSING:
            self._leave(transport, True)

    def fail(self, transport: Transport, code: int, reason: str) -> None:
        """End a connection whose peer, or whose owner, did something wrong."""
        if transport._state is OPEN:
            self.end(transport, code, reason, False)
            self._say_goodbye(transport, LEAVING, close_frame(code, reason), code, reason)
        elif transport._state is CLOSING:
            self._leave(transport, False)

    def drop(self, transport: Transport) -> None:
        """Close the socket now; the connection is broken, or has used up its time."""
        if transport._state is CLOSED:
            return
        farewell = self.farewells.get(transport)
        if farewell is None:
            self.end(transport, ABNORMAL, _LOST, False)
        else:
            self.end(transport, farewell.code, farewell.reason, False)
        self.release(transport)

    def release(self, transport: Transport) -> None:
        """Close the socket and let go of everything the connection held."""
        fd = transport._fd
        transport._state = CLOSED
        transport._out = _NOWHERE
        transport._pending = None
        transport._parser = None
        transport._backlog = None
        del self.transports[fd]
        if transport._deflate_bits:
            self.deflating -= 1
        self.blocked.discard(transport)
        self.farewells.discard(transport)
        self._readiness.forget(fd)
        if self._in_batch:
            self._dead_fds.append(fd)
        else:
            os.close(fd)
        self._on_progress()

    def end(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
        """Note the end of a connection for its owner, once."""
        owner = transport._owner
        if owner is None:
            return
        transport._owner = None
        self._ended.append((transport, owner, code, reason, clean))
        self.unreported_ends += 1
        if not self._in_batch and not self._telling:
            self._telling = True
            self._loop.add_callback(self.tell_ended)

    def tell_ended(self) -> None:
        """Report the ends noted so far, as many as one turn allows."""
        self._telling = False
        self._tell(ENDS_PER_TURN)
        if self._ended and not self._telling:
            self._telling = True
            self._loop.add_callback(self.tell_ended)

    def tell_all_ended(self) -> None:
        """Report every end, now."""
        while self._ended:
            self._tell(len(self._ended))

    def _tell(self, count: int) -> None:
        for _ in range(min(count, len(self._ended))):
            transport, owner, code, reason, clean = self._ended.popleft()
            self.unreported_ends -= 1
            try:
                owner.on_close(transport, code, reason, clean)
            except Exception:
                log.exception("close handler failed code=%d", code)

    def begin_batch(self) -> None:
        """Keep the descriptors that are closed from being given out again, until ``end_batch``."""
        self._in_batch = True

    def end_batch(self) -> None:
        """Really close what was closed in the batch, and report what ended."""
        self._in_batch = False
        for fd in self._dead_fds:
            os.close(fd)
        self._dead_fds.clear()
        self.tell_ended()

    def _say_goodbye(
        self, transport: Transport, state: State, frame: bytes, code: int, reason: str
    ) -> None:
        """Queue the close frame after all else; deliver nothing from now on."""
        self._open_outbox(transport).append(frame)
        transport._state = state
        transport._paused = False
        self.farewells.add(transport, code, reason)
        self._let_input_go(transport)
        self.push(transport)

    def _leave(self, transport: Transport, clean: bool) -> None:
        """Expect nothing more from a peer to whom the close frame has been sent, or queued."""
        farewell = self.farewells.get(transport)
        if farewell is not None:
            self.end(transport, farewell.code, farewell.reason, clean)
        transport._state = LEAVING
        self._let_input_go(transport)
        self.push(transport)

    @staticmethod
    def _let_input_go(transport: Transport) -> None:
        if transport._state is LEAVING:
            transport._parser = None
            transport._backlog = None
