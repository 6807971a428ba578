"""Recovery: bringing readers of streams up to date, from memory where it is enough."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from wsserver.clock import Clock
from wsserver.errors import StorageUnavailable
from wsserver.identity.claims import Claims
from wsserver.protocol.types import Position
from wsserver.realtime.streams.concurrency import SingleFlight
from wsserver.realtime.streams.history import admits_for
from wsserver.realtime.streams.stream import (
    EXPIRED,
    TOO_FAR_BEHIND,
    CachedMessage,
    Recovery,
    Stream,
    cached_message,
)
from wsserver.realtime.streams.stream_cache import StreamCache
from wsserver.storage.messages.streams import Head, Slice, Wanted
from wsserver.tasks import Tasks

FILLS_AT_ONCE = 8
"""Streams whose messages are being read at the same time. When thousands come back to as many
streams, those who are read first are answered before memory is needed for the next ones."""
ATTEMPTS = 20
"""How often what is missing is read anew while more arrives, before giving up."""


class Store(Protocol):
    """What is needed of the storage of streams."""

    async def read(self, wanted: Wanted) -> Slice:
        """The first messages of a range."""
        ...

    async def head(self, stream: str) -> Head:
        """Where a stream ends, and from where on it is whole."""
        ...


class _Filled(NamedTuple):
    """What came of reading the messages after an offset into memory."""

    after: int
    reason: str | None = None
    """Why they cannot be given."""
    too_much_for: int | None = None
    """They are more than so many bytes, so nothing was read. Without a reason, some are not for
    everybody, and what is for one reader may well be less."""


class _Own(NamedTuple):
    """Messages read for one reader alone, between a position and what memory holds."""

    epoch: str
    until: int
    entries: Sequence[CachedMessage]


class StreamRecovery:
    """Gives what streams have after a position; what memory lacks is read into it.

    ``open`` lets memory know where a stream stands. ``replay_limit``: messages of one stream.
    """

    def __init__(
        self,
        store: Store,
        cache: StreamCache,
        open: Callable[[str], Awaitable[Stream]],
        clock: Clock,
        tasks: Tasks,
        replay_limit: int,
    ) -> None:
        self._store = store
        self._cache = cache
        self._open = open
        self._clock = clock
        self.replay_limit = replay_limit
        self._fills: SingleFlight[_Filled] = SingleFlight(tasks)
        self._filling = asyncio.Semaphore(FILLS_AT_ONCE)

    def recover_now(
        self, name: str, since: Position | None, claims: Claims, budget: int
    ) -> Recovery | None:
        """``recover`` for one stream, where memory is enough for it; otherwise None."""
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
        return stream.recovery(entries, claims, self._clock.wall(), budget)

    async def recover(
        self, wanted: Mapping[str, Position | None], claims: Claims, budget: int
    ) -> dict[str, Recovery]:
        """What each stream has after a position, all exact as of the moment in which this returns.

        Who begins to listen in the same turn of the loop misses nothing and gets nothing twice.
        ``budget``: bytes of messages that may be sent in all; no more than that is read for a
        stream, and what does not fit is not read at all. Raises ``StorageUnavailable``.
        """
        refused: dict[str, str] = {}
        own: dict[str, _Own] = {}
        for _ in range(ATTEMPTS):
            recoveries, missing = self._recover_cached(wanted, claims, budget, refused, own)
            if not missing:
                return recoveries
            left = budget - sum([each.size for each in recoveries.values()])
            for name in missing:
                since = wanted[name]
                reason = await self._bring_in(name, since, claims, left, own)
                recovery = self._recover_one(name, since, claims, left, own)
                if recovery is not None and recovery.reason == TOO_FAR_BEHIND:
                    # Together they are too much, and reading them again would push each other out.
                    reason = TOO_FAR_BEHIND
                if reason is not None:
                    refused[name] = reason
                elif recovery is not None:
                    left -= recovery.size
        raise StorageUnavailable("too much is going on to bring these streams up to date")

    def _recover_one(
        self,
        name: str,
        since: Position | None,
        claims: Claims,
        budget: int,
        own: Mapping[str, _Own],
    ) -> Recovery | None:
        """``recover_now``, also with what was read for this reader alone."""
        stream, read = self._cache.peek(name), own.get(name)
        if stream is None or since is None or read is None or read.epoch != stream.epoch:
            return self.recover_now(name, since, claims, budget)
        later = stream.after(read.until)
        if later is None:
            return None
        return stream.recovery([*read.entries, *later], claims, self._clock.wall(), budget)

    def _recover_cached(
        self,
        wanted: Mapping[str, Position | None],
        claims: Claims,
        budget: int,
        refused: Mapping[str, str],
        own: Mapping[str, _Own],
    ) -> tuple[dict[str, Recovery], list[str]]:
        """What can be said now, and the streams that memory does not know enough of."""
        recoveries: dict[str, Recovery] = {}
        missing: list[str] = []
        for name, since in wanted.items():
            stream = self._cache.peek(name)
            if stream is not None and name in refused:
                recoveries[name] = stream.failed(refused[name])
                continue
            recovery = self._recover_one(name, since, claims, budget, own)
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
        claims: Claims,
        budget: int,
        own: dict[str, _Own],
    ) -> str | None:
        """Let memory, or ``own``, know a stream after a position; answers why that cannot be."""
        stream = await self._open(name)
        if since is None or stream.refusal(since, self.replay_limit) is not None:
            return None
        if stream.after(since.offset) is not None:
            return None
        # Many come back at once after a restart, with nearly the same position: one reads, the
        # others look again then.
        filled = await self._fills.do(name, partial(self._fill, stream, since.offset, budget))
        if filled.after != since.offset:
            return None
        if filled.too_much_for is not None and filled.too_much_for < budget:
            return None  # read for somebody else, to whom less may be sent
        if filled.too_much_for is not None and filled.reason is None:
            return await self._read_own(stream, since.offset, claims, budget, own)
        return filled.reason

    async def _fill(self, stream: Stream, after: int, budget: int) -> _Filled:
        """Read what memory lacks of the messages after an offset, if it is not too much."""
        room = stream.room_bytes
        part, until, reason = await self._read_missing(stream, after, min(budget, room), None)
        if reason is not None or part is None:
            return _Filled(after, reason)
        if part.rest is not None:
            # Of messages that are for everybody, nobody with this budget can be given all.
            is_hopeless = part.is_for_all and budget <= room
            return _Filled(after, TOO_FAR_BEHIND if is_hopeless else None, budget)
        entries = [cached_message(each, stream.name, stream.epoch) for each in part.messages]
        self._cache.prepend(stream, entries, after, until)
        return _Filled(after)

    async def _read_own(
        self, stream: Stream, after: int, claims: Claims, budget: int, own: dict[str, _Own]
    ) -> str | None:
        """Read what is for one reader, where others' messages are too much for memory."""
        part, until, reason = await self._read_missing(stream, after, budget, claims)
        if reason is not None or part is None:
            return reason
        if part.rest is not None:
            return TOO_FAR_BEHIND
        entries = [cached_message(each, stream.name, stream.epoch) for each in part.messages]
        own[stream.name] = _Own(stream.epoch, until, entries)
        return None

    async def _read_missing(
        self, stream: Stream, after: int, budget: int, claims: Claims | None
    ) -> tuple[Slice | None, int, str | None]:
        """All messages between an offset and those in memory, the offset up to which these are,
        and why they cannot be given. No slice: the stream has begun anew.

        Nothing is read where they are more than ``budget`` bytes.
        """
        async with self._filling:
            until = stream.floor
            wanted = Wanted(
                stream.name,
                after,
                until,
                self._clock.wall(),
                self.replay_limit,
                budget,
                admits_for(claims),
                is_whole=True,
            )
            part = await self._store.read(wanted)
            # Asked afterwards: what retention took meanwhile must not go unnoticed.
            head = await self._store.head(stream.name)
        if head.epoch != stream.epoch:
            self._cache.forget(stream.name)
            return None, until, None
        return part, until, EXPIRED if head.first_offset > after + 1 else None
