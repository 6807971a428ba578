"""Read positions: how far each user of a session has read, and what is unread to them.

Unread are the ``new_message`` of others after a position that are not deleted. A user's own message
moves the position to it, so all that follow are by others, and two numbers are enough: what a
stream has of counted messages, and how many of them a user has behind (``seen``). Messages with an
audience are not counted by everybody alike; they are looked at one by one, where there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from wsserver.storage.engine.connection import Connection
from wsserver.storage.messages.message_rows import (
    LAST_OFFSET,
    OFFSET_BITS,
    SESSION,
    key_of,
)
from wsserver.storage.messages.upserts import upsert

NEW_MESSAGE = "new_message"
COUNTED_ROWS = 5000
"""Messages that are counted row by row; of more, those that a ``ttl_s`` has ended count as well."""
# As in the index ``messages_uncounted``, word for word: otherwise it would not be used.
_IS_UNCOUNTED = "(type <> 'new_message' OR deleted_at IS NOT NULL OR audience IS NOT NULL)"
_COUNT = "SELECT count(*) FROM messages WHERE key > ? AND key <= ?"
_COUNT_UNCOUNTED = f"SELECT count(*) FROM messages WHERE {_IS_UNCOUNTED} AND key > ? AND key <= ?"  # noqa: S608
_SELECT_LIMITED = (
    f"SELECT key & {LAST_OFFSET}, audience FROM messages WHERE {_IS_UNCOUNTED}"  # noqa: S608
    " AND key > ? AND key <= ? AND type = 'new_message' AND deleted_at IS NULL"
    " AND audience IS NOT NULL"
)
_SELECT_ENDS = (
    "SELECT name, id, last_offset, first_offset, uncounted FROM streams"
    " WHERE name IN (SELECT value FROM json_each(?))"
)
_SELECT_HELD = (
    "SELECT p.read_at, s.id, p.read_offset, s.last_offset FROM participants p"
    " LEFT JOIN streams s ON s.name = 'session:' || p.session_id"
    " WHERE p.user_id = ? AND p.session_id = ?"
)
_SELECT_COUNTED = (
    f"SELECT key & {LAST_OFFSET}, message_id, sender, at, audience FROM messages"  # noqa: S608
    " WHERE key > ? AND key <= ? AND type = 'new_message' AND deleted_at IS NULL ORDER BY key"
)
_COLUMNS = "user_id, session_id, start_offset, read_offset, seen, read_at"
_MOVE = (
    " ON CONFLICT (user_id, session_id) DO UPDATE SET read_offset = excluded.read_offset,"
    " seen = excluded.seen, read_at = excluded.read_at"
)
_IS_FORWARD = " WHERE excluded.read_offset > participants.read_offset"
_WRITE = f"{_MOVE}, has_written = 1{_IS_FORWARD}"
_MARK = f"{_MOVE}{_IS_FORWARD} RETURNING user_id, session_id"
_JOIN = (
    " ON CONFLICT (user_id, session_id) DO UPDATE SET has_joined = 1"
    " WHERE participants.has_joined = 0"
)
_ADD = (
    " ON CONFLICT (user_id, session_id) DO UPDATE SET is_member = 1,"
    # Who had no access in between begins at the end again.
    " start_offset = CASE WHEN participants.has_joined = 0 THEN excluded.start_offset"
    " ELSE participants.start_offset END,"
    " read_offset = CASE WHEN participants.has_joined = 0 THEN excluded.read_offset"
    " ELSE participants.read_offset END,"
    " seen = CASE WHEN participants.has_joined = 0 THEN excluded.seen ELSE participants.seen END"
    " WHERE participants.is_member = 0"
)
_LEAVE = "UPDATE participants SET is_member = 0 WHERE user_id = ? AND session_id = ?"
_DELETE_FORMER = (
    "DELETE FROM participants WHERE user_id = ? AND session_id = ?"
    " AND is_member = 0 AND has_joined = 0 AND has_written = 0"
)
_SELECT_OF_ALL = (
    "SELECT key FROM messages WHERE audience IS NULL AND key IN (SELECT value FROM json_each(?))"
)
_SELECT_POSITIONS = "SELECT user_id, read_offset FROM participants WHERE session_id = ?"
_SELECT_UNREAD = (
    "SELECT p.user_id, p.session_id, p.read_offset, s.last_offset - s.uncounted - p.seen,"
    " p.is_member, p.has_joined, p.has_written, s.limited_offset, s.id, s.last_offset"
)
_UNREAD_IN = (
    f"{_SELECT_UNREAD} FROM streams s"  # noqa: S608 - constants only
    " JOIN participants p ON p.session_id = substr(s.name, 9)"
    " WHERE s.name IN (SELECT value FROM json_each(?))"
)
_UNREAD_OF = (
    f"{_SELECT_UNREAD} FROM participants p"
    " JOIN streams s ON s.name = 'session:' || p.session_id"
    " WHERE p.user_id = ?"
)
# Conversations are looked up only for what of them is wanted: users may have thousands of sessions.
_CREATED_AT = "(SELECT c.created_at FROM conversations c WHERE c.session_id = p.session_id)"
_STATE = "coalesce((SELECT c.state FROM conversations c WHERE c.session_id = p.session_id), 'open')"
_SESSIONS_OF = (
    "SELECT p.session_id, p.read_offset,"  # noqa: S608 - constants only
    " coalesce(s.last_offset - s.uncounted - p.seen, 0), p.is_member, p.has_joined, p.has_written,"
    " {state},"
    f" CASE WHEN s.message_offset > 0 THEN s.message_at ELSE coalesce({_CREATED_AT}, 0.0) END,"
    f" CASE WHEN s.message_offset > 0 THEN s.id << {OFFSET_BITS} | s.message_offset ELSE 0 END,"
    " coalesce(s.last_offset, 0), coalesce(s.limited_offset, 0), s.id"
    " FROM participants p LEFT JOIN streams s ON s.name = 'session:' || p.session_id"
    " WHERE p.user_id = ?"
)
_SESSIONS_WITH_STATES_OF = _SESSIONS_OF.format(state=_STATE)
_SESSIONS_OF = _SESSIONS_OF.format(state="NULL")


class Move(NamedTuple):
    """A user's position in a session: everything up to ``offset`` is read."""

    user_id: str
    session_id: str
    offset: int
    at: float
    """Seconds since the epoch."""


class Moved(NamedTuple):
    """A position that was moved."""

    user_id: str
    session_id: str
    offset: int


class Unread(NamedTuple):
    """What is unread to a user in a session."""

    user_id: str
    session_id: str
    read_offset: int
    unread: int
    is_member: int
    has_joined: int
    """1: has entered it by a claim of a token."""
    has_written: int


class UserSession(NamedTuple):
    """A session of a user, for the list of conversations."""

    session_id: str
    read_offset: int
    unread: int
    is_member: int
    has_joined: int
    has_written: int
    state: str | None
    """None: it was not asked for."""
    active_at: float
    """Time of the latest message, else of the beginning; seconds since the epoch."""
    message_key: int
    """Of the latest message; 0: there was none."""
    offset: int
    """End of the stream."""


class CountedMessage(NamedTuple):
    """A message that is unread to a user."""

    offset: int
    message_id: str
    sender: str | None
    at: float
    """Seconds since the epoch."""


class UnreadReason(NamedTuple):
    """Why a session has unread messages: the position, and those that are still stored."""

    read_at: float
    """When the position was moved last; seconds since the epoch."""
    messages: list[CountedMessage]


class Reader(NamedTuple):
    """The user that an audience admits or not."""

    user_id: str
    organization_id: str | None
    role: str


Admits = Callable[[str, Reader], bool]
"""Whether a message with this audience (JSON) is for a user. Called in a thread."""


class _End(NamedTuple):
    """A stream, and what of it is not counted."""

    id: int
    last_offset: int
    first_offset: int
    uncounted: int


_EMPTY = _End(0, 0, 1, 0)


# Writing, in the transactions of what moves positions


def wrote(db: Connection, moves: Iterable[tuple[str, str, int, int, float]]) -> None:
    """Positions moved by own messages: user, session, offset, ``seen``, time; one of each pair."""
    rows = sorted(
        (user_id, session_id, offset, offset, seen, at, 1)
        for user_id, session_id, offset, seen, at in moves
    )
    upsert(db, "participants", f"{_COLUMNS}, has_written", _WRITE, rows)


def mark(db: Connection, moves: Sequence[Move]) -> list[Moved]:
    """Move positions forward, at most to the ends of the streams; returns those that were moved."""
    furthest: dict[tuple[str, str], Move] = {}
    for move in moves:
        pair = move.user_id, move.session_id
        known = furthest.get(pair)
        if known is None or move.offset > known.offset:
            furthest[pair] = move
    ends = _ends(db, {move.session_id for move in moves})
    rows = {}
    for pair in sorted(furthest):
        move = furthest[pair]
        end = ends[move.session_id]
        offset = min(move.offset, end.last_offset)
        rows[pair] = (*pair, 0, offset, _seen(db, end, offset), move.at)
    moved = upsert(db, "participants", _COLUMNS, _MARK, list(rows.values()))
    return [
        Moved(user_id, session_id, rows[user_id, session_id][3]) for user_id, session_id in moved
    ]


def join(db: Connection, moves: Sequence[Move]) -> None:
    """Users who have entered sessions by a claim: new ones begin at ``offset``."""
    ends = _ends(db, {move.session_id for move in moves})
    rows = {}
    for user_id, session_id, offset, at in moves:
        end = ends[session_id]
        offset = min(offset, end.last_offset)
        seen = _seen(db, end, offset)
        rows[user_id, session_id] = (user_id, session_id, offset, offset, seen, at, 1)
    upsert(
        db, "participants", f"{_COLUMNS}, has_joined", _JOIN, [rows[pair] for pair in sorted(rows)]
    )


def change_members(
    db: Connection, session_id: str, added: Iterable[str], removed: Iterable[str], at: float
) -> None:
    """New members begin at the end; of former ones only those stay who have joined or written."""
    end = _ends(db, {session_id})[session_id]
    place = (end.last_offset, end.last_offset, end.last_offset - end.uncounted, at, 1)
    rows = [(user_id, session_id, *place) for user_id in sorted(added)]
    upsert(db, "participants", f"{_COLUMNS}, is_member", _ADD, rows)
    former = [(user_id, session_id) for user_id in removed]
    db.executemany(_LEAVE, former)
    db.executemany(_DELETE_FORMER, former)


def uncount(db: Connection, keys: Sequence[int]) -> None:
    """Messages that were counted were deleted: they are no longer unread to anybody."""
    for (key,) in db.execute(_SELECT_OF_ALL, [db.listed(keys)]).fetchall():
        stream_id, offset = key >> OFFSET_BITS, key & LAST_OFFSET
        (name,) = db.execute("SELECT name FROM streams WHERE id = ?", [stream_id]).fetchone()
        if name.startswith(SESSION):
            db.execute("UPDATE streams SET uncounted = uncounted + 1 WHERE id = ?", [stream_id])
            db.execute(
                "UPDATE participants SET seen = seen - 1 WHERE session_id = ? AND read_offset >= ?",
                [name.removeprefix(SESSION), offset],
            )


def begin_anew(db: Connection, names: Iterable[str]) -> None:
    """Streams were deleted: what follows in them begins at offset 1."""
    db.executemany(
        "UPDATE participants SET start_offset = 0, read_offset = 0, seen = 0 WHERE session_id = ?",
        [(name.removeprefix(SESSION),) for name in names if name.startswith(SESSION)],
    )


# Reading


def positions(db: Connection, session_id: str) -> dict[str, int]:
    """The positions of the users of a session."""
    return dict(db.execute(_SELECT_POSITIONS, [session_id]).fetchall())


def unread_in(db: Connection, session_ids: Iterable[str], admits: Admits) -> list[Unread]:
    """What is unread in sessions, to all of their users."""
    names = db.listed([SESSION + session_id for session_id in session_ids])
    return _unread(db, db.execute(_UNREAD_IN, [names]).fetchall(), admits)


def unread_of(db: Connection, user_id: str, admits: Admits) -> list[Unread]:
    """What is unread to a user, in all sessions with messages."""
    return _unread(db, db.execute(_UNREAD_OF, [user_id]).fetchall(), admits)


def sessions_of(
    db: Connection, user_id: str, admits: Admits, *, with_state: bool
) -> list[UserSession]:
    """The sessions of a user, in no order."""
    select = _SESSIONS_WITH_STATES_OF if with_state else _SESSIONS_OF
    rows = db.execute(select, [user_id]).fetchall()
    found = [UserSession(*row[:10]) for row in rows]
    limited = [index for index, row in enumerate(rows) if row[10] > row[1]]
    wanted = [(user_id, rows[i][11], rows[i][1], rows[i][9]) for i in limited]
    for index, count in zip(limited, limited_unread(db, wanted, admits), strict=True):
        found[index] = found[index]._replace(unread=found[index].unread + count)
    return found


def unread_messages(
    db: Connection, user_id: str, session_id: str, limit: int, admits: Admits
) -> UnreadReason | None:
    """The first messages that are unread to a user in a session; None: it is not the user's."""
    row = db.execute(_SELECT_HELD, [user_id, session_id]).fetchone()
    if row is None:
        return None
    read_at, stream_id, read_offset, last_offset = row
    counted: list[CountedMessage] = []
    if stream_id is None:
        return UnreadReason(read_at, counted)
    reader = _readers(db, {user_id})[user_id]
    keys = [key_of(stream_id, read_offset), key_of(stream_id, last_offset)]
    for offset, message_id, sender, at, audience in db.execute(_SELECT_COUNTED, keys):
        if audience is None or admits(audience, reader):
            counted.append(CountedMessage(offset, message_id, sender, at))
            if len(counted) == limit:
                break
    return UnreadReason(read_at, counted)


def limited_unread(
    db: Connection, wanted: Iterable[tuple[str, int, int, int]], admits: Admits
) -> list[int]:
    """How many messages with an audience are unread: user, stream's id, position, end."""
    wanted = list(wanted)
    readers = _readers(db, {user_id for user_id, *_ in wanted}) if wanted else {}
    counts = []
    for user_id, stream_id, offset, end in wanted:
        keys = [key_of(stream_id, offset), key_of(stream_id, end)]
        found = db.execute(_SELECT_LIMITED, keys).fetchall()
        counts.append(sum(admits(audience, readers[user_id]) for _, audience in found))
    return counts


def _unread(db: Connection, rows: Sequence[Any], admits: Admits) -> list[Unread]:
    found = [Unread(*row[:7]) for row in rows]
    limited = [
        (index, (row[0], row[8], row[2], row[9]))
        for index, row in enumerate(rows)
        if row[7] > row[2]
    ]
    counts = limited_unread(db, [wanted for _, wanted in limited], admits)
    for (index, _), count in zip(limited, counts, strict=True):
        found[index] = found[index]._replace(unread=found[index].unread + count)
    return found


def _readers(db: Connection, user_ids: Iterable[str]) -> dict[str, Reader]:
    """Organization and role of users: those of the latest token, unless assigned otherwise."""
    ids = db.listed(sorted(user_ids))
    readers = {user_id: Reader(user_id, None, "user") for user_id in user_ids}
    for user_id, organization_id, role in db.execute(
        "SELECT user_id, organization_id, role FROM known_users"
        " WHERE user_id IN (SELECT value FROM json_each(?))",
        [ids],
    ).fetchall():
        readers[user_id] = Reader(user_id, organization_id, role)
    for user_id, organization_id in db.execute(
        "SELECT user_id, organization_id FROM user_organizations"
        " WHERE user_id IN (SELECT value FROM json_each(?))",
        [ids],
    ).fetchall():
        readers[user_id] = readers[user_id]._replace(organization_id=organization_id)
    return readers


def _ends(db: Connection, session_ids: Iterable[str]) -> dict[str, _End]:
    ends = dict.fromkeys(session_ids, _EMPTY)
    names = db.listed([SESSION + session_id for session_id in ends])
    for name, *end in db.execute(_SELECT_ENDS, [names]).fetchall():
        ends[name.removeprefix(SESSION)] = _End(*end)
    return ends


def _seen(db: Connection, end: _End, offset: int) -> int:
    """Counted messages that a user has behind at an offset; what has expired is behind, too."""
    counted = end.last_offset - end.uncounted
    low = max(offset, end.first_offset - 1)
    ahead = end.last_offset - low
    if ahead <= 0:
        return counted
    keys = [key_of(end.id, low), key_of(end.id, end.last_offset)]
    if ahead <= COUNTED_ROWS:  # some may have expired before their time, or with another one
        (ahead,) = db.execute(_COUNT, keys).fetchone()
    (others,) = db.execute(_COUNT_UNCOUNTED, keys).fetchone()
    return counted - max(0, ahead - int(others))
