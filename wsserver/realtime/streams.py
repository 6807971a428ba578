"""Kept messages: stored first, then published in the order of their offsets, and given again."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from wsserver.brokers.base import Publication, Receipt
from wsserver.clock import Clock
from wsserver.errors import StorageUnavailable, WsServerError
from wsserver.identity.claims import Claims
from wsserver.protocol.pushes import positioned
from wsserver.protocol.types import Position
from wsserver.realtime import append_queue
from wsserver.realtime.append_queue import AppendQueue, Draft, Outcomes
from wsserver.realtime.audience import Audience, read_audience
from wsserver.realtime.stream import EXPIRED, Entry, Recovery, Stream
from wsserver.storage.streams import Appended, Head, Kept
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

STREAMS_LIMIT = 50_000
TAILS_LIMIT_BYTES = 64 * 1024 * 1024
"""What is held in memory of streams in use; the longest unused go first."""
ATTEMPTS = 20
"""How often what is missing is read anew while more arrives, before giving up."""


class Store(append_queue.Store, Protocol):
    """What is needed of the storage of streams."""

    async def head(self, stream: str) -> Head:
        """Where a stream stands."""
        ...

    async def read(self, stream: str, after: int, until: int, now: float, limit: int) -> list[Kept]:
        """The messages with ``after < offset <= until``, ascending."""
        ...

    async def read_back(
        self, stream: str, before: int, after: int, now: float, limit: int
    ) -> list[Kept]:
        """The last ones with ``after < offset < before``, ascending."""
        ...

    async def organizations(self, stream: str) -> set[str]:
        """The organizations of those who have written to a stream."""
        ...


class History(msgspec.Struct, frozen=True):
    """A page of a stream, ascending."""

    epoch: str
    messages: list[bytes]
    has_more: bool

    def answer(self) -> dict[str, Any]:
        """The page as clients get it."""
        return {
            "messages": [msgspec.Raw(message) for message in self.messages],
            "epoch": self.epoch,
            "has_more": self.has_more,
        }


class Streams:
    """Stores, orders, publishes and replays what is kept. There is no other way to any of these.

    ``publish`` is the broker's. Messages are stored in groups: what arrives while one transaction
    runs goes into the next one. After it, each message is published before the next one is, so
    everybody sees a stream in the order of its offsets, and nobody sees what is not stored.
    """

    def __init__(
        self,
        store: Store,
        publish: Callable[[Publication], Awaitable[Receipt]],
        clock: Clock,
        tasks: Tasks,
        *,
        replay_limit: int = 1000,
    ) -> None:
        self._store = store
        self._publish = publish
        self._clock = clock
        self.replay_limit = replay_limit
        self._streams: OrderedDict[str, Stream] = OrderedDict()
        self._tail_bytes = 0
        self._queue = AppendQueue(store, self._announce, clock, tasks)
        self._fills: dict[str, asyncio.Future[None]] = {}
        self.on_unreached: Callable[[Publication], None] = _pass_over
        """Called with each message that nobody was there for."""
        self.kept = 0
        """Messages stored since the start."""

    def append(self, drafts: Sequence[Draft]) -> Outcomes:
        """Store drafts together, in their order, then publish them; see ``AppendQueue.append``."""
        return self._queue.append(drafts)

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
        audience = draft.audience if draft.audience != Audience() else None
        stream = self._streams.get(place.stream)
        if stream is None:
            stream = self._remember(Stream(place.stream, place.epoch, place.offset - 1))
        before = stream.tail_bytes
        stream.published(Entry(place.offset, payload, draft.expires_at, draft.has_ttl, audience))
        self._tail_bytes += stream.tail_bytes - before
        self._streams.move_to_end(place.stream)
        self._shrink()
        self.kept += 1
        try:
            receipt = await self._publish(publication)
        except WsServerError as error:
            # It is stored: whoever misses it gets it on resuming.
            log.warning("stored but not published id=%s: %s", place.message_id, error)
        except Exception:
            log.exception("stored but not published id=%s", place.message_id)
        else:
            if not receipt.matched:
                self.on_unreached(publication)
            return receipt
        return Receipt()

    # Knowing

    def peek(self, name: str) -> Stream | None:
        """A stream, if it is in memory."""
        return self._streams.get(name)

    async def open(self, name: str) -> Stream:
        """A stream, exact as of the moment in which this returns.

        What storage has committed may not be published yet; so while a message of the stream is
        under way, its being published is waited for. Raises ``StorageUnavailable``.
        """
        while True:
            stream = self._streams.get(name)
            if stream is not None:
                self._streams.move_to_end(name)
                return stream
            if self._queue.has(name):
                await self._queue.progress()
                continue
            head = await self._store.head(name)
            if not self._queue.has(name) and name not in self._streams:
                return self._remember(Stream(name, head.epoch, head.offset))

    def _remember(self, stream: Stream) -> Stream:
        self._streams[stream.name] = stream
        self._shrink()
        return stream

    def _shrink(self) -> None:
        """Forget what was unused for longest; it is read again when it is needed."""
        while len(self._streams) > STREAMS_LIMIT or self._tail_bytes > TAILS_LIMIT_BYTES:
            _, stream = self._streams.popitem(last=False)
            self._tail_bytes -= stream.tail_bytes

    def forget_all(self) -> None:
        """Read positions anew: storage has given streams without messages another epoch."""
        self._streams.clear()
        self._tail_bytes = 0

    # Giving again

    def recover_now(
        self, name: str, since: Position | None, claims: Claims, budget: int
    ) -> Recovery | None:
        """``recover`` for one stream, where memory is enough for it; otherwise None."""
        stream = self._streams.get(name)
        if stream is None:
            return None
        self._streams.move_to_end(name)
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
        gone: set[str] = set()
        for _ in range(ATTEMPTS):
            recoveries, missing = self._recover_from_memory(wanted, claims, budget, gone)
            if not missing:
                return recoveries
            for name in missing:
                since = wanted[name]
                stream = await self.open(name)
                if since is not None and stream.refusal(since, self.replay_limit) is None:
                    if not await self._fill(stream, since.offset):
                        gone.add(name)
        raise StorageUnavailable("too much is going on to bring these streams up to date")

    def _recover_from_memory(
        self, wanted: Mapping[str, Position | None], claims: Claims, budget: int, gone: set[str]
    ) -> tuple[dict[str, Recovery], list[str]]:
        """What can be said now, and the streams that memory does not know enough of."""
        recoveries: dict[str, Recovery] = {}
        missing: list[str] = []
        for name, since in wanted.items():
            stream = self._streams.get(name)
            if stream is not None and name in gone:
                recoveries[name] = stream.failed(EXPIRED)
                continue
            recovery = self.recover_now(name, since, claims, budget)
            if recovery is None:
                missing.append(name)
            else:
                recoveries[name] = recovery
                budget -= sum([len(message) + 1 for message in recovery.messages])
        return recoveries, missing

    async def _fill(self, stream: Stream, after: int) -> bool:
        """Read what memory lacks of the messages after an offset; False: not all are there.

        Many come back at once after a restart, with nearly the same position: one reads, the
        others wait for it.
        """
        running = self._fills.get(stream.name)
        if running is not None:
            await asyncio.shield(running)
            return True
        done = self._fills[stream.name] = asyncio.get_running_loop().create_future()
        try:
            kept = await self._store.read(
                stream.name, after, stream.floor, self._clock.wall(), self.replay_limit
            )
            # Asked afterwards: what retention took meanwhile must not go unnoticed.
            head = await self._store.head(stream.name)
            if head.first_offset > after + 1 or head.epoch != stream.epoch:
                return False
            entries = [_entry_of(stream, each) for each in kept]
            before = stream.tail_bytes
            stream.prepend(entries, after)
            if self._streams.get(stream.name) is stream:
                self._tail_bytes += stream.tail_bytes - before
            return True
        finally:
            del self._fills[stream.name]
            done.set_result(None)

    async def history(
        self,
        name: str,
        claims: Claims | None,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = 50,
    ) -> History:
        """A page: the last ``limit`` messages, those before an offset, or those after one.

        ``has_more``: there are further ones in the direction of reading. ``claims``: leave out
        what is not for their bearer; None: everything.
        """
        stream = await self.open(name)
        now = self._clock.wall()
        if after is not None and before is None:
            kept = await self._store.read(name, after, stream.head, now, limit + 1)
            has_more = len(kept) > limit
            kept = kept[:limit]
        else:
            ends = min(before or stream.head + 1, stream.head + 1)
            kept = await self._store.read_back(name, ends, after or 0, now, limit + 1)
            has_more = len(kept) > limit
            kept = kept[-limit:]
        entries = [_entry_of(stream, each) for each in kept if each.expires_at > now]
        messages = [
            entry.payload
            for entry in entries
            if claims is None or entry.audience is None or entry.audience.admits(claims)
        ]
        return History(stream.epoch, messages, has_more)

    async def organizations(self, name: str) -> set[str]:
        """The organizations of those whose messages are in a stream."""
        return await self._store.organizations(name)

    def figures(self) -> dict[str, int]:
        """What is going on, for the health check and the metrics."""
        return {
            "kept": self.kept,
            "waiting": len(self._queue),
            "in_memory": len(self._streams),
            "tail_bytes": self._tail_bytes,
        }


def _pass_over(publication: Publication) -> None:
    """Nobody wants to know."""


def _entry_of(stream: Stream, kept: Kept) -> Entry:
    payload = positioned(kept.payload, stream.name, stream.epoch, kept.offset)
    return Entry(
        kept.offset, payload, kept.expires_at, bool(kept.has_ttl), read_audience(kept.audience)
    )
