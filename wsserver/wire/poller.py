"""Poller: reads all WebSocket connections of an event loop, and delivers their messages."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable

from wsserver.clock import Clock
from wsserver.wire.carrier import Carrier
from wsserver.wire.closing_handshakes import DISCARD_LIMIT_BYTES
from wsserver.wire.counters import Counters
from wsserver.wire.deflate import inflate
from wsserver.wire.event_stream import EventStream
from wsserver.wire.fanout import Advance, Encodings, Fanout, encode_for
from wsserver.wire.frames import (
    CLOSE,
    EMPTY_PONG,
    GOING_AWAY,
    INTERNAL_ERROR,
    INVALID_PAYLOAD,
    PING,
    PONG,
    PROTOCOL_ERROR,
    RSV1,
    TEXT,
    UNSUPPORTED_DATA,
    WireError,
    build_frame,
)
from wsserver.wire.parser import FAILURE, Event, FrameParser, is_utf8, parse_small_text
from wsserver.wire.readiness import BROKEN, READ, WRITE, Loop, OnReady, Readiness, best_readiness
from wsserver.wire.sockets import set_user_timeout
from wsserver.wire.tap import Tap
from wsserver.wire.transport import CLOSED, LEAVING, OPEN, Owner, Transport
from wsserver.wire.writers import Writer, best_writer

log = logging.getLogger(__name__)


class Poller:
    """All WebSocket connections of one event loop.

    ``queue_limit_bytes`` limits the queue of one connection (above it: 4002) and
    ``max_message_bytes`` an incoming message (above it: 1009). ``coalesce_s`` is the window in
    which broadcasts are collected under load, 0 for none. One turn of the loop reads at most
    ``read_bytes`` of a connection and delivers at most ``frames_per_turn`` of its messages, so that
    no connection starves the others. ``close_timeout_s`` limits a closing handshake. Binary
    messages are refused (1003) unless ``accept_binary``. Texts of ``deflate_min_bytes`` or more are
    compressed (``deflates``). ``before_write``, ``processes``: see ``Fanout``. Not thread-safe.
    """

    def __init__(
        self,
        loop: Loop,
        clock: Clock,
        *,
        queue_limit_bytes: int = 1024 * 1024,
        max_message_bytes: int = 64 * 1024,
        coalesce_s: float = 0.005,
        read_bytes: int = 64 * 1024,
        frames_per_turn: int = 32,
        close_timeout_s: float = 5.0,
        accept_binary: bool = False,
        deflate_min_bytes: int = 256,
        before_write: Callable[[], None] = lambda: None,
        processes: Callable[[], int] = lambda: 1,
        readiness: Callable[[Loop, OnReady], Readiness] = best_readiness,
        writer: Callable[[], Writer] = best_writer,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self.max_message_bytes = max_message_bytes
        self._read_bytes = read_bytes
        self._frames_per_turn = frames_per_turn
        self._accept_binary = accept_binary
        self._deflate_min_bytes = deflate_min_bytes
        self._readiness = readiness(loop, self._on_ready)
        self._carrier = carrier = Carrier(
            loop,
            clock,
            self._readiness,
            queue_limit_bytes,
            close_timeout_s,
            self._deliver_backlog,
            self._progressed,
        )
        self._fanout = Fanout(
            loop,
            clock,
            carrier.counters,
            writer(),
            coalesce_s,
            queue_limit_bytes,
            carrier.hold,
            carrier.drop,
            before_write,
            processes,
        )
        self._queue_limit_bytes = queue_limit_bytes
        self._taps: dict[Transport, Tap] = {}
        """Connections that are observed or disturbed; usually none."""
        self._closed = False
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def counters(self) -> Counters:
        """Totals since the start."""
        return self._carrier.counters

    @property
    def connections(self) -> int:
        """Number of open sockets, those being closed included."""
        return len(self._carrier.transports)

    @property
    def event_streams(self) -> int:
        """Number of them that are event streams."""
        return self._carrier.event_streams

    @property
    def queued_bytes(self) -> int:
        """Bytes queued for all connections together; costs time for each one with a queue."""
        held = sum(each.outbox.size for each in self._carrier.blocked if each.outbox is not None)
        return held + self._fanout.pending_bytes

    @property
    def how_it_writes(self) -> str:
        """How broadcasts are written, for the log."""
        return self._fanout.how

    @property
    def unreported_ends(self) -> int:
        """Number of connections whose end has not been reported to their owners."""
        return self._carrier.unreported_ends

    def adopt(
        self,
        fd: int,
        owner: Owner,
        *,
        first: bytes = b"",
        greeting: bytes = b"",
        deflate_bits: int = 0,
    ) -> Transport:
        """Take over a connected, non-blocking socket with its descriptor.

        Of a TCP socket, Nagle's algorithm is off already (``set_nodelay``).

        ``greeting`` is written immediately: the 101 response, and the first frames. ``first`` are
        bytes already received from the peer; they are processed before anything in the socket, in
        the loop's next turn. The owner is not called before ``adopt`` has returned.
        ``deflate_bits`` is the agreed window of compression, 0 for none.

        Raises ``OSError`` when the system cannot watch the descriptor, ``ValueError`` when the
        poller is closed; the descriptor stays the caller's then.
        """
        transport = Transport(self._carrier, fd, owner, self._clock.monotonic(), deflate_bits)
        transport.interest = 0 if first else READ
        self._adopt(transport)
        if deflate_bits:
            self._carrier.deflating += 1
        if greeting:
            transport.send(greeting)
        if first:
            transport.backlog = deque()  # so that the socket is not read
            self._loop.add_callback(self._take_first, transport, first)
        return transport

    def adopt_event_stream(
        self, fd: int, owner: Owner, *, greeting: bytes, silence_s: float
    ) -> EventStream:
        """Take over the socket of a request for an event stream; raises as ``adopt`` does.

        ``greeting`` are the response's head and the first events. A peer whose system confirms
        nothing for ``silence_s`` seconds is lost.
        """
        transport = EventStream(self._carrier, fd, owner, self._clock.monotonic())
        transport.interest = READ
        set_user_timeout(fd, silence_s)
        self._adopt(transport)
        self._carrier.event_streams += 1
        transport.send(greeting)
        return transport

    def _adopt(self, transport: Transport) -> None:
        """Begin to watch a socket."""
        if self._closed:
            raise ValueError("the poller is closed")
        self._readiness.watch(transport.fd, transport.interest)
        self._carrier.transports.add(transport)
        self.counters.adopted += 1

    def send_many(self, transports: Iterable[Transport], frame: bytes) -> int:
        """Send a frame to each; return for how many it was sent or queued.

        The others are closed or exceeded their queue limit. Within the coalescing window the frame
        may leave up to ``coalesce_s`` later; the order on each connection includes ``send``.
        """
        self._carrier.cork.flush()  # the fan-out does not check for frames that the cork holds
        if self._taps:
            tapped, transports = self._divide(transports)
            sent = sum([transport.send(frame) for transport in tapped])
            return sent + self._fanout.send_many(transports, frame)
        return self._fanout.send_many(transports, frame)

    def is_encoded(self, size: int) -> bool:
        """Whether the bytes of a text of this size may differ between connections (``encode``).

        It may be compressed for some, or an event of an event stream.
        """
        carrier = self._carrier
        return carrier.event_streams > 0 or (
            carrier.deflating > 0 and size >= self._deflate_min_bytes
        )

    def encode(
        self, text: bytes, transports: Iterable[Transport], advance: Advance | None
    ) -> Encodings:
        """The bytes of a text for each transport; see ``encode_for``."""
        return encode_for(text, transports, advance, self._deflate_min_bytes)

    def send_encoded(self, encodings: Encodings) -> int:
        """Like ``send_many``, for a message whose bytes differ between its recipients."""
        self._carrier.cork.flush()
        if self._taps:
            sent = 0
            others: Encodings = []
            for transports, frame in encodings:
                tapped, rest = self._divide(transports)
                sent += sum([transport.send(frame) for transport in tapped])
                others.append((rest, frame))
            return sent + self._fanout.send_encoded(others)
        return self._fanout.send_encoded(encodings)

    def cork(self) -> None:
        """Combine each connection's frames into one write until the loop's next turn."""
        self._carrier.cork.put_in()

    # -- observing

    def tap(self, transport: Transport) -> Tap | None:
        """The tap of a connection, inserted if there is none; None: the connection has ended."""
        tap = self._taps.get(transport)
        if tap is None and transport.owner is not None:
            tap = self._taps[transport] = Tap(
                transport,
                self._carrier,
                self._loop,
                self._clock,
                self._queue_limit_bytes,
                self._tap_ended,
            )
        return tap

    def tap_of(self, transport: Transport) -> Tap | None:
        """The tap of a connection, if it has one."""
        return self._taps.get(transport)

    def untap(self, transport: Transport) -> None:
        """Remove the tap of a connection, unless it is still used."""
        tap = self._taps.get(transport)
        if tap is not None and tap.is_idle:
            del self._taps[transport]
            tap.remove()

    def _tap_ended(self, transport: Transport) -> None:
        self._taps.pop(transport, None)

    def _divide(self, transports: Iterable[Transport]) -> tuple[list[Transport], list[Transport]]:
        """Those with a tap, and the others: the fan-out writes past taps."""
        tapped: list[Transport] = []
        others: list[Transport] = []
        for transport in transports:
            (tapped if transport in self._taps else others).append(transport)
        return tapped, others

    # -- shutting down

    async def wait_closed(self, timeout_s: float) -> bool:
        """Wait until every socket is closed; False if some are not after ``timeout_s`` seconds."""
        if not self._carrier.transports:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(future)
        try:
            await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            return not self._carrier.transports
        finally:
            self._waiters.discard(future)
        return True

    def close(self) -> None:
        """Close every socket now, report it to the owners (1001), stop watching; idempotent."""
        if self._closed:
            return
        self._closed = True
        for transport in self._carrier.transports:
            handshake = self._carrier.closing.get(transport)
            if handshake is None:
                self._carrier.end(transport, GOING_AWAY, "server gone", False)
            self._carrier.drop(transport)
        self._carrier.report_all_ends()
        self._fanout.close()
        self._carrier.closing.close()
        self._readiness.close()

    def _progressed(self) -> None:
        """Wake the waiters of ``wait_closed`` once all sockets are closed."""
        if self._carrier.transports:
            return
        for future in self._waiters:
            if not future.done():
                future.set_result(None)

    # -- reading

    def _on_ready(self, ready: list[tuple[int, int]]) -> None:
        """Process a batch. Events are hints: only the result of a read or write counts."""
        now = self._clock.monotonic()
        carrier = self._carrier
        transports = carrier.transports
        carrier.begin_batch()
        try:
            for fd, events in ready:
                transport = transports.get(fd)
                if transport is None:  # ended earlier in this batch
                    continue
                if events & WRITE:
                    carrier.push(transport)
                if events & ~WRITE:
                    self._read(transport, events, now)
        finally:
            carrier.cork.pull_out()
            carrier.end_batch()

    def _read(self, transport: Transport, events: int, now: float) -> None:
        if transport.is_paused or transport.backlog is not None or transport.state is CLOSED:
            if events & BROKEN and transport.state is not CLOSED:
                self._carrier.drop(transport)  # reset: reported even if reads are not watched
            return
        try:
            data = os.read(transport.fd, self._read_bytes)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._carrier.drop(transport)
            return
        self.counters.bytes_in += len(data)
        transport.heard_at = now
        if transport.state is LEAVING:
            handshake = self._carrier.closing.get(transport)
            if handshake is not None:
                handshake.discarded += len(data)
                if handshake.discarded > DISCARD_LIMIT_BYTES:
                    self._carrier.release(transport)
        else:
            self._take(transport, data)

    def _take_first(self, transport: Transport, data: bytes) -> None:
        """Process the bytes that were received before the socket was adopted."""
        if transport.state is CLOSED:
            return
        transport.backlog = None
        self.counters.bytes_in += len(data)
        if transport.state is not LEAVING:
            self._take(transport, data)
        self._carrier.update_interest(transport)
        self._carrier.report_ends()

    def _take(self, transport: Transport, data: bytes) -> None:
        """Parse and deliver."""
        if transport.is_event_stream:
            self._carrier.fail(transport, PROTOCOL_ERROR, "bytes behind the request")
            return
        parser = transport.parser
        if parser is None:
            text = parse_small_text(data, self.max_message_bytes)
            if text is not None:
                self.counters.frames_in += 1
                self._handle(transport, TEXT, text, 0)
                return
            parser = FrameParser(self.max_message_bytes, transport.deflate_bits > 0)
        self._parse(transport, parser, data)

    def _parse(self, transport: Transport, parser: FrameParser, data: bytes) -> None:
        events = parser.feed(data)
        transport.parser = None if parser.is_idle else parser
        self.counters.frames_in += len(events)
        if events or parser.is_behind or transport.backlog is not None:
            self._deliver(transport, deque(events))

    def _deliver_backlog(self, transport: Transport) -> None:
        if transport.backlog:
            self._deliver(transport, transport.backlog)
        elif transport.parser is not None:
            self._parse(transport, transport.parser, b"")

    def _deliver(self, transport: Transport, events: deque[Event]) -> None:
        """Deliver this turn's share of the events, and keep the rest."""
        if len(events) > 1:
            self._carrier.cork.put_in()  # their answers
        share = self._frames_per_turn
        while events and share > 0 and not transport.is_paused and transport.state < LEAVING:
            share -= 1
            kind, payload, code = events.popleft()
            if kind > RSV1:
                # As many inflated bytes as one read may have use the turn up.
                inflated = self._handle_deflated(transport, kind, payload)
                share -= inflated * self._frames_per_turn // self._read_bytes
            else:
                self._handle(transport, kind, payload, code)
        parser = transport.parser
        keep = transport.state < LEAVING and (
            bool(events) or (parser is not None and parser.is_behind)
        )
        if keep or transport.backlog is not None:
            transport.backlog = events if keep else None
            self._carrier.update_interest(transport)
        if keep and not transport.is_paused:
            self._carrier.deliver_later(transport)

    def _handle_deflated(self, transport: Transport, kind: int, payload: bytes) -> int:
        """Handle a compressed message; return its true size."""
        if transport.state is not OPEN:
            return 0
        kind ^= RSV1
        try:
            message = inflate(payload, self.max_message_bytes)
            if kind == TEXT and not is_utf8(message):
                raise WireError(INVALID_PAYLOAD, "text is not UTF-8")
        except WireError as error:
            self._carrier.fail(transport, error.code, error.reason)
            return 0
        self._handle(transport, kind, message, 0)
        return len(message)

    def _handle(self, transport: Transport, kind: int, payload: bytes, code: int) -> None:
        if kind == CLOSE:
            self._carrier.peer_closed(transport, code, payload.decode())
            return
        if kind == FAILURE:
            self._carrier.fail(transport, code, payload.decode())
            return
        owner = transport.owner
        if transport.state is not OPEN or owner is None:
            return
        try:
            if kind == TEXT:
                owner.on_text(transport, payload)
            elif kind == PING:
                transport.send(build_frame(payload, PONG) if payload else EMPTY_PONG)
                owner.on_ping(transport, payload)
            elif kind == PONG:
                owner.on_pong(transport, payload)
            elif self._accept_binary:
                owner.on_binary(transport, payload)
            else:
                self._carrier.fail(transport, UNSUPPORTED_DATA, "binary messages are not accepted")
        except Exception:
            log.exception("message handler failed fd=%d", transport.fd)
            self._carrier.fail(transport, INTERNAL_ERROR, "internal error")
