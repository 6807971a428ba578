"""The store of kept messages: append to a stream, read it back, forget what is old."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from wsserver.storage.engine.database import Database
from wsserver.storage.messages import retention, stream_appends, stream_reads
from wsserver.storage.messages.message_rows import (
    Append,
    Appended,
    Found,
    Head,
    Kept,
    Located,
    Slice,
)
from wsserver.storage.messages.retention import BATCH_ROWS, Expired, Pruned
from wsserver.storage.messages.stream_reads import Admits, Counts, Wanted, Writer

__all__ = [
    "Admits",
    "Append",
    "Appended",
    "Counts",
    "Expired",
    "Found",
    "Head",
    "Kept",
    "Located",
    "Pruned",
    "Slice",
    "StreamStore",
    "Wanted",
    "Writer",
]

_TRIM_STREAMS = 10
"""So many are looked at in one job: counting a thousand messages takes some 0.3 ms."""


class StreamStore:
    """The tables ``streams``, ``messages`` and ``dedup``.

    All methods raise ``StorageUnavailable``; those that write also ``StorageFull``, and then
    nothing of the call is stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ends: dict[str, int] = {}
        self._is_surveyed = False

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        """Store messages in their order, all or none; one answer for each, in the same order.

        Each stream's offsets go on where it ended, without a gap. What was stored before (the same
        message id, or the same deduplication key within 24 h, also earlier in this batch) is not
        stored again; so a batch whose outcome is unknown is simply appended once more.
        """
        if not batch:
            return []
        outcome = await self._database.run(partial(stream_appends.append, batch=batch))
        self._ends.update(outcome.ends)
        return outcome.answers

    async def head(self, stream: str) -> Head:
        """Where a stream ends, and from where on it is whole."""
        return await self._database.read(partial(stream_reads.head, stream=stream))

    async def read(self, wanted: Wanted) -> Slice:
        """The first messages of a range, as many as limit and budget suffice for.

        Without those whose own time to live has run out. What retention may take is there until it
        does take it, in one step with moving ``Head.first_offset``: so whoever has read up to the
        end, and finds ``first_offset`` still at or below the first one wanted, has missed nothing.
        """
        return await self._database.read(partial(stream_reads.read, wanted=wanted))

    async def read_back(self, wanted: Wanted) -> Slice:
        """The last messages of a range, ascending; otherwise as ``read``."""
        return await self._database.read(partial(stream_reads.read_back, wanted=wanted))

    async def locate(self, message_ids: Sequence[str], now: float) -> list[Located]:
        """Messages by their ids (at most 1000) without payloads, in the order of streams and
        offsets.

        Unknown ids are skipped; which messages are seen at ``now``: as in ``read``.
        """
        return await self._database.read(
            partial(stream_reads.locate, message_ids=message_ids, now=now)
        )

    async def find(
        self, message_ids: Sequence[str], now: float, budget: int
    ) -> tuple[list[Found], list[str]]:
        """The same messages with their payloads, and the ids that are to be asked for next.

        ``budget``: bytes at most, but one message in any case.
        """
        return await self._database.read(
            partial(stream_reads.find, message_ids=message_ids, now=now, budget=budget)
        )

    async def names(self, limit: int) -> tuple[str, list[str]]:
        """The epoch of streams that are not there, and the names of ``limit`` that are."""
        return await self._database.read(partial(stream_reads.names, limit=limit))

    async def writers(self, streams: Sequence[str]) -> dict[str, list[Writer]]:
        """The senders of what streams keep, each once; streams without messages are left out."""
        return await self._database.read(partial(stream_reads.writers, streams=streams))

    async def count(self) -> Counts:
        """How many streams and messages there are; for health and metrics."""
        return await self._database.read(stream_reads.count)

    async def expire(self, now: float, limit: int = BATCH_ROWS) -> list[Expired]:
        """Delete one batch of what has expired at ``now``, with its receipts.

        Answers everything deleted; empty: nothing is left. Where retention took a message,
        ``Head.first_offset`` moves behind it; a time to live that ran out moves nothing.
        """
        return await self._database.run(partial(retention.expire, now=now, limit=limit))

    async def trim(self, limit: int, batch: int = BATCH_ROWS) -> list[Expired]:
        """Delete one batch of what streams hold beyond ``limit`` messages each, oldest first.

        An inbox loses first what its owner has acknowledged. Only streams used since they were
        last looked at are looked at, and at the first call all. Answers everything deleted;
        empty: no stream is over the limit.
        """
        if not self._is_surveyed:
            found = await self._database.read(partial(retention.ends_beyond, limit=limit))
            self._ends = {**found, **self._ends}
            self._is_surveyed = True
        self._ends = {name: end for name, end in self._ends.items() if end > limit}
        while self._ends:
            # Taken out before the look: what is appended meanwhile puts its stream in again.
            names = list(self._ends)[:_TRIM_STREAMS]
            looked_at = {name: self._ends.pop(name) for name in names}
            try:
                trimmed = await self._database.run(
                    partial(retention.trim, streams=names, limit=limit, batch=batch)
                )
            except BaseException:
                self._ends = {**looked_at, **self._ends}
                raise
            for name in trimmed.unfinished:
                self._ends.setdefault(name, looked_at[name])
            if trimmed.deleted:
                return trimmed.deleted
        return []

    async def prune(self, now: float) -> Pruned:
        """Delete deduplication keys older than 24 h, and the rows of streams long unused.

        A stream is unused when it holds no message and nothing was appended for 30 days. Then
        streams without a row get a new default epoch: one born again starts at offset 1, and must
        not look like the one before. In batches of 300 rows, each its own job.
        """
        keys = streams = last = 0
        epoch = None
        while batch := await self._database.run(partial(retention.prune_dedup, now=now)):
            keys += batch
        while ids := await self._database.read(
            partial(retention.unused_streams, now=now, after=last)
        ):
            pruned = await self._database.run(partial(retention.prune_streams, ids=ids, now=now))
            streams += pruned.streams
            epoch = pruned.epoch or epoch
            last = ids[-1]
        return Pruned(keys, streams, epoch)
