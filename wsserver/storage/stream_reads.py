"""Reading streams: ranges of offsets, single messages, figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import sqlite_utils

from wsserver.storage.epochs import default_epoch
from wsserver.storage.kept import (
    LAST_OFFSET,
    OFFSET_BITS,
    Found,
    Head,
    Kept,
    key_of,
    stream_row,
)

KEPT_COLUMNS = (
    f"m.key & {LAST_OFFSET}, m.message_id, m.type, m.at, m.expires_at, m.has_ttl, m.sender,"
    " m.audience, m.payload"
)
"""The columns of ``Kept``, of the table ``messages`` as ``m``."""

# The + keeps SQLite from answering out of the index on expires_at.
_READABLE = "(m.has_ttl = 0 OR +m.expires_at > ?)"
_READ = (
    f"SELECT {KEPT_COLUMNS} FROM messages m"  # noqa: S608 - constants only
    f" WHERE m.key > ? AND m.key <= ? AND {_READABLE} ORDER BY m.key LIMIT ?"
)
_READ_BACK = (
    f"SELECT {KEPT_COLUMNS} FROM messages m"  # noqa: S608 - constants only
    f" WHERE m.key > ? AND m.key <= ? AND {_READABLE} ORDER BY m.key DESC LIMIT ?"
)
_FIND = (
    f"SELECT {KEPT_COLUMNS}, s.name, s.epoch, m.origin"  # noqa: S608 - constants only
    f" FROM messages m JOIN streams s ON s.id = m.key >> {OFFSET_BITS}"
    f" WHERE m.message_id IN (SELECT value FROM json_each(?)) AND {_READABLE} ORDER BY m.key"
)

_WRITERS = (
    "SELECT DISTINCT sender, json_extract(origin, '$.organization_id'),"
    " json_extract(audience, '$.organization_id') FROM messages"
    " WHERE key > ? AND key <= ?"
)


class Writer(NamedTuple):
    """Somebody who has written messages that a stream keeps."""

    user_id: str | None
    organization_id: str | None
    """The writer's when the messages were written."""
    only_for: str | None
    """The one organization that they were for."""


class Counts(NamedTuple):
    """How much is stored."""

    streams: int
    messages: int


def head(db: sqlite_utils.Database, stream: str) -> Head:
    """The end of a stream; one without a row has the default epoch and is empty."""
    row = stream_row(db, stream)
    if row is None:
        return Head(default_epoch(db), 0, 1)
    return Head(row.epoch, row.last_offset, row.first_offset)


def read(
    db: sqlite_utils.Database, stream: str, after: int, until: int, now: float, limit: int
) -> list[Kept]:
    """The first messages with ``after < offset <= until``, ascending."""
    row = stream_row(db, stream)
    if row is None:
        return []
    values = [key_of(row.id, after), key_of(row.id, until), now, limit]
    return list(map(Kept._make, db.conn.execute(_READ, values)))


def read_back(
    db: sqlite_utils.Database, stream: str, before: int, after: int, now: float, limit: int
) -> list[Kept]:
    """The last messages with ``after < offset < before``, ascending."""
    row = stream_row(db, stream)
    if row is None:
        return []
    values = [key_of(row.id, after), key_of(row.id, before - 1), now, limit]
    newest_first = db.conn.execute(_READ_BACK, values).fetchall()
    return list(map(Kept._make, reversed(newest_first)))


def find(db: sqlite_utils.Database, message_ids: Sequence[str], now: float) -> list[Found]:
    """The messages that exist, by stream and offset."""
    ids = msgspec.json.encode(message_ids).decode()
    return list(map(Found._make, db.conn.execute(_FIND, [ids, now])))


def names(db: sqlite_utils.Database, limit: int) -> tuple[str, list[str]]:
    """The default epoch, and the names of the first streams."""
    rows = db.conn.execute("SELECT name FROM streams LIMIT ?", [limit])
    return default_epoch(db), [name for (name,) in rows]


def writers(db: sqlite_utils.Database, streams: Sequence[str]) -> dict[str, list[Writer]]:
    """The senders of what streams keep, each once; streams without messages are left out."""
    found = {}
    for stream in streams:
        row = stream_row(db, stream)
        if row is not None:
            values = [key_of(row.id, 0), key_of(row.id, LAST_OFFSET)]
            found[stream] = list(map(Writer._make, db.conn.execute(_WRITERS, values)))
    return found


def count(db: sqlite_utils.Database) -> Counts:
    """Count rows, without reading them."""
    (streams,) = db.conn.execute("SELECT count(*) FROM streams").fetchone()
    (messages,) = db.conn.execute("SELECT count(*) FROM messages").fetchone()
    return Counts(streams, messages)
