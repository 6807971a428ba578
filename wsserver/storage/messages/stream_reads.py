"""Queries of streams: ranges of offsets, messages by id, counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from wsserver.protocol.revisions import message_in, with_message
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.epochs import default_epoch
from wsserver.storage.messages.message_rows import (
    INBOX,
    LAST_OFFSET,
    OFFSET_BITS,
    Found,
    Head,
    Kept,
    Located,
    Slice,
    Span,
    key_of,
    position_bytes,
    stream_row,
)

KEPT_COLUMNS = (
    f"m.key & {LAST_OFFSET}, m.message_id, m.type, m.at, m.expires_at, m.has_ttl, m.sender,"
    f" m.audience, m.payload, coalesce(m.subject, 0) & {LAST_OFFSET},"
    " coalesce(t.revision, m.revision)"
)
"""The columns of ``Kept``, of the table ``messages`` as ``m``, joined as in ``_WITH_SUBJECT``."""
_WITH_SUBJECT = " LEFT JOIN messages t ON t.key = m.subject"
_PAYLOAD = 8
"""The column of ``payload``."""

_HEADS = (
    "SELECT name, epoch, last_offset, first_offset FROM streams"
    " WHERE name IN (SELECT value FROM json_each(?))"
)
# The + keeps SQLite from using the index on expires_at.
_READABLE = "(m.has_ttl = 0 OR +m.expires_at > ?)"
# The length of a value is in its row's head: the pages with the payload are not read for it.
_SUBJECT_LENGTH = (
    "CASE WHEN m.subject IS NULL THEN 0 ELSE"
    " coalesce((SELECT length(t.payload) FROM messages t WHERE t.key = m.subject), 0) END"
)
_OUTLINE = f"SELECT m.key, m.audience, length(m.payload) + {_SUBJECT_LENGTH}, m.at FROM messages m"  # noqa: S608
_WITHOUT_CHANGES = "(m.subject IS NULL OR ? = 1)"
_OUTLINE_FORWARD = (
    f"{_OUTLINE} WHERE m.key > ? AND m.key <= ? AND {_READABLE} AND {_WITHOUT_CHANGES}"
    " ORDER BY m.key"
)
_OUTLINE_BACK = f"{_OUTLINE_FORWARD} DESC LIMIT ?"
_OUTLINE_FORWARD += " LIMIT ?"
_LATEST = (
    "SELECT m.key, m.type, m.audience FROM messages m"  # noqa: S608 - constants only
    f" WHERE m.key > ? AND m.key <= ? AND {_READABLE} ORDER BY m.key DESC LIMIT ?"
)
_FIRST_AT = (
    f"SELECT m.at FROM messages m WHERE m.key > ? AND m.key <= ? AND {_READABLE}"  # noqa: S608
    " ORDER BY m.key LIMIT 1"
)
_NEXT = "SELECT key, at FROM messages WHERE key > ? AND key <= ? ORDER BY key LIMIT 1"
_LATEST_BY_KEYS = (
    f"SELECT m.key, m.audience, m.payload FROM messages m WHERE {_READABLE}"  # noqa: S608
    " AND m.key IN (SELECT value FROM json_each(?))"
)
_BY_KEYS = (
    f"SELECT {KEPT_COLUMNS}, t.payload FROM messages m{_WITH_SUBJECT}"  # noqa: S608 - constants
    " WHERE m.key IN (SELECT value FROM json_each(?))"
)
_BY_IDS = (
    f" FROM messages m JOIN streams s ON s.id = m.key >> {OFFSET_BITS}"  # noqa: S608
    f" WHERE m.message_id IN (SELECT value FROM json_each(?)) AND {_READABLE} ORDER BY m.key"
)
_LOCATE = (
    f"SELECT m.key & {LAST_OFFSET}, m.message_id, m.type, m.at, m.expires_at, m.audience,"
    " s.name, s.epoch, m.origin,"
    f" CASE WHEN substr(s.name, 1, {len(INBOX)}) = '{INBOX}'"
    " THEN json_extract(CAST(m.payload AS TEXT), '$.session_id') END"
    f"{_BY_IDS}"
)
_SIZES_BY_IDS = f"SELECT m.key, m.message_id, length(m.payload){_BY_IDS}"
_FIND = (
    f"SELECT {KEPT_COLUMNS}, s.name, s.epoch, m.origin, t.payload"  # noqa: S608 - constants only
    f" FROM messages m JOIN streams s ON s.id = m.key >> {OFFSET_BITS}{_WITH_SUBJECT}"
    " WHERE m.key IN (SELECT value FROM json_each(?))"
)

SCAN_ROWS = 2000
"""Messages for other readers that one query skips at most; a microsecond each."""

DISORDER_S = 3600.0
"""By how much messages of a stream may be out of the order of their times: the clocks of servers
differ, and are set."""

Outline = tuple[int, str | None, int, float]
"""Key, audience, bytes of the payload and time of a message."""
Admits = Callable[[str | None], bool]
"""Whether a message with this audience (JSON; None: all) is for the reader. Called in a thread."""

WRITTEN_LATELY = 1000
"""Messages of a stream whose senders are read."""
_WRITERS = (
    "SELECT DISTINCT sender, json_extract(origin, '$.organization_id'),"  # noqa: S608 - constants
    " json_extract(audience, '$.organization_id'), json_extract(origin, '$.role'),"
    " CASE WHEN sender = json_extract(origin, '$.user_id') OR"
    " (sender IS NULL AND json_extract(origin, '$.user_id') IS NULL) THEN 1 ELSE 0 END"
    " FROM (SELECT sender, origin, audience FROM messages"
    " WHERE key > ? AND key <= ? AND subject IS NULL"
    f" ORDER BY key DESC LIMIT {WRITTEN_LATELY}) latest"
)


class Writer(NamedTuple):
    """A sender of messages in a stream."""

    user_id: str | None
    organization_id: str | None
    """The sender's organization at that time."""
    only_for: str | None
    """The organization that the messages were limited to."""
    role: str | None
    """Role of the publisher: the sender, or a backend in the sender's name."""
    is_publisher: int
    """0: published by another user or a backend in the sender's name."""


class Counts(NamedTuple):
    """Numbers of rows."""

    streams: int
    messages: int


def head(db: Connection, stream: str) -> Head:
    """The end of a stream; without a row it is empty and has the default epoch."""
    row = stream_row(db, stream)
    if row is None:
        return Head(default_epoch(db), 0, 1)
    return Head(row.epoch, row.last_offset, row.first_offset)


def heads(db: Connection, streams: Sequence[str]) -> dict[str, Head]:
    """The ends of streams; without a row they are empty and have the default epoch."""
    found = dict.fromkeys(streams, Head(default_epoch(db), 0, 1))
    for name, *place in db.execute(_HEADS, [db.listed(list(found))]):
        found[name] = Head(*place)
    return found


class Wanted(NamedTuple):
    """A query of a stream: the first or the last messages of a range."""

    stream: str
    after: int
    """Exclusive."""
    until: int
    """Inclusive."""
    now: float
    """Seconds since the epoch: messages whose own ttl has expired are left out."""
    limit: int
    """Messages at most."""
    budget: int
    """Bytes at most, of the pushes as they are sent. The first message may be larger, unless the
    budget is 0 or less."""
    admits: Admits | None = None
    """None: every message is for the reader."""
    is_whole: bool = False
    """Read nothing if the range does not fit into limit and budget."""
    with_changes: bool = True
    """Whether change records are read too."""
    oldest: float = 0.0
    """Read nothing if the first message was published then or earlier; seconds since the epoch."""
    since: float | None = None
    """Inclusive: only messages from this time on. The range is that of ``span``."""
    before: float | None = None
    """Exclusive."""

    @property
    def rows(self) -> int:
        """Messages that are looked at, at most."""
        return SCAN_ROWS + self.limit + 1


def read(db: Connection, wanted: Wanted) -> Slice:
    """The first messages of a range."""
    return _read(db, wanted, _OUTLINE_FORWARD, wanted.after)


def read_back(db: Connection, wanted: Wanted) -> Slice:
    """The last messages of a range."""
    return _read(db, wanted, _OUTLINE_BACK, wanted.until + 1)


def _read(db: Connection, wanted: Wanted, outline: str, start: int) -> Slice:
    row = stream_row(db, wanted.stream)
    if row is None:
        return Slice([], None)
    after, until = key_of(row.id, wanted.after), key_of(row.id, wanted.until)
    if wanted.oldest:
        first = db.execute(_FIRST_AT, [after, until, wanted.now]).fetchone()
        if first is not None and first[0] <= wanted.oldest:
            return Slice([], None, is_too_old=True)
    rows = db.execute(outline, _outline_values(wanted, after, until))
    return choose_and_read(db, rows, wanted, start, row.epoch)


def last_of_type(
    db: Connection, stream: str, type_: str, admits: Admits | None, now: float
) -> Kept | None:
    """The latest message of a type that is for the reader, among the last ``SCAN_ROWS``."""
    row = stream_row(db, stream)
    if row is None:
        return None
    keys = [key_of(row.id, 0), key_of(row.id, LAST_OFFSET)]
    for key, found, audience in db.execute(_LATEST, [*keys, now, SCAN_ROWS]):
        if found == type_ and (admits is None or admits(audience)):
            return _by_keys(db, [key])[0]
    return None


def latest_in(
    db: Connection, keys: Mapping[str, int], type_: str, admits: Admits | None, now: float
) -> dict[str, bytes]:
    """Payloads of the latest messages of a type that are for the reader, by stream.

    ``keys``: of the latest messages of that type; where one is not for the reader, or is gone, an
    earlier one is searched as by ``last_of_type``. Streams without any are left out.
    """
    found = {}
    rows = {
        key: (audience, payload)
        for key, audience, payload in db.execute(
            _LATEST_BY_KEYS, [now, db.listed(list(keys.values()))]
        ).fetchall()
    }
    for stream, key in keys.items():
        audience, payload = rows.get(key, (None, None))
        if payload is not None and (admits is None or admits(audience)):
            found[stream] = payload
        elif (kept := last_of_type(db, stream, type_, admits, now)) is not None:
            found[stream] = kept.payload
    return found


def outline_of(db: Connection, wanted: Wanted, after: int, until: int) -> Iterable[Outline]:
    """The messages between two keys in short, ascending; as many as may be looked at."""
    return db.execute(_OUTLINE_FORWARD, _outline_values(wanted, after, until))


def _outline_values(wanted: Wanted, after: int, until: int) -> list[int | float]:
    return [after, until, wanted.now, int(wanted.with_changes), wanted.rows]


def choose_and_read(
    db: Connection, outline: Iterable[Outline], wanted: Wanted, start: int, epoch: str
) -> Slice:
    """Choose messages by size and audience, then read only those.

    ``outline``: of each message, in the direction of reading; ``start``: the offset before them.
    """
    chosen, end = choose_keys(outline, wanted, start, position_bytes(wanted.stream, epoch))
    if wanted.is_whole and end.rest is not None:
        return end
    return end._replace(messages=_by_keys(db, chosen))


def choose_keys(
    outline: Iterable[Outline], wanted: Wanted, start: int, position: int
) -> tuple[list[int], Slice]:
    """The keys to be read, and a slice without messages for where they end."""
    chosen: list[int] = []
    left = wanted.budget
    is_for_all = True
    last = start
    since, before = wanted.since or 0.0, inf if wanted.before is None else wanted.before
    for number, (key, audience, size, at) in enumerate(outline):
        if len(chosen) == wanted.limit or number == SCAN_ROWS + len(chosen):
            return chosen, Slice([], last, is_for_all=is_for_all)
        is_for_all = is_for_all and audience is None
        if since <= at < before and (wanted.admits is None or wanted.admits(audience)):
            left -= size + position + len(str(key & LAST_OFFSET))
            if left < 0 and (chosen or wanted.budget <= 0 or wanted.is_whole):
                return chosen, Slice([], last, is_over=True, is_for_all=is_for_all)
            chosen.append(key)
        last = key & LAST_OFFSET
    return chosen, Slice([], None, is_for_all=is_for_all)


def span(db: Connection, stream: str, since: float | None, until: float | None) -> Span:
    """The offsets among which all messages of a time are; others may be there, too.

    Found by bisection: messages are in the order of their times but for ``DISORDER_S``.
    """
    row = stream_row(db, stream)
    if row is None:
        return Span(0, 0)
    first, last = key_of(row.id, row.first_offset - 1), key_of(row.id, row.last_offset)
    after = first if since is None else _last_before(db, first, last, since - DISORDER_S)
    end = last if until is None else _last_before(db, after, last, until + DISORDER_S)
    return Span(after & LAST_OFFSET, end & LAST_OFFSET)


def _last_before(db: Connection, low: int, high: int, time: float) -> int:
    """A key up to which messages are older than a time; above it, they are not."""
    while low < high:
        middle = (low + high) // 2
        found = db.execute(_NEXT, [middle, high]).fetchone()
        if found is None or found[1] >= time:
            high = middle
        else:
            low = found[0]
    return low


def _by_keys(db: Connection, keys: Sequence[int]) -> list[Kept]:
    """Messages by their keys, ascending."""
    rows = map(_with_newest, db.execute(_BY_KEYS, [db.listed(keys)]))
    return sorted(map(Kept._make, rows), key=_offset)


def _with_newest(row: Sequence[Any]) -> Sequence[Any]:
    """A row whose last column is the payload of the changed message, put into its record."""
    *values, subject = row
    if subject is not None:
        values[_PAYLOAD] = with_message(values[_PAYLOAD], message_in(subject))
    return values


def _offset(kept: Kept) -> int:
    return kept.offset


def locate(db: Connection, message_ids: Sequence[str], now: float) -> list[Located]:
    """The existing messages without their payloads, by stream and offset."""
    return list(map(Located._make, db.execute(_LOCATE, [db.listed(message_ids), now])))


def find(
    db: Connection, message_ids: Sequence[str], now: float, budget: int
) -> tuple[list[Found], list[str]]:
    """The existing messages by stream and offset, and the ids of those beyond the budget.

    One message is read at least, whatever its size.
    """
    chosen: list[int] = []
    left: list[str] = []
    for key, message_id, size in db.execute(_SIZES_BY_IDS, [db.listed(message_ids), now]):
        budget -= size
        if budget < 0 and chosen:
            left.append(message_id)
        else:
            chosen.append(key)
    return found_by_keys(db, chosen), left


def found_by_keys(db: Connection, keys: Sequence[int]) -> list[Found]:
    """Messages by their keys, by stream and offset."""
    rows = map(_with_newest, db.execute(_FIND, [db.listed(keys)]))
    return sorted(map(Found._make, rows), key=_place)


def found_with_keys(db: Connection, keys: Sequence[int]) -> dict[int, Found]:
    """Messages by their keys."""
    rows = db.execute(f"SELECT m.key, {_FIND.removeprefix('SELECT ')}", [db.listed(keys)])
    return {key: Found._make(_with_newest(row)) for key, *row in rows}


def _place(found: Found) -> tuple[str, int]:
    return found.stream, found.offset


def names(db: Connection, limit: int) -> tuple[str, list[str]]:
    """The default epoch, and the names of the first streams."""
    rows = db.execute("SELECT name FROM streams LIMIT ?", [limit])
    return default_epoch(db), [name for (name,) in rows]


def writers(db: Connection, streams: Sequence[str]) -> dict[str, list[Writer]]:
    """The senders in streams, each once; streams without messages are left out."""
    found = {}
    for stream in streams:
        row = stream_row(db, stream)
        if row is not None:
            values = [key_of(row.id, 0), key_of(row.id, LAST_OFFSET)]
            found[stream] = list(map(Writer._make, db.execute(_WRITERS, values)))
    return found


def count(db: Connection) -> Counts:
    """Count rows, without reading them."""
    (streams,) = db.execute("SELECT count(*) FROM streams").fetchone()
    (messages,) = db.execute("SELECT count(*) FROM messages").fetchone()
    return Counts(streams, messages)
