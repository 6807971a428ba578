"""``StreamFollower``: delivers the followed streams of this node in order, and repairs gaps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from math import inf

from wsserver.clock import Clock
from wsserver.cluster.broker import (
    NO_RECIPIENTS,
    Broker,
    Outcome,
    Publication,
    PublishResult,
    Receiver,
    Signal,
    begin_each,
)
from wsserver.errors import StorageUnavailable, WsServerError
from wsserver.promise import Promise
from wsserver.protocol.pushes import positioned
from wsserver.protocol.targets import Target
from wsserver.realtime.streams import sequencer
from wsserver.realtime.streams.retention_policy import (
    BROADCAST,
    publication_of,
    stream_of,
    target_of,
)
from wsserver.realtime.streams.sequencer import ByteBudget
from wsserver.storage.engine.fair_queue import reading_for
from wsserver.storage.messages.streams import Gap, Head, StreamStore
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

COMPARE_S = 1.0
"""Time between two comparisons of all followed streams with the database."""
COMPARE_AT_ONCE = 1000
"""Streams in one query."""
GAP_PATIENCE_S = 0.01
"""A missing message that is only late arrives within this time; then the database is read."""
TAIL_PATIENCE_S = 0.1
"""The same where no later message has arrived, and nobody waits: the last ones of a large commit
are stored long before they are published."""
LOOK_AGAIN_S = 0.001
"""If the event loop was busy all that time, what has arrived is read from the sockets first."""
FOLLOW_PATIENCE_S = 0.5
"""Longest wait for the confirmation of a subscription; comparing heads repairs what is missed."""
PAGE = 200
PAGE_BYTES = 256 * 1024
"""Limits of one reading of a gap: it is written to each connection in one go, which must neither
fill its queue nor stop the event loop for long."""
REPAIRS_AT_ONCE = 8
HELD_LIMIT_BYTES = 32 * 1024 * 1024
"""Received messages of all streams together that wait for older ones."""
TOGETHER = 16
"""Received messages that are passed on in one go."""
UNCLAIMED_LIMIT = 20_000
"""Results of messages that were read before they were received: those of several transactions."""


class FollowedStream:
    """This node's position in one followed stream, and who follows it."""

    __slots__ = (
        "holds",
        "is_local",
        "is_patient",
        "is_repairing",
        "is_subscribed",
        "name",
        "results",
        "sequence",
        "target",
        "timer",
        "waiting",
    )

    def __init__(self, name: str, target: Target, room: ByteBudget) -> None:
        self.name = name
        self.target = target
        self.sequence: sequencer.Sequencer[Publication] = sequencer.Sequencer(room)
        self.is_local = False
        """Whether connections of this node match the stream."""
        self.holds = 0
        """Readers that need an exact position: connections that are about to match."""
        self.is_subscribed = False
        """Whether the broker has confirmed once that its messages arrive."""
        self.is_repairing = False
        self.timer: asyncio.TimerHandle | None = None
        self.is_patient = False
        """Whether the timer may take ``TAIL_PATIENCE_S``."""
        self.results: dict[int, Promise[PublishResult]] = {}
        """Results of received messages that wait, by offset."""
        self.waiting: list[asyncio.Future[None]] = []

    def wake(self, error: Exception | None = None) -> None:
        """Let those who wait for the position look again, or fail."""
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)


class StreamFollower:
    """Receiving side of the broker where several nodes write to the streams.

    Kept messages are passed on to ``delivery`` once, in the order of their offsets; ``enter`` is
    called before, and ``moved`` where the position changed without a message; ``dropped`` where a
    stream is not followed any more, or messages without readers here were skipped. Order and
    completeness come from the database: what pub/sub loses is read from there, after
    ``GAP_PATIENCE_S`` if a later message shows it, else after about ``COMPARE_S``. Not while the
    stream moves on, or ``is_in_flight``: this node has stored messages that it is about to publish.
    """

    def __init__(
        self,
        store: StreamStore,
        broker: Broker,
        delivery: Receiver,
        clock: Clock,
        tasks: Tasks,
        *,
        enter: Callable[[Sequence[Publication]], None],
        moved: Callable[[str, str, int], None],
        dropped: Callable[[str], None],
        cork: Callable[[], None],
        is_in_flight: Callable[[str], bool],
    ) -> None:
        self._store = store
        self._broker = broker
        self._delivery = delivery
        self._clock = clock
        self._tasks = tasks
        self._enter = enter
        self._moved = moved
        self._dropped = dropped
        self._cork = cork
        self._is_in_flight = is_in_flight
        self._places: dict[str, FollowedStream] = {}
        self._unclaimed: dict[tuple[str, str, int], PublishResult] = {}
        """Results of messages that were read from storage, by their positions; bounded."""
        self._room = ByteBudget(HELD_LIMIT_BYTES)
        self._repairing = asyncio.Semaphore(REPAIRS_AT_ONCE)
        self._compare_now = asyncio.Event()
        self.repaired = 0
        """Messages that were delivered from storage since the start."""

    async def start(self) -> None:
        """Begin to follow broadcasts, which every node does, and to compare heads.

        To be called before the first connection. Raises ``StorageUnavailable``.
        """
        place = self._take(BROADCAST)
        place.is_local = True
        head = (await self._store.heads([BROADCAST]))[BROADCAST]
        if place.sequence.epoch is None:
            place.sequence.start(head.epoch, head.offset)
        self._broker.add_gap_listener(self._compare_now.set)
        with reading_for(None):
            self._tasks.spawn(self._compare_always(), name="stream heads")

    def position(self, name: str) -> tuple[str, int] | None:
        """Epoch and offset up to which a followed stream is delivered; None: not known."""
        place = self._places.get(name)
        if place is None or place.sequence.epoch is None:
            return None
        return place.sequence.epoch, place.sequence.delivered

    # Interest

    def follow(self, target: Target) -> None:
        """This node has its first connection that matches a user, session or organization."""
        name = stream_of(target)
        if name is None:
            self._broker.follow(target)
            return
        place = self._take(name)
        place.is_local = True
        if place.sequence.epoch is None:  # without a reader that holds it
            with reading_for(None):
                self._tasks.spawn(self._locate(place), name=f"locate {name}")

    def unfollow(self, target: Target) -> None:
        """The last such connection has ended."""
        name = stream_of(target)
        if name is None:
            self._broker.unfollow(target)
        elif (place := self._places.get(name)) is not None:
            place.is_local = False
            self._drop_if_unused(place)

    def hold(self, names: Iterable[str]) -> list[FollowedStream]:
        """Follow streams until ``release``; ``settle`` makes their positions exact."""
        places = [self._take(name) for name in names]
        for place in places:
            place.holds += 1
        return places

    def release(self, places: Iterable[FollowedStream]) -> None:
        """Let go of held streams; those with connections by now stay followed."""
        for place in places:
            place.holds -= 1
            self._drop_if_unused(place)

    def _take(self, name: str) -> FollowedStream:
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = FollowedStream(name, target_of(name), self._room)
            self._broker.follow(place.target)
        return place

    def _drop_if_unused(self, place: FollowedStream) -> None:
        if place.is_local or place.holds or self._places.get(place.name) is not place:
            return
        del self._places[place.name]
        if place.timer is not None:
            place.timer.cancel()
        place.sequence.close()
        for waiting in place.results.values():
            if not waiting.done():
                waiting.resolve(NO_RECIPIENTS)
        place.results.clear()
        self._dropped(place.name)
        place.wake()
        self._broker.unfollow(place.target)

    async def subscribed(self, places: Sequence[FollowedStream]) -> None:
        """Wait until messages of these streams arrive; then their heads can be read."""
        new = [place for place in places if not place.is_subscribed]
        if not new:
            return  # a reconnect may have ended it meanwhile: then all heads are compared
        try:
            async with asyncio.timeout(FOLLOW_PATIENCE_S):
                for place in new:
                    await self._broker.followed(place.target)
                    place.is_subscribed = True
        except TimeoutError:
            log.info("subscription not confirmed in time streams=%d", len(new))

    async def reach(self, place: FollowedStream, head: Head) -> None:
        """Wait until a stream is delivered up to a head that was read from the database.

        Raises ``StorageUnavailable``.
        """
        sequence = place.sequence
        if sequence.epoch is None:
            sequence.start(head.epoch, head.offset)
            return
        if sequence.has(head.epoch, head.offset):
            return
        sequence.expect(head.epoch, head.offset)
        while self._places.get(place.name) is place:
            if sequence.has(head.epoch, head.offset) or not sequence.is_behind:
                return
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            place.waiting.append(future)
            self._repair_soon(place)
            await future

    async def _locate(self, place: FollowedStream) -> None:
        """Find the position of a stream that got a connection by other means than joining."""
        await self.subscribed([place])
        try:
            head = (await self._store.heads([place.name]))[place.name]
        except WsServerError:
            return  # the next comparison finds it
        self._compared(place, head)

    # Receiving

    def signal(self, signal: Signal) -> None:
        """Pass on a signal."""
        self._delivery.signal(signal)

    def deliver(self, publication: Publication) -> Outcome:
        """Deliver a publication; kept ones in order, as soon as all before it are."""
        place = self._places.get(publication.stream) if publication.stream else None
        if place is None:  # a live message, or a stream without connections here
            return self._delivery.deliver(publication)
        offset = publication.offset
        ready = place.sequence.received(
            publication.epoch, offset, publication, len(publication.payload)
        )
        if ready is None:
            return self._unclaimed.pop((place.name, publication.epoch, offset), NO_RECIPIENTS)
        if not ready:
            result: Promise[PublishResult] = Promise()
            if len(place.results) < sequencer.HELD_LIMIT:
                place.results.setdefault(offset, result)
            self._repair_soon(place)
            return result
        outcome = self._pass_on(place, ready[0])
        for following in ready[1:]:
            self._pass_on(place, following)
        if place.waiting:
            place.wake()
        return outcome

    def deliver_all(self, publications: Sequence[Publication], until: float = inf) -> list[Outcome]:
        """Deliver several, in their order; writes to a connection are combined.

        Those that are next in their streams are passed on ``TOGETHER`` at a time.
        """
        self._cork()
        outcomes: list[Outcome] = []
        for start in range(0, len(publications), TOGETHER):
            outcomes += self._deliver_some(publications[start : start + TOGETHER])
            if self._clock.monotonic() > until:
                break
        return outcomes

    def _deliver_some(self, publications: Sequence[Publication]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        run: list[Publication] = []
        kept: list[Publication] = []
        for publication in publications:
            place = self._places.get(publication.stream) if publication.stream else None
            if place is not None:
                is_awaited = place.waiting or place.results
                if is_awaited or not place.sequence.takes_next(
                    publication.epoch, publication.offset
                ):
                    outcomes += self._pass_run_on(run, kept)
                    run, kept = [], []
                    outcomes.append(self.deliver(publication))
                    continue
                kept.append(publication)
            run.append(publication)
        outcomes += self._pass_run_on(run, kept)
        return outcomes

    def _pass_run_on(
        self, run: Sequence[Publication], kept: Sequence[Publication]
    ) -> list[Outcome]:
        """Deliver messages of which nobody waits for any; ``kept``: those of followed streams."""
        if kept:
            self._enter(kept)
        return self._delivery.deliver_all(run) if run else []

    def _pass_on(self, place: FollowedStream, publication: Publication) -> Outcome:
        """Deliver the next message of a stream."""
        self._enter((publication,))
        # Its position is taken: an error must not hold back those that follow it.
        (outcome,) = begin_each(self._delivery.deliver, (publication,), inf)
        waiting = place.results.pop(publication.offset, None) if place.results else None
        if waiting is not None and not waiting.done() and isinstance(outcome, PublishResult):
            waiting.resolve(outcome)
        return outcome

    # Repairing

    def _repair_soon(self, place: FollowedStream) -> None:
        if place.is_repairing:
            return
        is_urgent = bool(place.waiting) or place.sequence.has_gap
        if place.timer is not None:
            if not (is_urgent and place.is_patient):
                return
            place.timer.cancel()
        place.is_patient = not is_urgent
        self._look_after(GAP_PATIENCE_S if is_urgent else TAIL_PATIENCE_S, place, is_last=False)

    def _look_after(self, delay_s: float, place: FollowedStream, *, is_last: bool) -> None:
        """Look whether a stream is still where it is now; if it is the last time, repair it."""
        loop = asyncio.get_running_loop()
        delivered = place.sequence.delivered
        place.timer = loop.call_later(delay_s, self._look, place, delivered, is_last)

    def _look(self, place: FollowedStream, delivered: int, is_last: bool) -> None:
        place.timer = None
        if self._places.get(place.name) is not place or place.is_repairing:
            return
        sequence = place.sequence
        if not sequence.is_behind:
            place.wake()
        elif sequence.delivered != delivered or (
            not sequence.has_gap and self._is_in_flight(place.name)
        ):
            self._repair_soon(place)
        elif not is_last:
            self._look_after(LOOK_AGAIN_S, place, is_last=True)
        else:
            place.is_repairing = True
            with reading_for(None):
                self._tasks.spawn(self._repair(place), name=f"repair {place.name}")

    async def _repair(self, place: FollowedStream) -> None:
        error: Exception | None = None
        try:
            async with self._repairing:
                while self._places.get(place.name) is place and place.sequence.is_behind:
                    if not await self._read_page(place):
                        break
                    place.wake()
                    await asyncio.sleep(0)
        except WsServerError as failure:
            error = failure
            log.warning("gap not read, trying on stream=%s error=%s", place.name, failure)
        except Exception:
            error = StorageUnavailable("the stream cannot be read")
            log.exception("gap not read stream=%s", place.name)
        finally:
            place.is_repairing = False
            place.wake(error)

    async def _read_page(self, place: FollowedStream) -> bool:
        """Read and deliver a part of what is missing; False: there is nothing (yet)."""
        sequence = place.sequence
        epoch, after = sequence.epoch or "", sequence.reading()
        gap = await self._store.gap(place.name, epoch, after, self._clock.wall(), PAGE, PAGE_BYTES)
        head = gap.head
        if self._places.get(place.name) is not place:
            return False
        if place.is_local:
            ready = self._page(sequence, gap, place.name)
        else:  # no connection here has missed anything: only the position is moved
            self._dropped(place.name)
            ready = sequence.page(head.epoch, head.offset, head.offset, ())
        for publication in ready:
            outcome = self._pass_on(place, publication)
            self.repaired += 1
            if isinstance(outcome, PublishResult):
                unclaimed = self._unclaimed
                unclaimed[place.name, publication.epoch, publication.offset] = outcome
                if len(unclaimed) > UNCLAIMED_LIMIT:
                    del unclaimed[next(iter(unclaimed))]
        self._settle(place)
        if (sequence.epoch, sequence.delivered) != (epoch, after):
            return True
        sequence.give_up()
        return False

    def _page(
        self, sequence: sequencer.Sequencer[Publication], gap: Gap, name: str
    ) -> list[Publication]:
        head = gap.head
        items = []
        for each in gap.messages:
            payload = positioned(each.payload, name, head.epoch, each.offset)
            items.append((each.offset, publication_of(each, payload)))
        return sequence.page(head.epoch, gap.until, head.offset, items)

    def _settle(self, place: FollowedStream) -> None:
        """Note a position that was reached without a message; forget results of the past."""
        sequence = place.sequence
        if sequence.epoch is not None:
            self._moved(place.name, sequence.epoch, sequence.delivered)
        for offset in [each for each in place.results if each <= sequence.delivered]:
            waiting = place.results.pop(offset)
            if not waiting.done():  # expired before it could be delivered
                waiting.resolve(NO_RECIPIENTS)

    async def _compare_always(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await asyncio.wait_for(self._compare_now.wait(), COMPARE_S)
            except TimeoutError:
                pass
            self._compare_now.clear()
            started = loop.time()
            try:
                await self.compare()
            except WsServerError as error:
                log.warning("heads of streams not read code=%s error=%s", error.code, error)
            except Exception:
                log.exception("heads of streams not compared")
            if loop.time() - started > COMPARE_S:
                log.info("comparing heads takes long streams=%d", len(self._places))

    async def compare(self) -> None:
        """Compare all followed streams with the database, and repair what is behind."""
        names = list(self._places)
        for first in range(0, len(names), COMPARE_AT_ONCE):
            heads = await self._store.heads(names[first : first + COMPARE_AT_ONCE])
            for name, head in heads.items():
                place = self._places.get(name)
                if place is not None:
                    self._compared(place, head)

    def _compared(self, place: FollowedStream, head: Head) -> None:
        sequence = place.sequence
        if sequence.epoch is None:
            if place.is_local:
                sequence.start(head.epoch, head.offset)
                self._moved(place.name, head.epoch, head.offset)
            return
        if not sequence.has(head.epoch, head.offset):
            sequence.expect(head.epoch, head.offset)
        if sequence.is_behind:
            self._repair_soon(place)

    def figures(self) -> dict[str, int]:
        """Numbers for the health check and the metrics."""
        return {"followed": len(self._places), "repaired": self.repaired}
