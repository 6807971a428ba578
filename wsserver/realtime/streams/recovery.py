"""``StreamRecovery``: the messages that resuming clients missed, from the cache or storage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from wsserver.clock import Clock
from wsserver.errors import StorageUnavailable
from wsserver.identity.claims import Claims
from wsserver.protocol.types import Position
from wsserver.realtime.streams.cached_message import CachedMessage, cached_message
from wsserver.realtime.streams.concurrency import Reading, Readings, SingleFlight
from wsserver.realtime.streams.history import admits_for
from wsserver.realtime.streams.retention_policy import Retention
from wsserver.realtime.streams.stream import EXPIRED, TOO_FAR_BEHIND, Recovery, Stream
from wsserver.realtime.streams.stream_cache import StreamCache
from wsserver.storage.messages.streams import Slice, StreamStore, Wanted
from wsserver.tasks import Tasks

FILLS_AT_ONCE = 8
"""Streams that are read concurrently. When thousands of clients resume as many streams, the first
are answered before the next ones need memory."""
ATTEMPTS = 20
"""How often storage is read again because more messages arrived meanwhile."""


class _Filled(NamedTuple):
    """Result of reading the messages after an offset into the cache."""

    after: int
    reason: str | None = None
    """Why they cannot be replayed."""
    too_much_for: int | None = None
    """They exceed this number of bytes, so nothing was read. Without ``reason``, some have an
    audience, and the messages for one reader may fit."""


class _Reader(NamedTuple):
    """A reader, and whether change records are for it."""

    claims: Claims
    with_changes: bool


class _Own(NamedTuple):
    """Messages read for one reader, between its position and the cached tail."""

    epoch: str
    until: int
    entries: Sequence[CachedMessage]
    reading: Reading


class StreamRecovery:
    """Recovers streams from a position; missing messages are read into the cache.

    ``open`` caches the position of a stream. ``replay_limit``: messages of one stream.
    """

    def __init__(
        self,
        store: StreamStore,
        cache: StreamCache,
        open: Callable[[str], Awaitable[Stream]],
        clock: Clock,
        tasks: Tasks,
        replay_limit: int,
        retention: Retention,
        readings: Readings,
    ) -> None:
        self._store = store
        self._cache = cache
        self._open = open
        self._clock = clock
        self.replay_limit = replay_limit
        self._retention = retention
        self._fills: SingleFlight[_Filled] = SingleFlight(tasks)
        self._filling = asyncio.Semaphore(FILLS_AT_ONCE)
        self._readings = readings

    def recover_now(
        self,
        name: str,
        since: Position | None,
        claims: Claims,
        budget: int,
        with_changes: bool = True,
    ) -> Recovery | None:
        """``recover`` for one stream from the cache; None if storage has to be read."""
        stream = self._cache.use(name)
        if stream is None:
            return None
        if since is None:
            return Recovery(stream.epoch, stream.head, [], None)
        reason = stream.refusal(since, self.replay_limit)
        if reason is not None:
            return stream.failed(reason)
        entries = stream.after(since.offset)
        if entries is None:
            return None
        return self._recovery(stream, entries, claims, budget, with_changes)

    async def recover(
        self,
        wanted: Mapping[str, Position | None],
        claims: Claims,
        budget: int,
        with_changes: bool = True,
    ) -> dict[str, Recovery]:
        """The messages of each stream after a position, exact when this returns.

        A client that is subscribed in the same iteration of the event loop misses no message and
        gets none twice. ``budget``: bytes of all messages together; streams that exceed it are not
        read; ``with_changes``: also change records. Raises ``StorageUnavailable``.
        """
        own: dict[str, _Own] = {}
        try:
            return await self._recover(wanted, _Reader(claims, with_changes), budget, own)
        finally:
            for each in own.values():
                self._readings.end(each.reading)

    async def _recover(
        self,
        wanted: Mapping[str, Position | None],
        reader: _Reader,
        budget: int,
        own: dict[str, _Own],
    ) -> dict[str, Recovery]:
        refused: dict[str, str] = {}
        for _ in range(ATTEMPTS):
            recoveries, missing = self._recover_cached(wanted, reader, budget, refused, own)
            if not missing:
                return recoveries
            left = budget - sum([each.size for each in recoveries.values()])
            for name in missing:
                since = wanted[name]
                reason = await self._bring_in(name, since, reader, left, own)
                recovery = self._recover_one(name, since, reader, left, own)
                if recovery is not None and recovery.reason == TOO_FAR_BEHIND:
                    # Together they exceed the budget; reading them again would evict each other.
                    reason = TOO_FAR_BEHIND
                if reason is not None:
                    refused[name] = reason
                elif recovery is not None:
                    left -= recovery.size
        raise StorageUnavailable("streams cannot be recovered: too many messages arrive meanwhile")

    def _recover_one(
        self,
        name: str,
        since: Position | None,
        reader: _Reader,
        budget: int,
        own: Mapping[str, _Own],
    ) -> Recovery | None:
        """``recover_now``, also with messages that were read for this reader."""
        claims, with_changes = reader
        stream, read = self._cache.peek(name), own.get(name)
        if (
            stream is None
            or since is None
            or read is None
            or read.epoch != stream.epoch
            or read.reading.is_outdated
        ):
            return self.recover_now(name, since, claims, budget, with_changes)
        later = stream.after(read.until)
        if later is None:
            return None
        entries = [*read.entries, *later]
        return self._recovery(stream, entries, claims, budget, with_changes)

    def _recovery(
        self,
        stream: Stream,
        entries: Iterable[CachedMessage],
        claims: Claims,
        budget: int,
        with_changes: bool,
    ) -> Recovery:
        now = self._clock.wall()
        oldest = self._oldest(stream.name, now)
        return stream.recovery(entries, claims, now, oldest, budget, with_changes)

    def _oldest(self, name: str, now: float) -> float:
        """Time of publishing up to which messages of a stream cannot be resumed."""
        return now - self._retention.recovery_of(name)

    def _recover_cached(
        self,
        wanted: Mapping[str, Position | None],
        reader: _Reader,
        budget: int,
        refused: Mapping[str, str],
        own: Mapping[str, _Own],
    ) -> tuple[dict[str, Recovery], list[str]]:
        """The recoveries from the cache, and the streams that have to be read."""
        recoveries: dict[str, Recovery] = {}
        missing: list[str] = []
        for name, since in wanted.items():
            stream = self._cache.peek(name)
            if stream is not None and name in refused:
                recoveries[name] = stream.failed(refused[name])
                continue
            recovery = self._recover_one(name, since, reader, budget, own)
            if recovery is None:
                missing.append(name)
            else:
                recoveries[name] = recovery
                budget -= recovery.size
        return recoveries, missing

    async def _bring_in(
        self,
        name: str,
        since: Position | None,
        reader: _Reader,
        budget: int,
        own: dict[str, _Own],
    ) -> str | None:
        """Read a stream after a position into the cache or ``own``; returns why not."""
        stream = await self._open(name)
        if since is None or stream.refusal(since, self.replay_limit) is not None:
            return None
        if stream.after(since.offset) is not None:
            return None
        # After a restart many clients resume from nearly the same position: one call reads, the
        # others look into the cache then.
        filled = await self._fills.do(name, partial(self._fill, stream, since.offset, budget))
        if filled.after != since.offset:
            return None
        if filled.too_much_for is not None and filled.too_much_for < budget:
            return None  # read by another call with a smaller budget
        if filled.too_much_for is not None and filled.reason is None:
            return await self._read_own(stream, since.offset, reader, budget, own)
        return filled.reason

    async def _fill(self, stream: Stream, after: int, budget: int) -> _Filled:
        """Read the missing messages after an offset into the cache, if they fit."""
        room = stream.room_bytes
        reading = self._readings.begin(stream.name)
        try:
            part, until, reason = await self._read_missing(stream, after, min(budget, room), None)
        finally:
            self._readings.end(reading)
        if reason is not None or part is None or reading.is_outdated:
            return _Filled(after, reason)
        if part.rest is not None:
            # If they are for all readers, they exceed the budget of each.
            is_hopeless = part.is_for_all and budget <= room
            return _Filled(after, TOO_FAR_BEHIND if is_hopeless else None, budget)
        entries = [cached_message(each, stream.name, stream.epoch) for each in part.messages]
        self._cache.prepend(stream, entries, after, until)
        return _Filled(after)

    async def _read_own(
        self, stream: Stream, after: int, reader: _Reader, budget: int, own: dict[str, _Own]
    ) -> str | None:
        """Read the messages for one reader, where all together do not fit into the cache."""
        former = own.pop(stream.name, None)
        if former is not None:
            self._readings.end(former.reading)
        reading = self._readings.begin(stream.name)
        own[stream.name] = _Own("", after, (), reading)
        part, until, reason = await self._read_missing(stream, after, budget, reader)
        if reason is not None or part is None:
            return reason
        if part.rest is not None:
            return TOO_FAR_BEHIND
        entries = [cached_message(each, stream.name, stream.epoch) for each in part.messages]
        own[stream.name] = _Own(stream.epoch, until, entries, reading)
        return None

    async def _read_missing(
        self, stream: Stream, after: int, budget: int, reader: _Reader | None
    ) -> tuple[Slice | None, int, str | None]:
        """All messages between an offset and the cached tail, the offset where that starts, and
        why they cannot be replayed. No slice: the stream has another epoch.

        Nothing is read if they exceed ``budget`` bytes.
        """
        async with self._filling:
            until, now = stream.floor, self._clock.wall()
            wanted = Wanted(
                stream.name,
                after,
                until,
                now,
                self.replay_limit,
                budget,
                admits_for(reader.claims if reader is not None else None),
                is_whole=True,
                with_changes=reader is None or reader.with_changes,
                oldest=self._oldest(stream.name, now),
            )
            part = await self._store.read(wanted)
            # After reading: retention may have deleted messages meanwhile.
            head = await self._store.head(stream.name)
        if head.epoch != stream.epoch:
            self._cache.forget(stream.name)
            return None, until, None
        is_gone = part.is_too_old or head.first_offset > after + 1
        return part, until, EXPIRED if is_gone else None
