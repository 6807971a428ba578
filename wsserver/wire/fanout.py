"""Fan-out: sends a message to many connections, coalescing frames under load."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final, TypeAlias

from wsserver.clock import Clock
from wsserver.wire.counters import Counters
from wsserver.wire.deflate import MAX_BITS, bits_for, deflated_frame
from wsserver.wire.event_stream import EventStream
from wsserver.wire.events import build_event
from wsserver.wire.frames import build_frame
from wsserver.wire.outbox import Link
from wsserver.wire.readiness import Loop
from wsserver.wire.recipients import Recipients
from wsserver.wire.transport import Transport
from wsserver.wire.writers import BROKEN, FEW, Writer

WRITES_PER_TURN: Final = 1024
"""Sockets written to in one turn of the event loop: about 10 ms, for an audience of any size."""

STRETCH: Final = 4
"""Maximum growth of the window while writing takes much of the time, as a factor."""

COLLECT_LIMIT_BYTES: Final = 256 * 1024
"""Collected for one connection; above it everything collected is written before the window ends."""

Encodings: TypeAlias = list[tuple[Sequence[Transport], bytes]]
"""Recipients, and the bytes that all of them get."""

Advance: TypeAlias = Callable[[bytes], bytes]
"""Cursor of an event stream behind a message, from the one before it."""


def encode_for(
    text: bytes,
    transports: Iterable[Transport],
    advance: Advance | None = None,
    deflate_min_bytes: int = 0,
) -> Encodings:
    """The bytes of a text for each: a frame, compressed where that was agreed on, or an event.

    Each encoding is made once; recipients keep their order within it. Agreed windows are ignored
    for texts that need none so large, so there are three encodings at most, with ``advance`` one
    event for each different cursor. It moves the cursors of the event streams; None: the text has
    no position, and its event no id.
    """
    needed = bits_for(len(text), MAX_BITS) if len(text) >= deflate_min_bytes else 0
    groups: dict[int, list[Transport]] = {}
    streams: dict[bytes, list[EventStream]] = {}
    for transport in transports:
        if isinstance(transport, EventStream):
            cursor = b"" if advance is None else transport.cursor
            streams.setdefault(cursor, []).append(transport)
        else:
            bits = transport.deflate_bits
            groups.setdefault(min(bits, needed), []).append(transport)
    encodings: Encodings = [
        (group, deflated_frame(text, bits) if bits else build_frame(text))
        for bits, group in groups.items()
    ]
    for cursor, same in streams.items():
        after = b"" if advance is None else advance(cursor)
        if advance is not None:
            for stream in same:
                stream.cursor = after
        encodings.append((same, build_event(text, event_id=after)))
    return encodings


class Fanout:
    """Writes one frame to many connections, and keeps the order on each of them.

    A frame is written immediately if none was in the last ``coalesce_s`` seconds; otherwise it is
    collected with the others of that window, and each connection gets one write for all of them.
    The window is twice as long as the last round of writes took, within 1 to ``STRETCH`` times
    ``coalesce_s``: so writing to a large audience takes about a third of the time.

    ``processes``: how many the recipients are divided among: the window is as long as if one
    process wrote to all of them. ``before_write`` is called before a frame is written immediately.

    ``on_short(transport, data, written)`` is called with what a socket did not accept,
    ``on_broken(transport)`` for a connection that a write found broken.
    """

    def __init__(
        self,
        loop: Loop,
        clock: Clock,
        counters: Counters,
        writer: Writer,
        coalesce_s: float,
        collect_limit_bytes: int,
        on_short: Callable[[Transport, bytes, int], bool],
        on_broken: Callable[[Transport], None],
        before_write: Callable[[], None],
        processes: Callable[[], int],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._counters = counters
        self._writer = writer
        self._coalesce_s = coalesce_s
        self._collect_limit_bytes = min(collect_limit_bytes, COLLECT_LIMIT_BYTES)
        self._on_short = on_short
        self._on_broken = on_broken
        self._before_write = before_write
        self._processes = processes
        self._waiting: list[Transport] = []
        """Connections with collected frames, in the order of their first one."""
        self._flushing: deque[Transport] = deque()
        """Those whose window is over and who have not been written to yet."""
        self._timer: object | None = None
        self._quiet_from = 0.0
        """From then on a frame is written immediately (monotonic seconds)."""
        self._reverse = False
        self._round_began = 0.0

    @property
    def how(self) -> str:
        """How it writes to many sockets, for the log."""
        return self._writer.how

    @property
    def pending_bytes(self) -> int:
        """Bytes collected for all connections together."""
        waiting = {*self._waiting, *self._flushing}
        return sum(link.size for each in waiting if (link := each.collected) is not None)

    def send_many(self, transports: Iterable[Transport], frame: bytes) -> int:
        """Send a frame to each; return how many it was written, queued or collected for."""
        each = iter(transports)
        sent = 0
        if not (self._waiting or self._flushing):
            now = self._clock.monotonic()
            if now >= self._quiet_from:
                self._before_write()
                if isinstance(transports, Recipients) and len(transports) <= WRITES_PER_TURN:
                    fds = transports.descriptors(self._counters.changes)
                    if fds is not None:
                        sent = self._write_to_free(transports.transports, fds, frame)
                        self._written(now)
                        return sent
                sent = self._write(islice(each, WRITES_PER_TURN), frame)
                self._written(now)
        # The rest of a large audience waits for the loop's next turn, as collected frames do: no
        # turn is long, and the order on each connection is kept.
        return sent + self._collect(each, frame, 0.0 if sent else None)

    def send_encoded(self, encodings: Encodings) -> int:
        """Do the same with one message in several encodings, as one round.

        A connection may be in one of them only.
        """
        sent = 0
        room = 0
        began = self._clock.monotonic()
        if not (self._waiting or self._flushing) and began >= self._quiet_from:
            self._before_write()
            room = WRITES_PER_TURN
        rest: Encodings = []
        single: list[tuple[Transport, bytes]] = []
        """Recipients whose bytes few others get, as event streams have cursors of their own."""
        for transports, frame in encodings:
            count = len(transports)
            if count <= FEW and count <= room:
                room -= count
                for transport in transports:
                    single.append((transport, frame))
                continue
            sent += self._write(transports[:room], frame)
            rest.append((transports[room:], frame))
            room = max(0, room - count)
        sent += self._write_each(single)
        if sent:
            self._written(began)
        delay_s = 0.0 if sent else None
        return sent + sum([self._collect(each, frame, delay_s) for each, frame in rest if each])

    def flush(self) -> None:
        """Write everything collected, now."""
        self._flushing.extend(self._waiting)
        self._waiting.clear()
        began = self._clock.monotonic()
        while self._flushing:
            self._flush_some()
        self._written(began)

    def close(self) -> None:
        """Discard collected frames, stop the timer, and close the writer."""
        self._waiting.clear()
        self._flushing.clear()
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None
        self._writer.close()

    def _write(self, transports: Iterable[Transport], frame: bytes) -> int:
        """Write to each now, after what is queued for it; return how many got it."""
        everyone = list(transports)
        free = [transport for transport in everyone if transport.outbox is None]
        sent = 0
        if len(free) < len(everyone):
            sent = sum([each.send(frame) for each in everyone if each.outbox is not None])
        return sent + self._write_to_free(free, [transport.fd for transport in free], frame)

    def _write_each(self, pairs: list[tuple[Transport, bytes]]) -> int:
        """Write each its own bytes now, after what is queued for it; return how many got them."""
        if not pairs:
            return 0
        free = [(transport, frame) for transport, frame in pairs if transport.outbox is None]
        sent = 0
        if len(free) < len(pairs):
            sent = sum([each.send(frame) for each, frame in pairs if each.outbox is not None])
        frames = [frame for _, frame in free]
        shortfalls = self._writer.write_each([transport.fd for transport, _ in free], frames)
        self._counters.writes += len(free) - len(shortfalls)
        self._counters.bytes_out += sum(map(len, frames))
        for index, written in shortfalls:
            transport, frame = free[index]
            self._counters.bytes_out -= len(frame)
            if written == BROKEN:
                self._on_broken(transport)
            else:
                sent += self._on_short(transport, frame, written)
        return sent + len(free) - len(shortfalls)

    def _write_to_free(self, transports: list[Transport], fds: Sequence[int], data: bytes) -> int:
        """Write to those with nothing queued; return how many got it, or will."""
        shortfalls = self._writer.write_all(fds, data)
        whole = len(transports) - len(shortfalls)
        self._counters.writes += whole
        self._counters.bytes_out += whole * len(data)
        sent = whole
        for index, written in shortfalls:
            if written == BROKEN:
                self._on_broken(transports[index])
            else:
                sent += self._on_short(transports[index], data, written)
        return sent

    def _collect(self, transports: Iterable[Transport], frame: bytes, delay_s: float | None) -> int:
        """Append a frame to those collected for each connection: one attribute store for most."""
        first: Link | None = None
        parent: Link | None = None
        child: Link | None = None
        children: dict[Link, Link] = {}
        waiting = self._waiting
        largest = 0
        count = 0
        for transport in transports:
            link = transport.collected
            if link is not None:
                if link is not parent:
                    parent = link
                    child = children.get(link)
                    if child is None:
                        child = children[link] = Link(link, frame)
                        largest = max(largest, child.size)
                transport.collected = child
            elif transport.outbox is None:
                if first is None:
                    first = Link(None, frame)
                transport.collected = first
                waiting.append(transport)
            elif not transport.send(frame):
                continue
            count += 1
        if largest > self._collect_limit_bytes:
            self.flush()
        elif waiting and self._timer is None and not self._flushing:
            if delay_s is None:
                delay_s = max(0.0, self._quiet_from - self._clock.monotonic())
            self._timer = self._loop.call_later(delay_s, self._window_ended)
        return count

    def _window_ended(self) -> None:
        """Start writing the collected frames; from alternate ends of the audience, to be fair."""
        self._timer = None
        if self._reverse:
            self._waiting.reverse()
        self._reverse = not self._reverse
        self._flushing.extend(self._waiting)
        self._waiting.clear()
        self._round_began = self._clock.monotonic()
        self._flush_turn()

    def _flush_turn(self) -> None:
        """Write to some connections, and leave the others for the next turn."""
        self._timer = None
        self._flush_some()
        if self._flushing:
            self._timer = self._loop.call_later(0, self._flush_turn)
            return
        window_s = self._written(self._round_began)
        if self._waiting:
            self._timer = self._loop.call_later(window_s, self._window_ended)

    def _written(self, began: float) -> float:
        """Start the next window after a round of writes; return its length in seconds."""
        now = self._clock.monotonic()
        all_s = self._processes() * (now - began)
        window_s = min(max(self._coalesce_s, 2 * all_s), STRETCH * self._coalesce_s)
        self._quiet_from = now + window_s
        return window_s

    def _flush_some(self) -> None:
        """Write to as many connections as one turn allows, each with one write."""
        flushing = self._flushing
        groups: dict[Link, list[Transport]] = {}
        """Connections by collected frames: those with the same get the same bytes."""
        for _ in range(min(len(flushing), WRITES_PER_TURN)):
            transport = flushing.popleft()
            link = transport.collected
            if link is None:  # sent before a direct frame, or the connection has ended
                continue
            transport.collected = None
            group = groups.get(link)
            if group is None:
                groups[link] = [transport]
            else:
                group.append(transport)
        for link, group in groups.items():
            self._write_to_free(group, [transport.fd for transport in group], link.join())
