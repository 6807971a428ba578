"""``SharedStreams``: streams that several nodes write to; the database has their positions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from wsserver.clock import Clock
from wsserver.cluster.broker import Broker, Publication, Receiver
from wsserver.identity.claims import Claims
from wsserver.protocol.types import Position
from wsserver.realtime.streams.append_queue import Outcomes
from wsserver.realtime.streams.drafts import Draft
from wsserver.realtime.streams.growing_texts import GrowingTexts
from wsserver.realtime.streams.retention_policy import Retention, readers_of
from wsserver.realtime.streams.stream import TAIL_LIMIT_BYTES, Recovery, Stream
from wsserver.realtime.streams.stream_follower import FollowedStream, StreamFollower
from wsserver.realtime.streams.streams import Streams
from wsserver.storage.engine.fair_queue import reading_for
from wsserver.storage.messages.streams import Ends, Head, StreamStore
from wsserver.tasks import Tasks

HEADS_AT_ONCE = 1000
"""Streams in one query."""


class HeadReader:
    """Reads the ends of streams and their growing answers, many callers in one query.

    A query begins after the calls that it answers, so they see all that was stored before them.
    """

    def __init__(self, store: StreamStore, tasks: Tasks) -> None:
        self._store = store
        self._tasks = tasks
        self._next: tuple[dict[str, None], asyncio.Future[Ends]] | None = None
        self._is_running = False

    async def read(self, names: Sequence[str]) -> Ends:
        """The ends of some streams, and of others. Raises ``StorageUnavailable``."""
        if self._next is None:
            self._next = {}, asyncio.get_running_loop().create_future()
        wanted, future = self._next
        wanted.update(dict.fromkeys(names))
        if not self._is_running:
            self._is_running = True
            with reading_for(None):  # it is shared: not charged to its first caller
                self._tasks.spawn(self._run(), name="read heads")
        elif len(wanted) >= HEADS_AT_ONCE:
            await asyncio.sleep(0)
        return await asyncio.shield(future)

    async def _run(self) -> None:
        try:
            while self._next is not None:
                (wanted, future), self._next = self._next, None
                names = list(wanted)
                ends = Ends({}, {})
                try:
                    for first in range(0, len(names), HEADS_AT_ONCE):
                        ends |= await self._store.ends(names[first : first + HEADS_AT_ONCE])
                except Exception as error:  # noqa: BLE001 - raised in the callers
                    future.set_exception(error)
                    future.exception()  # also if all of them are gone
                except asyncio.CancelledError:
                    future.cancel()
                    if self._next is not None:  # they would wait for ever
                        self._next[1].cancel()
                    raise
                else:
                    future.set_result(ends)
        finally:
            self._is_running = False


class SharedHold:
    """Streams whose positions are exact from ``settle`` on, until ``release``."""

    def __init__(self, streams: SharedStreams, names: Sequence[str]) -> None:
        self._streams = streams
        self._names = names
        self._places = streams.follower.hold(names)

    async def settle(self) -> None:
        """Deliver all that was stored before this call; raises ``StorageUnavailable``."""
        await self._streams.settle(self._names, self._places)

    async def reach(self, name: str, epoch: str, offset: int) -> None:
        """Deliver a held stream up to a position that was read from the database."""
        place = self._places[self._names.index(name)]
        await self._streams.follower.reach(place, Head(epoch, offset, 1))

    def release(self) -> None:
        """Let go of the streams at the end of this iteration of the event loop.

        By then the connection that they were held for is subscribed, or was refused.
        """
        asyncio.get_running_loop().call_soon(self._streams.follower.release, self._places)


class SharedStreams(Streams):
    """``Streams`` where other nodes write to the same database.

    A cached stream is not taken for exact: its end is read from the database each time, so that
    whoever reads after an answer to a publisher sees that message, whichever node took it. What
    follows the end is received through the broker, and delivered by ``follower``.
    """

    is_shared = True

    def __init__(
        self,
        store: StreamStore,
        broker: Broker,
        delivery: Receiver,
        clock: Clock,
        tasks: Tasks,
        *,
        growing: GrowingTexts,
        on_unreached: Callable[[Publication], None],
        cork: Callable[[], None],
        retention: Retention,
        replay_limit: int = 1000,
        tail_limit_bytes: int = TAIL_LIMIT_BYTES,
    ) -> None:
        super().__init__(
            store,
            broker.begin_all,
            clock,
            tasks,
            growing=growing,
            on_unreached=on_unreached,
            cork=cork,
            replay_limit=replay_limit,
            retention=retention,
            tail_limit_bytes=tail_limit_bytes,
        )
        self._head_reader = HeadReader(store, tasks)
        self.follower = StreamFollower(
            store,
            broker,
            delivery,
            clock,
            tasks,
            enter=self._received,
            moved=self._moved,
            dropped=growing.stream_dropped,
            cork=cork,
            is_in_flight=self._queue.has,
        )

    async def load(self) -> None:
        """Begin to follow; to be called before the first connection."""
        await self.follower.start()

    def append(self, drafts: Sequence[Draft]) -> Outcomes:
        """Store drafts together, in their order, then publish them; see ``AppendQueue.append``."""
        return self._queue.append(drafts)

    def _enter(self, publications: Sequence[Publication], drafts: Sequence[Draft]) -> None:
        """Do nothing: they are entered when they are received, as all messages are."""

    def _received(self, publications: Sequence[Publication]) -> None:
        """Cache messages that are about to be delivered, each the next one of its stream."""
        self._cache_published(publications, map(readers_of, publications))

    def _moved(self, name: str, epoch: str, offset: int) -> None:
        stream = self._cache.peek(name)
        if stream is not None and (stream.epoch, stream.head) != (epoch, offset):
            self._cache.remember(name, epoch, offset)

    # Positions

    def position_now(self, name: str) -> Recovery | None:
        """The position of a stream that is held and settled; None: not known."""
        position = self.follower.position(name)
        return None if position is None else Recovery(*position, [], None)

    def hold(self, names: Sequence[str]) -> SharedHold:
        """Follow streams, so that no message falls between their heads and a subscription."""
        return SharedHold(self, names)

    async def settle(self, names: Sequence[str], places: Sequence[FollowedStream]) -> None:
        """Make the positions of held streams exact; all are in the cache then."""
        await self.follower.subscribed(places)
        ends = await self._head_reader.read(names)
        for place in places:
            await self.follower.reach(place, ends.heads[place.name])
            if growing := ends.growing.get(place.name):
                await self._growing.settle(growing)
        for name in names:
            self._cache.trim(self._followed(name), ends.heads[name].first_offset)

    async def open(self, name: str) -> Stream:
        """A stream whose position is exact when this returns; raises ``StorageUnavailable``."""
        head = (await self._head_reader.read([name])).heads[name]
        if self.follower.position(name) is None:
            stream = self._cache.use(name)
            if stream is None or stream.epoch != head.epoch or stream.head < head.offset:
                stream = self._cache.remember(name, head.epoch, head.offset)
            self._cache.trim(stream, head.first_offset)
            return stream
        (place,) = places = self.follower.hold([name])
        try:
            await self.follower.reach(place, head)
            return self._followed(name)
        finally:
            self.follower.release(places)

    async def _reopen(self, name: str) -> Stream:
        """The same while the stream is held and settled."""
        return self._followed(name) if self.follower.position(name) else await self.open(name)

    def _followed(self, name: str) -> Stream:
        """The cached stream of a held one, at its position."""
        position = self.follower.position(name)
        stream = self._cache.use(name)
        if position is not None and (stream is None or (stream.epoch, stream.head) != position):
            return self._cache.remember(name, *position)
        if stream is None:
            raise RuntimeError(f"not followed: {name}")
        return stream

    def forget_all(self, epoch: str) -> None:
        """Do nothing: positions are read from the database each time."""

    # Replay

    def recover_now(
        self,
        name: str,
        since: Position | None,
        claims: Claims,
        budget: int,
        with_changes: bool = True,
    ) -> Recovery | None:
        """None: the end of the stream has to be read from the database."""
        return None

    async def recover(
        self,
        wanted: Mapping[str, Position | None],
        claims: Claims,
        budget: int,
        with_changes: bool = True,
    ) -> dict[str, Recovery]:
        """The messages of each stream after a position; see ``StreamRecovery.recover``."""
        hold = self.hold(list(wanted))
        try:
            await hold.settle()
            return await super().recover(wanted, claims, budget, with_changes)
        finally:
            hold.release()

    def figures(self) -> dict[str, int]:
        """Numbers for the health check and the metrics."""
        return {**super().figures(), **self.follower.figures()}
