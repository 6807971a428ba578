"""Kept messages: stored first, then published in the order of their offsets, and given again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec

from wsserver.brokers.base import NOBODY, Publication, Receipt
from wsserver.clock import Clock
from wsserver.errors import WsServerError
from wsserver.identity.claims import Claims
from wsserver.paging import PAGE_BYTES
from wsserver.protocol.pushes import positioned
from wsserver.protocol.types import Position
from wsserver.realtime.streams import append_queue, history
from wsserver.realtime.streams.append_queue import AppendQueue, Draft, Outcomes
from wsserver.realtime.streams.history import History
from wsserver.realtime.streams.recovery import Recovering
from wsserver.realtime.streams.single_flight import SingleFlight
from wsserver.realtime.streams.stream import TAIL_LIMIT_BYTES, Entry, Recovery, Stream
from wsserver.realtime.streams.stream_cache import StreamCache
from wsserver.realtime.streams.stream_index import LIMIT, StreamIndex
from wsserver.realtime.streams.turns import Turns
from wsserver.storage.engine.fair_queue import caller
from wsserver.storage.messages.streams import Appended, Head, Writer
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

PAGES_AT_ONCE = 4
"""Pages of history that are read at the same time: each may be megabytes until it is sent. Of one
user one at a time, so that others have their turn in between."""


class Store(append_queue.Store, history.Store, Protocol):
    """What is needed of the storage of streams."""

    async def head(self, stream: str) -> Head:
        """Where a stream stands."""
        ...

    async def names(self, limit: int) -> tuple[str, list[str]]:
        """The epoch of streams that are not there, and the names of those that are."""
        ...

    async def writers(self, streams: Sequence[str]) -> Mapping[str, Sequence[Writer]]:
        """The senders of what streams keep."""
        ...


class Streams:
    """Stores, orders, publishes and replays what is kept. There is no other way to any of these.

    ``publish`` is the broker's, ``cork`` the poller's. Messages are stored in groups: what arrives
    while one transaction runs goes into the next one. After it, each message is published before
    the next one is, so everybody sees a stream in the order of its offsets, and nobody sees what is
    not stored.
    """

    def __init__(
        self,
        store: Store,
        publish: Callable[[Publication], Awaitable[Receipt]],
        clock: Clock,
        tasks: Tasks,
        *,
        replay_limit: int = 1000,
        tail_limit_bytes: int = TAIL_LIMIT_BYTES,
        cork: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._publish = publish
        self._clock = clock
        self._memory = StreamCache(replay_limit, self._outdate, tail_limit_bytes)
        self._catalogue = StreamIndex()
        self._queue = AppendQueue(store, self._announce, clock, tasks, cork)
        self._heads: SingleFlight[None] = SingleFlight(tasks)
        self._recovering = Recovering(store, self._memory, self.open, clock, tasks, replay_limit)
        self._paging = Turns(PAGES_AT_ONCE)
        self._asked: dict[str, object] = {}
        """Streams whose heads are being read; one of which memory changes is taken out."""
        self.on_unreached: Callable[[Publication], None] = _pass_over
        """Called with each message that nobody was there for."""
        self.kept = 0
        """Messages stored since the start."""

    async def load(self) -> None:
        """Read which streams there are; to be called before the first connection."""
        self._catalogue.load(*await self._store.names(LIMIT + 1))

    def append(self, drafts: Sequence[Draft]) -> Outcomes:
        """Store drafts together, in their order, then publish them; see ``AppendQueue.append``."""
        outcomes = self._queue.append(drafts)
        self._catalogue.add([draft.stream for draft in drafts])
        return outcomes

    async def finish(self) -> None:
        """Wait until everything that was accepted is stored and published, or has failed."""
        await self._queue.finish()

    async def _announce(self, draft: Draft, place: Appended) -> Receipt:
        """Let everybody have a message that is stored now."""
        payload = positioned(draft.publication.payload, place.stream, place.epoch, place.offset)
        publication = msgspec.structs.replace(
            draft.publication,
            payload=payload,
            stream=place.stream,
            epoch=place.epoch,
            offset=place.offset,
            sender=draft.sender,
            expires_at=draft.expires_at,
        )
        stream = self._memory.peek(place.stream)
        if stream is None or (stream.epoch, stream.head) != (place.epoch, place.offset - 1):
            # What does not go on where memory ends is never taken for the next one.
            stream = self._memory.remember(place.stream, place.epoch, place.offset - 1)
        entry = Entry(place.offset, payload, draft.expires_at, draft.has_ttl, draft.audience)
        self._memory.published(stream, entry)
        self.kept += 1
        try:
            receipt = await self._publish(publication)
            if not receipt.matched:
                self.on_unreached(publication)
        except WsServerError as error:
            # It is stored: whoever misses it gets it on resuming.
            log.warning("stored but not published message_id=%s error=%s", place.message_id, error)
        except Exception:  # nothing may keep the messages behind it from being announced
            log.exception("stored but not published message_id=%s", place.message_id)
        else:
            return receipt
        return NOBODY

    # Knowing

    def peek(self, name: str) -> Stream | None:
        """A stream, if it is in memory."""
        return self._memory.peek(name)

    async def open(self, name: str) -> Stream:
        """A stream, exact as of the moment in which this returns.

        What storage has committed may not be published yet; so while a message of the stream is
        under way, its being published is waited for. Raises ``StorageUnavailable``.
        """
        while True:
            stream = self._memory.use(name)
            if stream is not None:
                return stream
            if self._catalogue.lacks(name):
                return self._memory.remember(name, self._catalogue.epoch, 0)
            if self._queue.has(name):
                await self._queue.progress()
            else:
                await self._heads.do(name, partial(self._read_head, name))

    async def _read_head(self, name: str) -> None:
        """Remember where a stream stands, unless it has moved while that was read."""
        asked = self._asked[name] = object()
        try:
            head = await self._store.head(name)
        finally:
            is_current = self._asked.pop(name, None) is asked
        if is_current and not self._queue.has(name):
            self._memory.remember(name, head.epoch, head.offset)

    def _outdate(self, name: str) -> None:
        self._asked.pop(name, None)

    def forget_all(self, epoch: str) -> None:
        """Read positions anew: storage has given streams without messages another epoch."""
        self._catalogue.epoch = epoch
        self._asked.clear()
        self._memory.clear()

    # Giving again

    def recover_now(
        self, name: str, since: Position | None, claims: Claims, budget: int
    ) -> Recovery | None:
        """``recover`` for one stream, where memory is enough for it; otherwise None."""
        if since is None and self._memory.peek(name) is None and self._catalogue.lacks(name):
            return Recovery(self._catalogue.epoch, 0, [], None)
        return self._recovering.recover_now(name, since, claims, budget)

    async def recover(
        self, wanted: Mapping[str, Position | None], claims: Claims, budget: int
    ) -> dict[str, Recovery]:
        """What each stream has after a position; see ``Recovering.recover``."""
        return await self._recovering.recover(wanted, claims, budget)

    async def history(
        self,
        name: str,
        claims: Claims | None,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = 50,
        budget: int = PAGE_BYTES,
    ) -> History:
        """A page: the last ``limit`` messages, those before an offset, or those after one.

        ``claims``: leave out what is not for their bearer; None: everything. ``budget``: bytes
        that the page may have; of a larger one the end is left for the next page, but one message
        is given in any case.
        """
        stream = await self.open(name)
        async with self._paging.turn(caller()):
            return await history.read_page(
                self._store, stream, claims, self._clock.wall(), before, after, limit, budget
            )

    async def writers(self, names: Sequence[str]) -> Mapping[str, Sequence[Writer]]:
        """The senders of what streams keep, by stream, each once. Raises ``StorageUnavailable``."""
        return await self._store.writers(names)

    def figures(self) -> dict[str, int]:
        """What is going on, for the health check and the metrics."""
        return {
            "kept": self.kept,
            "waiting": len(self._queue),
            "in_memory": len(self._memory),
            "tail_bytes": self._memory.tail_bytes,
        }


def _pass_over(publication: Publication) -> None:
    """Nobody wants to know."""
