"""The store of kept messages: append to a stream, read it back, forget what is old."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from wsserver.storage import stream_appends, stream_reads
from wsserver.storage.database import Database
from wsserver.storage.kept import Append, Appended, Found, Head, Kept
from wsserver.storage.stream_reads import Counts

__all__ = ["Append", "Appended", "Counts", "Found", "Head", "Kept", "StreamStore"]


class StreamStore:
    """The tables ``streams``, ``messages`` and ``dedup``.

    All methods raise ``StorageUnavailable``; those that write also ``StorageFull``, and then
    nothing of the call is stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        """Store messages in their order, all or none; one answer for each, in the same order.

        Each stream's offsets go on where it ended, without a gap. What was stored before (the same
        message id, or the same deduplication key within 24 h, also earlier in this batch) is not
        stored again; so a batch whose outcome is unknown is simply appended once more.
        """
        if not batch:
            return []
        outcome = await self._database.run(partial(stream_appends.append, batch=batch))
        return outcome.answers

    async def head(self, stream: str) -> Head:
        """Where a stream ends, and from where on it is whole."""
        return await self._database.read(partial(stream_reads.head, stream=stream))

    async def read(self, stream: str, after: int, until: int, now: float, limit: int) -> list[Kept]:
        """The first ``limit`` messages with ``after < offset <= until``, ascending.

        Without those whose own time to live has run out at ``now``. What retention may take is
        there until it does take it, in one step with moving ``Head.first_offset``: so whoever has
        read up to the end, and finds ``first_offset`` still at or below the first one wanted, has
        missed nothing.
        """
        return await self._database.read(
            partial(
                stream_reads.read, stream=stream, after=after, until=until, now=now, limit=limit
            )
        )

    async def read_back(
        self, stream: str, before: int, after: int, now: float, limit: int
    ) -> list[Kept]:
        """The last ``limit`` messages with ``after < offset < before``, ascending."""
        return await self._database.read(
            partial(
                stream_reads.read_back,
                stream=stream,
                before=before,
                after=after,
                now=now,
                limit=limit,
            )
        )

    async def find(self, message_ids: Sequence[str], now: float) -> list[Found]:
        """Messages by their ids (at most 1000), in the order of streams and offsets.

        Unknown ids are skipped; which messages are seen at ``now``: as in ``read``.
        """
        return await self._database.read(
            partial(stream_reads.find, message_ids=message_ids, now=now)
        )

    async def count(self) -> Counts:
        """How many streams and messages there are; for health and metrics."""
        return await self._database.read(stream_reads.count)
