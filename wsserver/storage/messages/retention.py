"""Retention: deletes expired and surplus messages, and streams that are long unused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.epochs import renew_default_epoch
from wsserver.storage.messages import search_rows
from wsserver.storage.messages.answers import delete_answers
from wsserver.storage.messages.message_rows import (
    INBOX,
    LAST_OFFSET,
    OFFSET_BITS,
    SESSION,
    key_of,
    stream_row,
)
from wsserver.storage.messages.participants import begin_anew
from wsserver.storage.messages.stream_appends import DEDUP_KEPT_S

_SURVEY_MARGIN_S = 3600.0
STREAM_KEPT_S = 30 * 86_400
"""Time after the last append until the row of an empty stream is deleted."""
BATCH_ROWS = 300
SHORTENED_AT_ONCE = 2000

_IS_PENDING = (
    f"substr(s.name, 1, {len(INBOX)}) = '{INBOX}' AND r.delivered_at IS NULL"
    f' AND coalesce(c."offset", 0) < m.key & {LAST_OFFSET}'
)
"""With ``s``, ``r`` and ``c`` joined as in ``_WITH_OWNER``."""
_WITH_OWNER = (
    f" JOIN streams s ON s.id = m.key >> {OFFSET_BITS}"
    f" LEFT JOIN receipts r ON r.key = m.key AND r.user_id = substr(s.name, {len(INBOX) + 1})"
    f" LEFT JOIN cursors c ON c.stream_id = s.id AND c.user_id = substr(s.name, {len(INBOX) + 1})"
)
_COLUMNS = (
    f"m.key, m.has_ttl, m.message_id, s.name, m.sender, {_IS_PENDING},"
    f" CASE WHEN {_IS_PENDING} THEN json_extract(CAST(m.payload AS TEXT), '$.session_id') END"
)
_IS_OF_SESSION = f"substr(s.name, 1, {len(SESSION)}) = '{SESSION}'"
_SELECT_EXPIRED = (
    f"SELECT m.at, {_IS_OF_SESSION}, {_COLUMNS} FROM messages m{_WITH_OWNER}"  # noqa: S608
    " WHERE m.expires_at <= ? ORDER BY m.expires_at, m.key LIMIT ?"
)
_KEEP_LONGER = "UPDATE messages SET expires_at = at + ? WHERE key = ? AND has_ttl = 0"
_SELECT_NEXT = (
    f"SELECT m.key, {_IS_OF_SESSION} AND m.expires_at > m.at + ? FROM messages m"  # noqa: S608
    f" JOIN streams s ON s.id = m.key >> {OFFSET_BITS}"
    " WHERE m.key > ? ORDER BY m.key LIMIT ?"
)
_SHORTEN = "UPDATE messages SET expires_at = at + ? WHERE key IN (SELECT value FROM json_each(?))"
_SESSION_S_KEY = "session_retention_s"
"""In ``meta``: the longest time for which stored messages of sessions may have been kept."""
_SELECT_OLDEST = (
    f"SELECT {_COLUMNS} FROM messages m{_WITH_OWNER}"  # noqa: S608 - constants only
    " WHERE m.key > ? AND m.key <= ? ORDER BY m.key LIMIT ?"
)
_SELECT_SETTLED_FIRST = (
    f"SELECT {_COLUMNS} FROM messages m{_WITH_OWNER}"  # noqa: S608 - constants only
    f" WHERE m.key > ? AND m.key <= ? ORDER BY {_IS_PENDING}, m.key LIMIT ?"
)
_IS_UNUSED = (
    "s.touched_at <= ? AND NOT EXISTS (SELECT 1 FROM messages m"  # noqa: S608 - constants only
    f" WHERE m.key > s.id << {OFFSET_BITS} AND m.key <= (s.id << {OFFSET_BITS} | {LAST_OFFSET}))"
)
_SELECT_UNUSED = (
    f"SELECT s.id FROM streams s WHERE {_IS_UNUSED} AND s.id > ?"  # noqa: S608 - constants only
    " ORDER BY s.id LIMIT ?"
)
_STILL_UNUSED = (
    f"SELECT s.id FROM streams s WHERE {_IS_UNUSED}"  # noqa: S608 - constants only
    " AND s.id IN (SELECT value FROM json_each(?))"
)

_SELECT_BY_KEYS = (
    f"SELECT {_COLUMNS} FROM messages m{_WITH_OWNER}"  # noqa: S608 - constants only
    " WHERE m.key IN (SELECT value FROM json_each(?))"
)
_SELECT_RECORDS = (
    f"SELECT {_COLUMNS} FROM messages m{_WITH_OWNER}"  # noqa: S608 - constants only
    " WHERE m.subject IN (SELECT value FROM json_each(?))"
)
"""Change records go with the message that they are about."""
_DELETE_MESSAGES = (
    "DELETE FROM messages WHERE key IN (SELECT value FROM json_each(?)) RETURNING key"
)
_DELETE_RECEIPTS = (
    "DELETE FROM receipts WHERE key IN (SELECT value FROM json_each(?)) RETURNING key, user_id"
)


class Expired(NamedTuple):
    """A deleted message; ``is_pending``: it was in an inbox and not acknowledged.

    ``sender`` is the user id that is notified then.
    """

    message_id: str
    stream: str
    offset: int
    sender: str | None
    is_pending: bool
    session_id: str | None = None
    """Of a pending message: as in the payload."""


class Due(NamedTuple):
    """What was due: the deleted messages; ``is_done``: no further one is due."""

    deleted: list[Expired]
    is_done: bool


class Trimmed(NamedTuple):
    """The deleted messages, and the streams that may still exceed the limit."""

    deleted: list[Expired]
    unfinished: list[str]


class Pruned(NamedTuple):
    """Numbers of deleted rows; ``epoch``: the new one of streams without a row, if it changed."""

    dedup_keys: int
    streams: int
    epoch: str | None


def expire(db: Connection, now: float, session_s: float, limit: int) -> Due:
    """Delete the first ``limit`` messages that have expired at ``now``.

    Those of sessions that were stored while they were kept for less than ``session_s`` get the rest
    of that time instead.
    """
    rows = db.execute(_SELECT_EXPIRED, [now, limit]).fetchall()
    expired = []
    kept = []
    for at, is_of_session, *row in rows:
        key, has_ttl, *_ = row
        if is_of_session and not has_ttl and at + session_s > now:
            kept.append((session_s, key))
        else:
            expired.append(row)
    db.executemany(_KEEP_LONGER, kept)
    return Due(_delete(db, expired), len(rows) < limit)


def kept_at_most(db: Connection) -> float | None:
    """For how long stored messages of sessions may be kept; None: for any time."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", [_SESSION_S_KEY]).fetchone()
    return None if row is None else float(row[0])


def note_kept(db: Connection, session_s: float) -> None:
    """Note that no stored message of a session is kept for longer than this."""
    db.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [_SESSION_S_KEY, repr(session_s)],
    )


def shorten(db: Connection, session_s: float, after: int) -> int | None:
    """Limit the time of the next messages of sessions after a key; the last key, None at the end.

    Also the time that a publisher has set.
    """
    rows = db.execute(_SELECT_NEXT, [session_s, after, SHORTENED_AT_ONCE]).fetchall()
    longer = [key for key, is_longer in rows if is_longer]
    if longer:
        db.execute(_SHORTEN, [session_s, db.listed(longer)])
    return rows[-1][0] if len(rows) == SHORTENED_AT_ONCE else None


class Survey(NamedTuple):
    """The last offsets of the streams that may exceed the limit, appended to since a time."""

    ends: dict[str, int]
    since: float
    """For the next survey; seconds since the epoch."""


def ends_beyond(db: Connection, limit: int, since: float) -> Survey:
    """Survey the streams that may hold more than ``limit`` messages.

    ``since``: 0 or that of the survey before. The times are those of the messages, given to them by
    the servers; a message may be committed long after, which the margin allows for.
    """
    (latest,) = db.execute("SELECT max(touched_at) FROM streams").fetchone()
    sql = "SELECT name, last_offset FROM streams WHERE last_offset > ? AND touched_at >= ?"
    ends = dict(db.execute(sql, [limit, since]))
    return Survey(ends, max(since, (latest or 0.0) - _SURVEY_MARGIN_S))


def trim(db: Connection, streams: Iterable[str], limit: int, batch: int) -> Trimmed:
    """Delete up to ``batch`` of what streams have beyond ``limit`` messages each."""
    deleted: list[Expired] = []
    unfinished: list[str] = []
    for stream in streams:
        room = batch - len(deleted)
        surplus = _surplus(db, stream, limit) if room else 1
        if surplus > room:
            unfinished.append(stream)
        if room and surplus > 0:
            deleted += _trim_stream(db, stream, min(surplus, room))
    return Trimmed(deleted, unfinished)


def delete(db: Connection, keys: Sequence[int]) -> list[Expired]:
    """Delete messages before their time; a client that resumes does not notice the gap."""
    db.overwrite_deleted()
    rows = db.execute(_SELECT_BY_KEYS, [db.listed(keys)]).fetchall()
    return _delete(db, [(key, True, *rest) for key, _, *rest in rows])


def _surplus(db: Connection, stream: str, limit: int) -> int:
    """Number of messages beyond ``limit``; 0 or negative: none."""
    ends = _ends(db, stream)
    (first,) = db.execute(
        "SELECT min(key) FROM messages WHERE key > ? AND key <= ?", ends
    ).fetchone()
    if first is None or ends[1] - first < limit:  # no need to count
        return 0
    (count,) = db.execute(
        "SELECT count(*) FROM messages WHERE key >= ? AND key <= ?", [first, ends[1]]
    ).fetchone()
    return int(count) - limit


def _trim_stream(db: Connection, stream: str, surplus: int) -> list[Expired]:
    """Delete the oldest messages; in an inbox the acknowledged ones first."""
    select = _SELECT_SETTLED_FIRST if stream.startswith(INBOX) else _SELECT_OLDEST
    rows = db.execute(select, [*_ends(db, stream), surplus]).fetchall()
    return _delete(db, rows, is_over_limit=True)


def _ends(db: Connection, stream: str) -> tuple[int, int]:
    """The range of a stream's keys: above the first, up to the second."""
    row = stream_row(db, stream)
    return (0, 0) if row is None else (key_of(row.id, 0), key_of(row.id, row.last_offset))


def prune_dedup(db: Connection, now: float) -> int:
    """Delete a batch of the deduplication keys older than 24 h; returns their number."""
    return db.execute(
        "DELETE FROM dedup WHERE (scope, key) IN"
        " (SELECT scope, key FROM dedup WHERE at <= ? ORDER BY at LIMIT ?)",
        [now - DEDUP_KEPT_S, BATCH_ROWS],
    ).rowcount


def unused_streams(db: Connection, now: float, after: int) -> list[int]:
    """The next batch of streams without messages, untouched for 30 days; ids above ``after``."""
    rows = db.execute(_SELECT_UNUSED, [now - STREAM_KEPT_S, after, BATCH_ROWS])
    return [stream_id for (stream_id,) in rows]


def prune_streams(db: Connection, ids: Sequence[int], now: float) -> Pruned:
    """Delete those of some streams that are still unused, with their cursors."""
    unused = db.execute(_STILL_UNUSED, [now - STREAM_KEPT_S, db.listed(ids)]).fetchall()
    if not unused:
        return Pruned(0, 0, None)
    names = db.execute(
        "SELECT name FROM streams WHERE id IN (SELECT value FROM json_each(?))",
        [db.listed([stream_id for (stream_id,) in unused])],
    ).fetchall()
    begin_anew(db, [name for (name,) in names])
    db.executemany("DELETE FROM cursors WHERE stream_id = ?", unused)
    db.executemany("DELETE FROM streams WHERE id = ?", unused)
    return Pruned(0, len(unused), renew_default_epoch(db))


def _delete(
    db: Connection, rows: Iterable[tuple[Any, ...]], is_over_limit: bool = False
) -> list[Expired]:
    """Delete messages and their receipts; advances ``first_offset`` if retention deleted them.

    Returns those that no other process has deleted meanwhile.
    """
    rows = list(rows)
    known = {row[0] for row in rows}
    records = db.execute(_SELECT_RECORDS, [db.listed(list(known))]).fetchall()
    of_records = {row[0] for row in records} - known
    rows += [row for row in records if row[0] in of_records]
    search_rows.removed(db, [row[0] for row in rows])
    keys = db.listed([row[0] for row in rows])
    deleted = {key for (key,) in db.execute(_DELETE_MESSAGES, [keys]).fetchall()}
    # Committed meanwhile, some of them.
    acknowledged = set(db.execute(_DELETE_RECEIPTS, [keys]).fetchall())
    expired: list[Expired] = []
    taken: dict[int, int] = {}
    for key, has_ttl, message_id, stream, sender, is_pending, session_id in rows:
        if key not in deleted:
            continue
        stream_id, offset = key >> OFFSET_BITS, key & LAST_OFFSET
        is_pending = is_pending and (key, stream.removeprefix(INBOX)) not in acknowledged
        expired.append(Expired(message_id, stream, offset, sender, bool(is_pending), session_id))
        if key not in of_records and (is_over_limit or not has_ttl):
            taken[stream_id] = max(taken.get(stream_id, 0), offset)
    delete_answers(db, [each.message_id for each in expired])
    db.executemany(
        "UPDATE streams SET first_offset = ?1 WHERE id = ?2 AND first_offset < ?1",
        [(offset + 1, stream_id) for stream_id, offset in taken.items()],
    )
    return expired
