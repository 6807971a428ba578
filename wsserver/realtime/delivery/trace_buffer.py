"""What is remembered of each message that was delivered lately, for its trace."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Literal

from msgspec import Struct

from wsserver.brokers.base import Publication
from wsserver.clock import Clock
from wsserver.protocol.origin import Origin
from wsserver.protocol.targets import Target
from wsserver.realtime.connections.connection_log import ConnectionLog

ENTRIES_LIMIT = 50_000
DETAILS_LIMIT = 200_000
BATCH = 5000
"""Entries let go of at once, so that it never holds up the loop: a millisecond or two."""

Progress = Literal["sent", "delivered", "read"]
Marks = dict[tuple[str, str], dict[Progress, float]]
"""By user and connection: when a message came how far; seconds since the epoch."""


class Entry(Struct, gc=False):
    """One message: small, and of the same size whatever its audience."""

    message_id: str
    type: str
    target: Target
    origin: Origin | None
    organization_id: str | None
    with_unaffiliated: bool
    role: str | None
    exclude_users: frozenset[str]
    accepted_at: float
    """Seconds since the epoch."""
    stream: str
    """Empty: a live message."""
    epoch: str
    offset: int
    expires_at: float
    """Of a kept message; seconds since the epoch."""
    tick: int
    """The number of its delivery."""
    delivered_at: float
    """Monotonic seconds."""
    failed: frozenset[str] = frozenset()
    """Connections that could not be written to."""
    marks: Marks | None = None
    details: int = 0
    """How many names it holds: excluded, failed, marked."""
    is_whole: bool = True
    """False: failures and marks had to make room for those of later messages."""
    is_known: bool = True
    """False: so had the names of the excluded, and nothing true can be said any more."""


class Traces:
    """The messages of the last ``retention_s`` seconds, by id; the oldest go when there are many.

    At most ``limit`` messages, and at most ``details_limit`` marks, failures and excluded names
    in all of them together. ``retention_s`` 0: nothing is remembered.
    """

    def __init__(
        self,
        attendance: ConnectionLog,
        clock: Clock,
        retention_s: float = 600.0,
        *,
        limit: int = ENTRIES_LIMIT,
        details_limit: int = DETAILS_LIMIT,
    ) -> None:
        self.retention_s = retention_s
        self._is_on = retention_s > 0
        self._attendance = attendance
        self._clock = clock
        self._details_limit = details_limit
        self._details = 0
        self._entries: deque[Entry] = deque(maxlen=limit)
        """The oldest first; that one goes when there is no room for another."""
        self._index: dict[str, Entry] = {}
        """By id; made when somebody asks, so that sending does not pay for it."""
        self._indexed: deque[Entry] = deque()
        """Those in the index, the oldest first; some may have left the entries already."""
        self._detailed: deque[Entry] = deque()
        """Those with details, in the order in which they got the first one."""

    def __len__(self) -> int:
        return len(self._entries)

    def delivered(self, publication: Publication) -> None:
        """Remember a message that goes out now. On the path of every send: nothing slow here."""
        if not self._is_on:
            return
        attendance = self._attendance
        attendance.tick = tick = attendance.tick + 1
        excluded = publication.exclude_users
        entry = Entry(
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
        """Some connections could not be given a message."""
        entry = self._look_up(message_id)
        failed = frozenset(connection_ids)
        if entry is not None and failed:
            entry.failed = failed
            self._add_details(entry, len(failed))

    def marked(self, message_id: str, user_id: str, connection_id: str, state: Progress) -> None:
        """A message has come further: sent once more, acknowledged, read. Unknown ids pass."""
        entry = self._look_up(message_id)
        if entry is None:
            return
        if entry.marks is None:
            entry.marks = {}
        marks = entry.marks.setdefault((user_id, connection_id), {})
        if state not in marks:
            marks[state] = self._clock.wall()
            self._add_details(entry, 1)

    def find(self, message_id: str) -> Entry | None:
        """What is remembered of a message, while it is not too old."""
        entry = self._look_up(message_id)
        if entry is None or not entry.is_known or self._is_over(entry):
            return None
        return entry

    def wall_of(self, monotonic: float) -> float:
        """A moment of the monotonic clock in seconds since the epoch."""
        return self._clock.wall() - (self._clock.monotonic() - monotonic)

    def expire(self) -> None:
        """Let go of what is too old, some of it at a time; to be called about once a second."""
        entries = self._entries
        for _ in range(min(BATCH, len(entries))):
            if not self._is_over(entries[0]):
                break
            entries.popleft()
        self._clean()
        self._attendance.forget(self._oldest_tick())

    def _is_over(self, entry: Entry) -> bool:
        return self._clock.monotonic() - entry.delivered_at >= self.retention_s

    def _oldest_tick(self) -> int:
        return self._entries[0].tick if self._entries else self._attendance.tick + 1

    def _look_up(self, message_id: str) -> Entry | None:
        """Bring the index up to date, and look into it.

        After 50,000 messages of which nobody has asked that takes some 10 ms, once.
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
        """Take what has left the entries out of everything else."""
        oldest = self._oldest_tick()
        index, indexed, detailed = self._index, self._indexed, self._detailed
        while indexed and indexed[0].tick < oldest:
            entry = indexed.popleft()
            if index.get(entry.message_id) is entry:
                del index[entry.message_id]
        while detailed and detailed[0].tick < oldest:
            self._details -= detailed.popleft().details

    def _add_details(self, entry: Entry, count: int) -> None:
        if not entry.details:
            self._detailed.append(entry)
        entry.details += count
        self._details += count
        if self._details > self._details_limit:
            self._clean()
            while self._details > self._details_limit:
                self._strip(self._detailed.popleft())

    def _strip(self, entry: Entry) -> None:
        """Let go of an entry's details; without the names of the excluded it would tell lies."""
        self._details -= entry.details
        entry.details = 0
        entry.failed, entry.marks, entry.is_whole = frozenset(), None, False
        if entry.exclude_users:
            entry.exclude_users, entry.is_known = frozenset(), False
