"""A session as it was at a time: from the log of its changes, its messages and read positions."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.conversations import find
from wsserver.storage.messages.message_rows import LAST_OFFSET, SESSION, key_of, stream_row
from wsserver.storage.messages.stream_reads import span

STARTED = "started"
"""Field of the row that a server writes at its start, for no session: all had left by then."""
LATEST_CHANGES = 20
_LOOKED_AT = 2000
"""Messages before the time that are searched for what users have written and read."""

_SELECT_CHANGES = (
    "SELECT at, changed_by, field, value FROM conversation_changes"
    " WHERE session_id = ? AND field <> 'joined' AND field <> 'left' ORDER BY id"
)
_SELECT_PRESENT = (
    "SELECT c.value, c.at FROM conversation_changes c JOIN ("
    "SELECT max(id) AS id FROM conversation_changes"
    " WHERE session_id = ? AND at <= ? AND (field = 'joined' OR field = 'left') GROUP BY value"
    ") latest ON latest.id = c.id WHERE c.field = 'joined' ORDER BY c.at, c.id"
)
_SELECT_GOING = (
    "SELECT value, min(at) FROM conversation_changes"
    " WHERE session_id = ? AND at > ? AND field = 'left' GROUP BY value"
)
_SELECT_START = (
    "SELECT max(at) FROM conversation_changes WHERE session_id = '' AND field = 'started'"
    " AND at {} ?"
)
_SELECT_END = "SELECT max(key) FROM messages WHERE key > ? AND key <= ? AND at <= ?"
_SELECT_WRITTEN = (
    "SELECT sender, max(key) FROM messages WHERE key > ? AND key <= ? AND type = 'new_message'"
    " AND sender IS NOT NULL GROUP BY sender"
)
_SELECT_READ = (
    "SELECT user_id, max(key) FROM receipts WHERE key > ? AND key <= ? AND read_at <= ?"
    " GROUP BY user_id"
)
_SELECT_POSITIONS = (
    "SELECT user_id, start_offset, read_offset, read_at FROM participants WHERE session_id = ?"
    " ORDER BY user_id"
)


class PastChange(NamedTuple):
    """An entry of the log."""

    at: float
    by: str
    field: str
    value: Any


class PastPosition(NamedTuple):
    """How far a user had read, at least; ``is_exact``: just so far."""

    user_id: str
    read_offset: int
    is_exact: bool


class PastVisit(NamedTuple):
    """A user who was in the session; ``until`` None: still is, or it is not known."""

    user_id: str
    since: float
    until: float | None


class Past(NamedTuple):
    """A session at a time."""

    fields: dict[str, Any]
    """``title``, ``state``, ``metadata``, ``organization_id``, ``holder``, ``term``."""
    offset: int
    """End of the stream."""
    members: list[str]
    positions: list[PastPosition]
    present: list[PastVisit]
    changes: list[PastChange]
    """The latest before the time."""


class PastSessions:
    """Reads sessions as they were, as long as the log of changes goes back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, session_id: str, at: float, members: Iterable[str]) -> Past | None:
        """A session at a time; ``members``: those of now. None: it did not exist yet.

        Raises ``StorageUnavailable``.
        """
        read = partial(_read, session_id=session_id, at=at, members=list(members))
        return await self._database.read(read)


def _read(db: Connection, session_id: str, at: float, members: Iterable[str]) -> Past | None:
    now = find(db, [session_id]).get(session_id)
    if now is None or now.created_at is None or now.created_at > at:
        return None
    changes = [
        PastChange(at_, by, field, msgspec.json.decode(value))
        for at_, by, field, value in db.execute(_SELECT_CHANGES, [session_id]).fetchall()
    ]
    before = [change for change in changes if change.at <= at]
    after = [change for change in changes if change.at > at]
    fields: dict[str, Any] = {
        "title": None,
        "state": "open",
        "metadata": {},
        "organization_id": None,
        "holder": None if now.holder is None else now.holder.view(),
        "term": now.term,
    }
    holders = [change.value for change in after if change.field == "holder"]
    if holders:
        fields |= {"holder": holders[0].get("former"), "term": holders[0]["term"] - 1}
    for change in before:
        if change.field == "holder":
            fields |= {"holder": change.value["holder"], "term": change.value["term"]}
        elif change.field != "members":
            fields[change.field] = change.value
    then = _members(members, after)
    offset, positions = _positions(db, session_id, at, then)
    return Past(
        fields,
        offset,
        then,
        positions,
        _present(db, session_id, at),
        before[-LATEST_CHANGES:],
    )


def _members(now: Iterable[str], after: Iterable[PastChange]) -> list[str]:
    """The member list before some changes, from that of now."""
    members = set(now)
    for change in reversed([each for each in after if each.field == "members"]):
        members -= set(change.value["added"])
        members |= set(change.value["removed"])
    return sorted(members)


def _present(db: Connection, session_id: str, at: float) -> list[PastVisit]:
    """Who was in the session, by when they came."""
    (started,) = db.execute(_SELECT_START.format("<="), [at]).fetchone()
    (restarted,) = db.execute(
        _SELECT_START.format(">").replace("max(at)", "min(at)"), [at]
    ).fetchone()
    going = dict(db.execute(_SELECT_GOING, [session_id, at]).fetchall())
    visits = []
    for value, since in db.execute(_SELECT_PRESENT, [session_id, at]).fetchall():
        if started is None or since >= started:
            ends = [each for each in (going.get(value), restarted) if each is not None]
            visits.append(PastVisit(msgspec.json.decode(value), since, min(ends, default=None)))
    return visits


def _positions(
    db: Connection, session_id: str, at: float, members: Collection[str]
) -> tuple[int, list[PastPosition]]:
    """The end of the stream, and how far each user had read at least.

    Without those who seem to have come later.
    """
    name = SESSION + session_id
    row = stream_row(db, name)
    rows = db.execute(_SELECT_POSITIONS, [session_id]).fetchall()
    if row is None:
        return 0, [PastPosition(user_id, 0, True) for user_id, *_ in rows]
    until = span(db, name, None, at).until
    keys = [key_of(row.id, until - _LOOKED_AT), key_of(row.id, until)]
    (last,) = db.execute(_SELECT_END, [*keys, at]).fetchone()
    offset = 0 if last is None else last & LAST_OFFSET
    keys[1] = key_of(row.id, offset)
    furthest: dict[str, int] = {}
    found = db.execute(_SELECT_WRITTEN, keys).fetchall()
    found += db.execute(_SELECT_READ, [*keys, at]).fetchall()
    for user_id, key in found:
        furthest[user_id] = max(furthest.get(user_id, 0), key & LAST_OFFSET)
    positions = []
    for user_id, start, read_offset, read_at in rows:
        if read_at <= at:
            positions.append(PastPosition(user_id, read_offset, True))
        elif start < offset or user_id in members or user_id in furthest:
            least = max(min(start, offset), furthest.get(user_id, 0))
            positions.append(PastPosition(user_id, min(least, read_offset), False))
    return offset, positions
