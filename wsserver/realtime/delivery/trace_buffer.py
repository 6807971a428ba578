"""``TraceBuffer``: bounded record of recent deliveries, for message traces."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from msgspec.structs import replace

from wsserver.clock import Clock
from wsserver.cluster.broker import Publication
from wsserver.protocol.targets import Target, TargetType
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.connection_log import ConnectionLog
from wsserver.realtime.delivery.trace_entry import Progress, TraceEntry

NOBODY: frozenset[str] = frozenset()
ENTRIES_LIMIT = 50_000
DETAILS_LIMIT = 200_000
BATCH = 5000
"""Entries dropped in one call of ``expire``: takes the event loop a millisecond or two."""


class TraceBuffer:
    """The messages delivered in the last ``retention_s`` seconds, by id.

    At most ``limit`` messages, the oldest are dropped; and at most ``details_limit`` marks,
    failures and excluded users in all of them together. ``retention_s`` 0 switches it off.
    """

    def __init__(
        self,
        connection_log: ConnectionLog,
        clock: Clock,
        retention_s: float = 600.0,
        *,
        limit: int = ENTRIES_LIMIT,
        details_limit: int = DETAILS_LIMIT,
    ) -> None:
        self.retention_s = retention_s
        self._is_on = retention_s > 0
        self._connection_log = connection_log
        self._clock = clock
        self._details_limit = details_limit
        self._details = 0
        self._entries: deque[TraceEntry] = deque(maxlen=limit)
        """The oldest first."""
        self._index: dict[str, TraceEntry] = {}
        """By id; built on look-up, to keep sending fast."""
        self._indexed: deque[TraceEntry] = deque()
        """The entries in the index, the oldest first; some may be dropped from ``_entries``."""
        self._detailed: deque[TraceEntry] = deque()
        """Entries with details, in the order of their first one."""

    def __len__(self) -> int:
        return len(self._entries)

    def delivered(self, publication: Publication) -> None:
        """Record a delivery. Called for every message sent: has to be fast."""
        if not self._is_on:
            return
        connection_log = self._connection_log
        connection_log.tick = tick = connection_log.tick + 1
        excluded = publication.exclude_users
        entry = TraceEntry(
            publication.message_id,
            publication.type,
            publication.target,
            publication.origin,
            publication.organization_id,
            publication.with_unaffiliated,
            publication.role,
            excluded,
            publication.accepted_at,
            publication.stream,
            publication.epoch,
            publication.offset,
            publication.expires_at,
            tick,
            self._clock.monotonic(),
        )
        self._entries.append(entry)
        if excluded:
            self._add_details(entry, len(excluded))

    def failed(self, message_id: str, connection_ids: Iterable[str]) -> None:
        """Record the connections that a message could not be written to."""
        entry = self._look_up(message_id)
        failed = frozenset(connection_ids)
        if entry is not None and failed:
            entry.failed = failed
            self._add_details(entry, len(failed))

    def marked(self, message_id: str, user_id: str, connection_id: str, state: Progress) -> None:
        """Record that a message was sent again, acknowledged or read. Unknown ids are ignored."""
        entry = self._look_up(message_id)
        if entry is None:
            return
        if entry.marks is None:
            entry.marks = {}
        marks = entry.marks.setdefault((user_id, connection_id), {})
        if state not in marks:
            marks[state] = self._clock.wall()
            self._add_details(entry, 1)

    def find(self, message_id: str) -> TraceEntry | None:
        """The entry of a message; None if unknown, too old or incomplete."""
        entry = self._look_up(message_id)
        if entry is None or not entry.is_known or self._is_over(entry):
            return None
        return entry

    def forget_user(self, user_id: str, connections: Iterable[ConnectionInfo] = ()) -> None:
        """Remove a user as publisher and as recipient; messages to them cannot be traced any more.

        ``connections``: their open ones. Some 10 ms with a full buffer.
        """
        for entry in self._entries:
            if entry.target.type is TargetType.USER and entry.target.id == user_id:
                self._forget(entry)
            if entry.origin is not None and entry.origin.user_id == user_id:
                entry.origin = replace(entry.origin, user_id=None, id=None)
            if entry.marks is not None:
                kept = {who: marks for who, marks in entry.marks.items() if who[0] != user_id}
                entry.marks = kept
        self._connection_log.forget_user(user_id, connections)

    def wall_of(self, monotonic: float) -> float:
        """Convert a time of the monotonic clock to seconds since the epoch."""
        return self._clock.wall() - (self._clock.monotonic() - monotonic)

    def expire(self) -> None:
        """Drop old entries, a batch at a time; to be called about once a second."""
        entries = self._entries
        for _ in range(min(BATCH, len(entries))):
            if not self._is_over(entries[0]):
                break
            entries.popleft()
        self._clean()
        self._connection_log.forget(self._oldest_tick())

    def _is_over(self, entry: TraceEntry) -> bool:
        return self._clock.monotonic() - entry.delivered_at >= self.retention_s

    def _oldest_tick(self) -> int:
        return self._entries[0].tick if self._entries else self._connection_log.tick + 1

    def _look_up(self, message_id: str) -> TraceEntry | None:
        """Update the index and look an id up in it.

        The first look-up after 50,000 messages takes some 10 ms.
        """
        entries, index, indexed = self._entries, self._index, self._indexed
        last = indexed[-1].tick if indexed else 0
        count = entries[-1].tick - max(last, entries[0].tick - 1) if entries else 0
        if count:
            self._clean()
            # Ticks of neighbours follow each other, so these are exactly the newer ones.
            for entry in islice(entries, len(entries) - count, None):
                index[entry.message_id] = entry
                indexed.append(entry)
        return index.get(message_id)

    def _clean(self) -> None:
        """Remove dropped entries from the index and the list of entries with details."""
        oldest = self._oldest_tick()
        index, indexed, detailed = self._index, self._indexed, self._detailed
        while indexed and indexed[0].tick < oldest:
            entry = indexed.popleft()
            if index.get(entry.message_id) is entry:
                del index[entry.message_id]
        while detailed and detailed[0].tick < oldest:
            self._details -= detailed.popleft().details

    def _add_details(self, entry: TraceEntry, count: int) -> None:
        if not entry.details:
            self._detailed.append(entry)
        entry.details += count
        self._details += count
        if self._details > self._details_limit:
            self._clean()
            while self._details > self._details_limit:
                self._strip(self._detailed.popleft())

    def _forget(self, entry: TraceEntry) -> None:
        """Make an entry unusable; it stays in place, as ticks of neighbours follow each other."""
        entry.target = Target(entry.target.type, "")
        entry.exclude_users, entry.failed, entry.marks = NOBODY, NOBODY, None
        entry.is_whole = entry.is_known = False

    def _strip(self, entry: TraceEntry) -> None:
        """Drop an entry's details; without its excluded users the entry cannot be used."""
        self._details -= entry.details
        entry.details = 0
        entry.failed, entry.marks, entry.is_whole = frozenset(), None, False
        if entry.exclude_users:
            entry.exclude_users, entry.is_known = frozenset(), False
