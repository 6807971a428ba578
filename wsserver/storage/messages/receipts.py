"""``ReceiptStore``: delivered and read receipts of kept messages, pending messages of inboxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database, Late
from wsserver.storage.engine.epochs import default_epoch
from wsserver.storage.messages.message_rows import (
    INBOX,
    LAST_OFFSET,
    OFFSET_BITS,
    SESSION,
    Slice,
    key_of,
    stream_row,
)
from wsserver.storage.messages.stream_reads import Wanted, choose_and_read

CHANGES_LIMIT = 1000
"""Maximum of messages that one acknowledgement by offset returns; the latest ones."""
USERS_LIMIT = 100
"""Users of each state that are listed of a user's own message."""
POSITIONS_LIMIT = 1000
"""Users of a session whose positions are compared, those who are furthest."""
RECEIPTS_LIMIT = 10_000
"""Maximum of receipts that are read for a message."""

_SELECT_BY_IDS = (
    "SELECT m.key, m.message_id, s.name, m.sender, r.delivered_at, r.read_at,"  # noqa: S608
    f' CASE WHEN c."offset" >= m.key & {LAST_OFFSET} THEN c.at END'
    " FROM messages m"
    f" JOIN streams s ON s.id = m.key >> {OFFSET_BITS}"
    " LEFT JOIN receipts r ON r.key = m.key AND r.user_id = ?1"
    " LEFT JOIN cursors c ON c.stream_id = s.id AND c.user_id = ?1"
    " WHERE m.message_id IN (SELECT value FROM json_each(?2)) ORDER BY m.key"
)
_STORE = (
    # What another process has recorded since the SELECT stays, and is not returned.
    "INSERT INTO receipts (key, user_id, delivered_at, read_at)"
    " SELECT m.key, ?1, CAST(?2 AS DOUBLE PRECISION), CAST(?3 AS DOUBLE PRECISION)"
    " FROM messages m WHERE m.key IN (SELECT value FROM json_each(?4)) ORDER BY m.key"
    " ON CONFLICT (key, user_id) DO UPDATE SET read_at = excluded.read_at"
    " WHERE receipts.read_at IS NULL AND excluded.read_at IS NOT NULL RETURNING key"
)
_SELECT_COVERED = (
    "SELECT m.message_id, m.key, m.sender FROM messages m"
    " LEFT JOIN receipts r ON r.key = m.key AND r.user_id = ?"
    " WHERE m.key > ? AND m.key <= ? AND r.delivered_at IS NULL ORDER BY m.key DESC LIMIT ?"
)
_CREATE_CURSOR = (
    'INSERT INTO cursors (stream_id, user_id, "offset", at) VALUES (?, ?, ?, ?)'
    " ON CONFLICT (stream_id, user_id) DO NOTHING"
)
_MOVE_CURSOR = (
    'UPDATE cursors SET "offset" = ?, at = ? WHERE stream_id = ? AND user_id = ? AND "offset" = ?'
)
_SELECT_UNSETTLED = (
    f"SELECT m.message_id FROM messages m JOIN streams s ON s.id = m.key >> {OFFSET_BITS}"  # noqa: S608
    f" LEFT JOIN receipts r ON r.key = m.key AND r.user_id = substr(s.name, {len(INBOX) + 1})"
    f" LEFT JOIN cursors c ON c.stream_id = s.id AND c.user_id = substr(s.name, {len(INBOX) + 1})"
    " WHERE m.message_id IN (SELECT value FROM json_each(?)) AND +m.expires_at > ?"
    f' AND r.delivered_at IS NULL AND coalesce(c."offset", 0) < m.key & {LAST_OFFSET}'
)
_PENDING = (
    " FROM messages m LEFT JOIN receipts r ON r.key = m.key AND r.user_id = ?"
    # The + keeps SQLite from answering out of the index on expires_at.
    " WHERE m.key > ? AND m.key <= ? AND +m.expires_at > ? AND r.delivered_at IS NULL"
)
_OUTLINE_PENDING = (
    f"SELECT m.key, m.audience, length(m.payload), m.at{_PENDING} ORDER BY m.key LIMIT ?"
)
_COUNT_PENDING = f"SELECT count(*){_PENDING}"
_SELECT_OF_OTHERS = (
    "SELECT key, user_id, read_at FROM receipts"
    " WHERE key IN (SELECT value FROM json_each(?)) AND user_id <> ?"
)
_SELECT_CURSORS = (
    'SELECT user_id, "offset" FROM cursors WHERE stream_id = ? AND user_id <> ? AND "offset" >= ?'
    ' ORDER BY "offset" DESC LIMIT ?'
)
_SELECT_POSITIONS = (
    "SELECT user_id, start_offset, read_offset FROM participants"
    " WHERE session_id = ? AND user_id <> ? AND read_offset >= ?"
    " ORDER BY read_offset DESC LIMIT ?"
)
_SELECT_RECEIPTS = (
    "SELECT user_id, min(delivered_at), max(read_at), min(is_by_offset) FROM ("  # noqa: S608
    "SELECT user_id, delivered_at, read_at, 0 AS is_by_offset FROM receipts WHERE key = ?1"
    " UNION ALL"
    f" SELECT user_id, at, NULL, 1 FROM cursors WHERE stream_id = ?1 >> {OFFSET_BITS}"
    f' AND "offset" >= ?1 & {LAST_OFFSET}'
    ") acknowledged GROUP BY user_id ORDER BY user_id LIMIT ?2"
)


class Change(NamedTuple):
    """A new receipt; ``sender`` is the user id that is notified of it."""

    message_id: str
    stream: str
    offset: int
    sender: str | None
    state: Literal["delivered", "read"]


class Inbox(NamedTuple):
    """The end of a user's inbox, and its number of pending messages."""

    epoch: str
    offset: int
    pending: int


class Receipt(NamedTuple):
    """Times when a message was delivered to and read by a user, in seconds since the epoch."""

    user_id: str
    delivered_at: float | None
    read_at: float | None
    is_by_offset: int = 0
    """1: acknowledged by an offset in the stream, not by the message's id."""


class OwnReceipts(NamedTuple):
    """User ids of who has received a message, and of who has read it."""

    delivered: list[str]
    read: list[str]


class ReceiptStore:
    """The tables ``receipts`` (one message each) and ``cursors`` (everything up to an offset).

    All methods raise ``StorageUnavailable``; those that write also ``StorageFull``, and then
    nothing is stored. Access is checked by the caller. Of several processes that record the same
    receipt at the same time, one gets it as a new one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self,
        user_id: str,
        message_ids: Sequence[str],
        *,
        read: bool,
        at: float,
        late: Late[list[Change]] | None = None,
    ) -> list[Change]:
        """Store that messages (at most 1000) were delivered to a user, or read and so delivered.

        Returns the new receipts, by stream and offset; unknown ids are skipped, and existing
        times are not changed. ``late``: see ``Database.run``.
        """
        if not message_ids:
            return []
        return await self._database.run(
            partial(_record, user_id=user_id, message_ids=message_ids, is_read=read, at=at), late
        )

    async def advance(self, user_id: str, stream: str, offset: int, at: float) -> list[Change]:
        """Store that everything in a stream up to an offset was delivered to a user.

        The offset never decreases and is limited by the end of the stream. Returns the new
        receipts, ascending: of more than 1000 the latest.
        """
        return await self._database.run(
            partial(_advance, user_id=user_id, stream=stream, offset=offset, at=at)
        )

    async def pending(
        self, user_id: str, now: float, budget: int, after: int = 0, limit: int = 1000
    ) -> Slice:
        """The pending messages of ``user:<user_id>`` after an offset, oldest first.

        Neither expired at ``now``, nor acknowledged by the owner. ``budget``: bytes of the pushes
        at most, but one message in any case.
        """
        wanted = Wanted(INBOX + user_id, after, LAST_OFFSET, now, limit, max(1, budget))
        return await self._database.read(partial(_pending, user_id=user_id, wanted=wanted))

    async def unsettled(self, message_ids: Sequence[str], now: float) -> set[str]:
        """Those of the messages in inboxes that are pending: see ``pending``."""
        return await self._database.read(
            lambda db: {
                message_id
                for (message_id,) in db.execute(_SELECT_UNSETTLED, [db.listed(message_ids), now])
            }
        )

    async def inbox(self, user_id: str, now: float) -> Inbox:
        """The end of an inbox, and its number of pending messages at ``now``."""
        return await self._database.read(partial(_inbox, user_id=user_id, now=now))

    async def of_own(
        self, user_id: str, session_id: str, offsets: Mapping[int, str]
    ) -> dict[str, OwnReceipts]:
        """Who has received and read a user's messages in a session; ``offsets``: their ids.

        Each other user once, under the furthest state: by receipts, by acknowledgements of the
        stream, and by read positions from where they began. At most ``USERS_LIMIT`` a message.
        """
        if not offsets:
            return {}
        read = partial(_of_own, user_id=user_id, session_id=session_id, offsets=offsets)
        return await self._database.read(read)

    async def of_message(self, message_id: str) -> list[Receipt]:
        """The receipts of a message, by user id, at most 10,000; empty for an unknown id.

        The time of a receipt by offset is that of the user's latest one: the message was delivered
        at that time or earlier.
        """
        return await self._database.read(partial(_of_message, message_id=message_id))


def _record(
    db: Connection, user_id: str, message_ids: Sequence[str], is_read: bool, at: float
) -> list[Change]:
    state: Literal["delivered", "read"] = "read" if is_read else "delivered"
    changes: dict[int, Change] = {}
    by_time: dict[float, list[int]] = {}
    found = db.execute(_SELECT_BY_IDS, [user_id, db.listed(message_ids)]).fetchall()
    for key, message_id, stream, sender, delivered_at, read_at, covered_at in found:
        known_at = covered_at if delivered_at is None else delivered_at
        if (read_at if is_read else known_at) is not None:
            continue
        by_time.setdefault(at if known_at is None else known_at, []).append(key)
        changes[key] = Change(message_id, stream, key & LAST_OFFSET, sender, state)
    stored: set[int] = set()
    # In the order of keys, as far as possible: another process may be locking the same rows.
    for delivered_at, keys in sorted(by_time.items(), key=lambda each: each[1][0]):
        values = [user_id, delivered_at, at if is_read else None, db.listed(keys)]
        stored.update(key for (key,) in db.execute(_STORE, values).fetchall())
    return [change for key, change in changes.items() if key in stored]


def _advance(db: Connection, user_id: str, stream: str, offset: int, at: float) -> list[Change]:
    row = stream_row(db, stream)
    if row is None:
        return []
    offset = min(offset, row.last_offset)
    before = _cursor(db, row.id, user_id)
    while True:
        if offset <= (before or 0):
            return []
        if before is None:
            moved = db.execute(_CREATE_CURSOR, [row.id, user_id, offset, at])
        else:
            moved = db.execute(_MOVE_CURSOR, [offset, at, row.id, user_id, before])
        if moved.rowcount:
            break
        before = _cursor(db, row.id, user_id)  # another process has moved it meanwhile
    latest_first = db.execute(
        _SELECT_COVERED,
        [user_id, key_of(row.id, before or 0), key_of(row.id, offset), CHANGES_LIMIT],
    ).fetchall()
    return [
        Change(message_id, stream, key & LAST_OFFSET, sender, "delivered")
        for message_id, key, sender in reversed(latest_first)
    ]


def _pending(db: Connection, user_id: str, wanted: Wanted) -> Slice:
    row = stream_row(db, wanted.stream)
    if row is None:
        return Slice([], None)
    start = max(wanted.after, _cursor(db, row.id, user_id) or 0)
    values = [user_id, key_of(row.id, start), key_of(row.id, row.last_offset), wanted.now]
    values.append(wanted.rows)
    return choose_and_read(db, db.execute(_OUTLINE_PENDING, values), wanted, start, row.epoch)


def _inbox(db: Connection, user_id: str, now: float) -> Inbox:
    row = stream_row(db, INBOX + user_id)
    if row is None:
        return Inbox(default_epoch(db), 0, 0)
    cursor = _cursor(db, row.id, user_id) or 0
    if cursor >= row.last_offset:
        return Inbox(row.epoch, row.last_offset, 0)
    values = [user_id, key_of(row.id, cursor), key_of(row.id, row.last_offset), now]
    (pending,) = db.execute(_COUNT_PENDING, values).fetchone()
    return Inbox(row.epoch, row.last_offset, pending)


def _of_message(db: Connection, message_id: str) -> list[Receipt]:
    row = db.execute("SELECT key FROM messages WHERE message_id = ?", [message_id]).fetchone()
    if row is None:
        return []
    return list(map(Receipt._make, db.execute(_SELECT_RECEIPTS, [row[0], RECEIPTS_LIMIT])))


def _of_own(
    db: Connection, user_id: str, session_id: str, offsets: Mapping[int, str]
) -> dict[str, OwnReceipts]:
    row = stream_row(db, SESSION + session_id)
    if row is None:
        return {}
    oldest = min(offsets)
    delivered: dict[int, set[str]] = {offset: set() for offset in offsets}
    read: dict[int, set[str]] = {offset: set() for offset in offsets}
    keys = [key_of(row.id, offset) for offset in offsets]
    for key, other, read_at in db.execute(_SELECT_OF_OTHERS, [db.listed(keys), user_id]).fetchall():
        (delivered if read_at is None else read)[key & LAST_OFFSET].add(other)
    cursors = db.execute(_SELECT_CURSORS, [row.id, user_id, oldest, POSITIONS_LIMIT]).fetchall()
    positions = db.execute(
        _SELECT_POSITIONS, [session_id, user_id, oldest, POSITIONS_LIMIT]
    ).fetchall()
    for offset in offsets:
        delivered[offset].update(other for other, until in cursors if until >= offset)
        read[offset].update(other for other, start, until in positions if start < offset <= until)
    return {
        id_: OwnReceipts(
            sorted(delivered[offset] - read[offset])[:USERS_LIMIT],
            sorted(read[offset])[:USERS_LIMIT],
        )
        for offset, id_ in offsets.items()
    }


def _cursor(db: Connection, stream_id: int, user_id: str) -> int | None:
    row = db.execute(
        'SELECT "offset" FROM cursors WHERE stream_id = ? AND user_id = ?', [stream_id, user_id]
    ).fetchone()
    return None if row is None else row[0]
