"""``StreamStore``: appends, reads and deletes kept messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.messages import (
    away_queue,
    retention,
    revisions,
    stream_appends,
    stream_gaps,
    stream_reads,
)
from wsserver.storage.messages.answers import GrowingPlace, growing
from wsserver.storage.messages.message_rows import (
    SESSION,
    Append,
    Appended,
    Change,
    Found,
    Head,
    Kept,
    Located,
    Revised,
    Revision,
    Slice,
    Span,
    Subject,
    TransactionHook,
)
from wsserver.storage.messages.retention import BATCH_ROWS, Expired, Pruned
from wsserver.storage.messages.revisions import RevisionOutcome
from wsserver.storage.messages.stream_gaps import Gap
from wsserver.storage.messages.stream_reads import Admits, Counts, Wanted, Writer

__all__ = [
    "Admits",
    "Append",
    "Appended",
    "Change",
    "Counts",
    "Ends",
    "Expired",
    "Found",
    "Gap",
    "Head",
    "Kept",
    "Located",
    "Pruned",
    "Revised",
    "Revision",
    "RevisionOutcome",
    "Slice",
    "Span",
    "StreamStore",
    "Subject",
    "TransactionHook",
    "Wanted",
    "Writer",
]


class Ends(NamedTuple):
    """The ends of streams, and the answers that grow in those of sessions."""

    heads: dict[str, Head]
    growing: dict[str, list[GrowingPlace]]
    """By stream; without one it is left out."""

    def __or__(self, other: Ends) -> Ends:
        return Ends(self.heads | other.heads, self.growing | other.growing)


def _ends(db: Connection, streams: Sequence[str]) -> Ends:
    sessions = [name.removeprefix(SESSION) for name in streams if name.startswith(SESSION)]
    found: dict[str, list[GrowingPlace]] = {}
    for place in growing(db, sessions) if sessions else ():
        found.setdefault(SESSION + place.session_id, []).append(place)
    return Ends(stream_reads.heads(db, streams), found)


_TRIM_STREAMS = 10
"""Streams checked in one job: counting a thousand messages takes some 0.3 ms."""


class StreamStore:
    """The tables ``streams``, ``messages`` and ``dedup``.

    All methods raise ``StorageUnavailable``; those that write also ``StorageFull``, and then
    nothing of the call is stored. ``default_ai`` holds the sessions that begin with a message.
    """

    def __init__(
        self, database: Database, default_ai: str | None = None, *, awaits_reading: bool = False
    ) -> None:
        """``awaits_reading``: note messages of sessions in ``away_queue``."""
        self._awaits_reading = awaits_reading
        self._database = database
        self._default_ai = default_ai
        self._ends: dict[str, int] = {}
        self._is_surveyed = False
        self._survey_from = 0.0

    async def append(
        self, batch: Sequence[Append], late: Callable[[list[Appended]], None] | None = None
    ) -> list[Appended]:
        """Store messages in their order, all or none; returns the position of each.

        Offsets have no gaps. A message that was stored before (same message id, or same
        deduplication key within 24 h, also in this batch) is not stored again; so a batch whose
        outcome is unknown can be appended again. A message that its hook refuses, or a change
        record whose change is refused, is left out, and its answer has the ``refusal``.

        ``late``: called with the positions, or with none, once an unknown outcome is known: see
        ``Database.run``.
        """
        if not batch:
            return []

        def found(outcome: stream_appends.Outcome | None) -> None:
            self._ends.update(outcome.ends if outcome is not None else {})
            if late is not None:
                late(outcome.answers if outcome is not None else [])

        append = partial(
            _append, batch=batch, default_ai=self._default_ai, notes=self._awaits_reading
        )
        outcome = await self._database.run(append, found)
        self._ends.update(outcome.ends)
        return outcome.answers

    async def settle(self) -> None:
        """Return once the outcomes of all appends before are known."""
        await self._database.run(_nothing)

    async def revise(self, wanted: Sequence[Revision]) -> list[RevisionOutcome]:
        """Change messages in place without change records, in one transaction.

        One outcome for each: the message in its new version with the change, or why it was refused.
        """
        return await self._database.run(partial(revisions.revise, revisions=wanted))

    async def record_of(self, message_id: str, type_: str) -> Appended | None:
        """The latest change record of a type about a message; None: there is none."""
        return await self._database.read(
            partial(revisions.record_of, message_id=message_id, type_=type_)
        )

    async def head(self, stream: str) -> Head:
        """The end of a stream, and the first offset that retention has not deleted."""
        return await self._database.read(partial(stream_reads.head, stream=stream))

    async def heads(self, streams: Sequence[str]) -> dict[str, Head]:
        """The heads of many streams in one query, of one snapshot.

        A stream without a row has the default epoch and offset 0, as of ``head``.
        """
        return await self._database.read(partial(stream_reads.heads, streams=streams))

    async def ends(self, streams: Sequence[str]) -> Ends:
        """The heads of many streams and the answers that grow in them, of one snapshot."""
        return await self._database.read(partial(_ends, streams=streams))

    async def gap(
        self, stream: str, epoch: str, after: int, now: float, limit: int, budget: int
    ) -> Gap:
        """What follows a position, in one snapshot with the end; see ``stream_gaps.gap``."""
        read = partial(stream_gaps.gap, stream=stream, epoch=epoch, after=after, now=now)
        return await self._database.read(partial(read, limit=limit, budget=budget))

    async def read(self, wanted: Wanted) -> Slice:
        """The first messages of a range, up to limit and budget.

        Without those whose own ttl has expired. Retention deletes messages and advances
        ``Head.first_offset`` in one transaction: a range was read without gaps if ``first_offset``,
        read afterwards, is not beyond its start.
        """
        return await self._database.read(partial(stream_reads.read, wanted=wanted))

    async def read_back(self, wanted: Wanted) -> Slice:
        """The last messages of a range, ascending; otherwise as ``read``."""
        return await self._database.read(partial(stream_reads.read_back, wanted=wanted))

    async def last_of_type(
        self, stream: str, type_: str, admits: Admits | None, now: float
    ) -> Kept | None:
        """The latest message of a type that is for the reader, among the last ``SCAN_ROWS``."""
        read = partial(stream_reads.last_of_type, stream=stream, type_=type_, admits=admits)
        return await self._database.read(partial(read, now=now))

    async def span(self, stream: str, since: float | None, until: float | None) -> Span:
        """The offsets among which all messages of a time are; others may be there, too."""
        return await self._database.read(
            partial(stream_reads.span, stream=stream, since=since, until=until)
        )

    async def latest_in(
        self, keys: Mapping[str, int], type_: str, admits: Admits | None, now: float
    ) -> dict[str, bytes]:
        """The latest messages of a type for a reader, by stream; see ``stream_reads.latest_in``."""
        read = partial(stream_reads.latest_in, keys=keys, type_=type_, admits=admits)
        return await self._database.read(partial(read, now=now))

    async def locate(self, message_ids: Sequence[str], now: float) -> list[Located]:
        """Messages by their ids (at most 1000), without payloads, by stream and offset.

        Unknown ids are skipped, and messages whose own ttl has expired at ``now``.
        """
        return await self._database.read(
            partial(stream_reads.locate, message_ids=message_ids, now=now)
        )

    async def find(
        self, message_ids: Sequence[str], now: float, budget: int
    ) -> tuple[list[Found], list[str]]:
        """Messages by their ids with payloads, and the ids of those beyond the budget.

        ``budget``: bytes at most, but one message in any case.
        """
        return await self._database.read(
            partial(stream_reads.find, message_ids=message_ids, now=now, budget=budget)
        )

    async def names(self, limit: int) -> tuple[str, list[str]]:
        """The epoch of streams that do not exist yet, and the names of ``limit`` existing ones."""
        return await self._database.read(partial(stream_reads.names, limit=limit))

    async def writers(self, streams: Sequence[str]) -> dict[str, list[Writer]]:
        """The senders in streams, each once; streams without messages are left out."""
        return await self._database.read(partial(stream_reads.writers, streams=streams))

    async def count(self) -> Counts:
        """Numbers of streams and messages, for health and metrics."""
        return await self._database.read(stream_reads.count)

    async def expire(
        self, now: float, limit: int = BATCH_ROWS, *, session_s: float = 0.0
    ) -> list[Expired]:
        """Delete a batch of the messages that have expired at ``now``, and their receipts.

        ``session_s``: time for which those of sessions are kept, also those that were stored when
        it was shorter. Returns the deleted messages; empty when done. ``Head.first_offset``
        advances past messages that retention deleted, not past those whose own ttl has expired.
        """
        expire = partial(retention.expire, now=now, session_s=session_s, limit=limit)
        while True:
            expired, is_done = await self._database.run(expire)
            if expired or is_done:
                return expired

    async def shorten(self, session_s: float) -> None:
        """Let stored messages of sessions expire after this time, where it was longer before.

        In batches, a job each; only once after the time was set.
        """
        before = await self._database.read(retention.kept_at_most)
        if before == session_s:
            return
        if before is None or before > session_s:
            last: int | None = 0
            while last is not None:
                shorten = partial(retention.shorten, session_s=session_s, after=last)
                last = await self._database.run(shorten)
        await self._database.run(partial(retention.note_kept, session_s=session_s))

    async def trim(
        self, limit: int, batch: int = BATCH_ROWS, *, with_sessions: bool = True
    ) -> list[Expired]:
        """Delete a batch of the messages beyond ``limit`` in each stream, oldest first.

        In an inbox, acknowledged messages first. The first call checks all streams, later ones
        those that were appended to since. ``with_sessions``: also the streams of sessions. Returns
        the deleted messages; empty when done.
        """
        if not self._is_surveyed:
            found = await self._database.read(
                partial(retention.ends_beyond, limit=limit, since=self._survey_from)
            )
            self._ends = {**found.ends, **self._ends}
            self._survey_from = found.since
            self._is_surveyed = True
        self._ends = {
            name: end
            for name, end in self._ends.items()
            if end > limit and (with_sessions or not name.startswith(SESSION))
        }
        while self._ends:
            # Removed before the check: an append meanwhile adds its stream again.
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
        # Other processes append too: the next round begins with a survey.
        self._is_surveyed = not self._database.is_shared
        return []

    async def prune(self, now: float) -> Pruned:
        """Delete deduplication keys older than 24 h, and the rows of unused streams.

        A stream is unused if it has no message and nothing was appended for 30 days. Streams
        without a row get a new default epoch then: a stream that is created again starts at
        offset 1, and must not be taken for the former one. In batches of 300 rows, a job each.
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


def _nothing(_: Connection) -> None:
    """A job behind all others."""


def _append(
    db: Connection, batch: Sequence[Append], default_ai: str | None, notes: bool
) -> stream_appends.Outcome:
    outcome = stream_appends.append(db, batch, default_ai)
    if notes:
        away_queue.note(db, batch, outcome.answers)
    return outcome
