"""Kept messages: stored first, then published in the order of their offsets, and given again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import msgspec

from wsserver.brokers.base import NOBODY, Publication, Receipt
from wsserver.clock import Clock
from wsserver.errors import StorageUnavailable, WsServerError
from wsserver.identity.claims import Claims
from wsserver.protocol.pushes import positioned
from wsserver.protocol.types import Position
from wsserver.realtime import append_queue, history
from wsserver.realtime.append_queue import AppendQueue, Draft, Outcomes
from wsserver.realtime.catalogue import LIMIT, Catalogue
from wsserver.realtime.history import History
from wsserver.realtime.single_flight import SingleFlight
from wsserver.realtime.stream import (
    EXPIRED,
    TOO_FAR_BEHIND,
    Entry,
    Recovery,
    Stream,
    entry_of,
)
from wsserver.realtime.stream_memory import StreamMemory
from wsserver.storage.streams import Appended, Head
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

PAGES_AT_ONCE = 4
"""Pages of history that are read at the same time: each may be megabytes until it is sent."""
FILLS_AT_ONCE = 8
"""Streams whose messages are being read at the same time. When thousands come back to as many
streams, those who are read first are answered before memory is needed for the next ones."""
ATTEMPTS = 20
"""How often what is missing is read anew while more arrives, before giving up."""


class Store(append_queue.Store, history.Store, Protocol):
    """What is needed of the storage of streams."""

    async def head(self, stream: str) -> Head:
        """Where a stream stands."""
        ...

    async def names(self, limit: int) -> tuple[str, list[str]]:
        """The epoch of streams that are not there, and the names of those that are."""
        ...

    async def organizations(self, stream: str) -> set[str]:
        """The organizations of those who have written to a stream."""
        ...


class _Filled(NamedTuple):
    """What came of reading the messages after an offset."""

    after: int
    reason: str | None
    """Why they cannot be given; None: look again, they should be in memory."""


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
        cork: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._publish = publish
        self._clock = clock
        self.replay_limit = replay_limit
        self._memory = StreamMemory(replay_limit, self._outdate)
        self._catalogue = Catalogue()
        self._queue = AppendQueue(store, self._announce, clock, tasks, cork)
        self._heads: SingleFlight[None] = SingleFlight(tasks)
        self._fills: SingleFlight[_Filled] = SingleFlight(tasks)
        self._filling = asyncio.Semaphore(FILLS_AT_ONCE)
        self._paging = asyncio.Semaphore(PAGES_AT_ONCE)
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
        stream = self._memory.use(name)
        if stream is None:
            if since is None and self._catalogue.lacks(name):
                return Recovery(self._catalogue.epoch, 0, [], None)
            return None
        if since is None:
            return Recovery(stream.epoch, stream.head, [], None)
        reason = stream.refusal(since, self.replay_limit)
        if reason is not None:
            return stream.failed(reason)
        entries = stream.after(since.offset)
        if entries is None:
            return None
        return stream.recovery(entries, claims, self._clock.wall(), budget)

    async def recover(
        self, wanted: Mapping[str, Position | None], claims: Claims, budget: int
    ) -> dict[str, Recovery]:
        """What each stream has after a position, all exact as of the moment in which this returns.

        Who begins to listen in the same turn of the loop misses nothing and gets nothing twice.
        ``budget``: bytes of messages that may be sent in all. Raises ``StorageUnavailable``.
        """
        refused: dict[str, str] = {}
        for _ in range(ATTEMPTS):
            recoveries, missing = self._recover_from_memory(wanted, claims, budget, refused)
            if not missing:
                return recoveries
            left = budget
            for name in missing:
                since = wanted[name]
                reason = await self._bring_in(name, since)
                recovery = self.recover_now(name, since, claims, left)
                if recovery is not None and recovery.reason == TOO_FAR_BEHIND:
                    # Together they are too much, and reading them again would push each other out.
                    reason = TOO_FAR_BEHIND
                if reason is not None:
                    refused[name] = reason
                elif recovery is not None:
                    left -= recovery.size
        raise StorageUnavailable("too much is going on to bring these streams up to date")

    def _recover_from_memory(
        self,
        wanted: Mapping[str, Position | None],
        claims: Claims,
        budget: int,
        refused: Mapping[str, str],
    ) -> tuple[dict[str, Recovery], list[str]]:
        """What can be said now, and the streams that memory does not know enough of."""
        recoveries: dict[str, Recovery] = {}
        missing: list[str] = []
        for name, since in wanted.items():
            stream = self._memory.peek(name)
            if stream is not None and name in refused:
                recoveries[name] = stream.failed(refused[name])
                continue
            recovery = self.recover_now(name, since, claims, budget)
            if recovery is None:
                missing.append(name)
            else:
                recoveries[name] = recovery
                budget -= recovery.size
        return recoveries, missing

    async def _bring_in(self, name: str, since: Position | None) -> str | None:
        """Let memory know a stream after a position; answers why that cannot be."""
        stream = await self.open(name)
        if since is None or stream.refusal(since, self.replay_limit) is not None:
            return None
        if stream.after(since.offset) is not None:
            return None
        # Many come back at once after a restart, with nearly the same position: one reads, the
        # others look again then.
        filled = await self._fills.do(name, partial(self._fill, stream, since.offset))
        return filled.reason if filled.after == since.offset else None

    async def _fill(self, stream: Stream, after: int) -> _Filled:
        """Read what memory lacks of the messages after an offset."""
        async with self._filling:
            until = stream.floor
            now = self._clock.wall()
            kept = await self._store.read(stream.name, after, until, now, self.replay_limit)
            # Asked afterwards: what retention took meanwhile must not go unnoticed.
            head = await self._store.head(stream.name)
        if head.epoch != stream.epoch:
            self._memory.forget(stream.name)
            return _Filled(after, None)
        if head.first_offset > after + 1:
            return _Filled(after, EXPIRED)
        entries = [entry_of(each, stream.name, stream.epoch) for each in kept]
        self._memory.prepend(stream, entries, after, until)
        return _Filled(after, None)

    async def history(
        self,
        name: str,
        claims: Claims | None,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = 50,
        budget: int | None = None,
    ) -> History:
        """A page: the last ``limit`` messages, those before an offset, or those after one.

        ``claims``: leave out what is not for their bearer; None: everything. ``budget``: bytes
        that the page may have; of a larger one the end is left for the next page.
        """
        stream = await self.open(name)
        async with self._paging:
            return await history.read_page(
                self._store, stream, claims, self._clock.wall(), before, after, limit, budget
            )

    async def organizations(self, name: str) -> set[str]:
        """The organizations of those whose messages are in a stream."""
        return await self._store.organizations(name)

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
