"""``MessageExports``: the archived messages of sessions, one session after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import inf
from typing import Any, NamedTuple

import msgspec

from wsserver.paging import PAGE_BYTES
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.messages import stream_reads
from wsserver.storage.messages.message_rows import (
    LAST_OFFSET,
    OFFSET_BITS,
    SESSION,
    key_of,
    stream_row,
)
from wsserver.storage.messages.stream_reads import Admits

SCAN_ROWS = 5000
"""Messages that one query looks at."""

_SESSIONS = (
    "SELECT id, name FROM streams"  # noqa: S608 - constants only
    f" WHERE id >= ? AND substr(name, 1, {len(SESSION)}) = '{SESSION}' AND touched_at >= ?"
    " ORDER BY id LIMIT ?"
)
_OUTLINE = (
    "SELECT key, audience, length(payload), at, sender FROM messages"
    " WHERE key > ? AND key <= ? AND subject IS NULL"
    # The + keeps SQLite from using the index on expires_at.
    " AND +expires_at > ? ORDER BY key LIMIT ?"
)
_ROWS = (
    "SELECT key, message_id, type, at, sender, payload FROM messages"
    " WHERE key IN (SELECT value FROM json_each(?)) ORDER BY key"
)

Row = dict[str, Any]


class SessionStream(NamedTuple):
    """A session whose messages are kept."""

    id: int
    """Of its stream; sessions are exported in the order of these."""
    session_id: str

    @property
    def end(self) -> int:
        """The position after its last message."""
        return key_of(self.id, LAST_OFFSET)


class Selection(NamedTuple):
    """The messages that are exported; None: all."""

    since: float | None = None
    """Inclusive, like ``until`` in seconds since the epoch."""
    until: float | None = None
    """Exclusive."""
    sender: str | None = None
    """User id."""
    admits: Admits | None = None
    """Whether a message with this audience is for the reader."""


class Part(NamedTuple):
    """Some messages, and the position to continue from; None: there are no more."""

    rows: list[Row]
    position: int | None


class MessageExports:
    """Reads messages in their newest version, without change records and without what is deleted.

    A position is the key of a message. All methods raise ``StorageUnavailable``; the work of each
    is bounded, whatever is stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sessions(self, after: int, since: float | None, limit: int) -> list[SessionStream]:
        """The session at a position, and those that follow it.

        ``since``: only with a message from that time on.
        """
        values = [after >> OFFSET_BITS, since or 0.0, limit]

        def read(db: Connection) -> list[SessionStream]:
            found = db.execute(_SESSIONS, values)
            return [SessionStream(id_, name.removeprefix(SESSION)) for id_, name in found]

        return await self._database.read(read)

    async def session(self, session_id: str) -> list[SessionStream]:
        """One session; empty if nothing of it is kept."""

        def read(db: Connection) -> list[SessionStream]:
            row = stream_row(db, SESSION + session_id)
            return [] if row is None else [SessionStream(row.id, session_id)]

        return await self._database.read(read)

    async def read(
        self,
        sessions: Sequence[SessionStream],
        selection: Selection,
        after: int,
        now: float,
        limit: int,
    ) -> Part:
        """The first messages after a position: up to ``limit``, ``PAGE_BYTES`` and ``SCAN_ROWS``.

        May be empty although there are more. ``now``: what has expired by then is left out.
        """
        return await self._database.read(
            partial(
                _read, sessions=sessions, selection=selection, after=after, now=now, limit=limit
            )
        )


def _read(
    db: Connection,
    sessions: Sequence[SessionStream],
    selection: Selection,
    after: int,
    now: float,
    limit: int,
) -> Part:
    since = selection.since or 0.0
    until = inf if selection.until is None else selection.until
    chosen: dict[int, str] = {}
    budget = PAGE_BYTES
    position: int | None = None
    outline = _outline(db, sessions, selection, after, now)
    for number, (session_id, key, audience, size, at, sender) in enumerate(outline):
        if number == SCAN_ROWS:
            return Part(_rows(db, chosen), position)
        if (
            since <= at < until
            and selection.sender in (None, sender)
            and (selection.admits is None or selection.admits(audience))
        ):
            budget -= size
            if chosen and (budget < 0 or len(chosen) == limit):
                return Part(_rows(db, chosen), position)
            chosen[key] = session_id
        position = key
    return Part(_rows(db, chosen), None)


def _outline(
    db: Connection,
    sessions: Sequence[SessionStream],
    selection: Selection,
    after: int,
    now: float,
) -> Iterator[tuple[str, int, str | None, int, float, str | None]]:
    """Session, key, audience, bytes, time and sender of messages; without their payloads."""
    left = SCAN_ROWS + 1
    for stream in sessions:
        span = stream_reads.span(db, SESSION + stream.session_id, selection.since, selection.until)
        first = max(after, key_of(stream.id, span.after))
        values = [first, key_of(stream.id, span.until), now, left]
        for row in db.execute(_OUTLINE, values):
            left -= 1
            yield stream.session_id, *row
        if left <= 0:
            return


def _rows(db: Connection, chosen: dict[int, str]) -> list[Row]:
    found = db.execute(_ROWS, [db.listed(list(chosen))])
    return [_row(chosen[key], key, *values) for key, *values in found]


def _row(
    session_id: str,
    key: int,
    message_id: str,
    type_: str,
    at: float,
    sender: str | None,
    payload: bytes,
) -> Row:
    """A message with what chat messages have in it; of another push, with its other members."""
    push: dict[str, Any] = msgspec.json.decode(payload)
    said = push.get("message")
    if type_ == "new_message" and isinstance(said, dict):
        user = said.get("sender") or {}
        content = said.get("content")
    else:
        said, user = {}, {"user_id": sender}
        members = ("type", "id", "timestamp", "session_id")
        rest = {name: value for name, value in push.items() if name not in members}
        content = push["data"] if rest.keys() == {"data"} else rest
    return {
        "message_id": message_id,
        "session_id": session_id,
        "offset": key & LAST_OFFSET,
        "created_at": at,
        "type": type_,
        "user_id": user.get("user_id"),
        "username": user.get("username"),
        "role": user.get("role"),
        "content_type": said.get("content_type"),
        "content": content,
        "reply_to": said.get("reply_to"),
        "state": said.get("state"),
        "edited_at": said.get("edited_at"),
        "edited_by": said.get("edited_by"),
        "deleted": bool(said.get("deleted")),
    }
