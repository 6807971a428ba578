"""``UserErasure``: removes a user from the tables besides ``messages``, in small batches.

``user_messages`` is for the messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec.json import decode, encode

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.maintenance.user_data import parts, watched
from wsserver.storage.maintenance.user_tables import UserTable, erase_rows
from wsserver.storage.messages import participants
from wsserver.storage.tables.access_lists import number_erasure

BATCH_ROWS = 100
"""Rows that are changed in one transaction."""
DELIVERIES_AT_ONCE = 20
"""Each may be of a notification that names 50,000 recipients."""

_OF_KEYS = "IN (SELECT value FROM json_each(?))"
_FEW_ROWS = (
    "contacts",
    "known_users",
    "away_marks",
    "console_sessions",
    "notification_preferences",
)
"""Tables with at most a few rows of a user each."""
_DELETE_MARKS = (
    "DELETE FROM quota_marks"
    " WHERE scope = :own"
    " OR substr(scope, 1, length(CAST(:within AS TEXT))) = CAST(:within AS TEXT)"
)
_DELETE_EMPTY = (
    f"DELETE FROM notifications WHERE id {_OF_KEYS}"  # noqa: S608 - constants only
    " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notification = notifications.id)"
)
_SELECT_RECEIPTS = "SELECT key FROM receipts WHERE key > ? AND key <= ? AND user_id = ?"
_SELECT_CURSORS = (
    "SELECT stream_id FROM cursors WHERE stream_id > ? AND stream_id <= ? AND user_id = ?"
)
_SELECT_VISITS = (
    "SELECT id FROM conversation_changes WHERE id > ? AND id <= ? AND changed_by = ?"
    " AND (field = 'joined' OR field = 'left')"
)
_SELECT_BY_SENDER = "SELECT id FROM notifications WHERE id > ? AND id <= ? AND sender = ?"


class UserErasure:
    """Erases the rows of a user; raises ``StorageUnavailable``, ``StorageFull``.

    Each job is bounded, so that others get their turns in between. An erasure that is cut short
    continues when it is called again. ``tables``: those of extensions.
    """

    def __init__(self, database: Database, tables: Sequence[UserTable] = ()) -> None:
        self._database = database
        self._tables = tables

    async def erase(self, user_id: str, now: float) -> Counter[str]:
        """Delete the rows of a user, and remove their id from rows about others.

        Returns the numbers of rows by table. What others rely on stays: the audit trail,
        revocations, assignments to organizations and memberships in sessions. ``now``: seconds
        since the epoch.
        """
        # While the sessions of the user are known, which conditions may refer to.
        erased = await erase_rows(self._database, self._tables, user_id)
        erased["participants"] = await self._erase_positions(user_id, now)
        erased["receipts"] = await self._change_found(
            "receipts",
            "key",
            user_id,
            _SELECT_RECEIPTS,
            f"DELETE FROM receipts WHERE user_id = ? AND key {_OF_KEYS}",  # noqa: S608
        )
        erased["cursors"] = await self._change_found(
            "cursors",
            "stream_id",
            user_id,
            _SELECT_CURSORS,
            f"DELETE FROM cursors WHERE user_id = ? AND stream_id {_OF_KEYS}",  # noqa: S608
        )
        erased["conversation_changes"] = await self._change_found(
            "conversation_changes",
            "id",
            user_id,
            _SELECT_VISITS,
            f"DELETE FROM conversation_changes WHERE changed_by = ? AND id {_OF_KEYS}",  # noqa: S608
        )
        erased.update({"deliveries": 0, "attempts": 0})
        while batch := await self._database.run(partial(_erase_deliveries, user_id=user_id)):
            erased.update(batch)
        erased["notifications"] += await self._change_found(
            "notifications",
            "id",
            user_id,
            _SELECT_BY_SENDER,
            f"UPDATE notifications SET sender = NULL WHERE sender = ? AND id {_OF_KEYS}",  # noqa: S608
        )
        erased["answers"] = await self._erase_watches(user_id)
        erased.update(await self._database.run(partial(_erase_few, user_id=user_id)))
        return erased

    async def note(self, user_id: str) -> int:
        """Number a finished erasure, for servers that have not heard of it; returns the number."""
        return await self._database.run(partial(number_erasure, user_id=user_id))

    async def _erase_positions(self, user_id: str, now: float) -> int:
        erased = 0
        after: str | None = ""
        while after is not None:
            job = partial(_erase_positions, user_id=user_id, after=after, now=now)
            count, after = await self._database.run(job)
            erased += count
        return erased

    async def _change_found(
        self, table: str, column: str, user_id: str, select: str, change: str
    ) -> int:
        """Find rows of the user part by part, and change them in batches; returns their number."""
        changed = 0
        async for part in parts(self._database, table, column):
            values = [*part, user_id]
            keys = await self._database.read(partial(_keys, sql=select, values=values))
            for batch in _batches(keys):
                job = partial(_change, sql=change, user_id=user_id, keys=batch)
                changed += await self._database.run(job)
        return changed

    async def _erase_watches(self, user_id: str) -> int:
        erased = 0
        async for found in watched(self._database, user_id):
            for batch in _batches(found):
                rows = [
                    (encode([watch for watch in watches if watch[0] != user_id]).decode(), id_)
                    for id_, watches in batch
                ]
                await self._database.run(partial(_store_watchers, rows=rows))
                erased += len(rows)
        return erased


def _batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[first : first + BATCH_ROWS] for first in range(0, len(items), BATCH_ROWS)]


def _keys(db: Connection, sql: str, values: Sequence[Any]) -> list[int]:
    return [key for (key,) in db.execute(sql, values)]


def _change(db: Connection, sql: str, user_id: str, keys: Sequence[int]) -> int:
    db.overwrite_deleted()
    return db.execute(sql, [user_id, db.listed(keys)]).rowcount


def _store_watchers(db: Connection, rows: Sequence[tuple[str, str]]) -> None:
    db.executemany("UPDATE answers SET watchers = ? WHERE message_id = ?", rows)


def _erase_few(db: Connection, user_id: str) -> dict[str, int]:
    """Delete from the tables that have few rows of a user."""
    db.overwrite_deleted()
    erased = {}
    for table in _FEW_ROWS:
        sql = f"DELETE FROM {table} WHERE user_id = ?"  # noqa: S608 - constants only
        erased[table] = db.execute(sql, [user_id]).rowcount
    marks = {"own": f"user:{user_id}", "within": f"user:{user_id} of organization:"}
    return {**erased, "quota_marks": db.execute(_DELETE_MARKS, marks).rowcount}


def _erase_positions(
    db: Connection, user_id: str, after: str, now: float
) -> tuple[int, str | None]:
    """Delete a batch of read positions; a member's is at the end then, as a new member's."""
    found = db.execute(
        "SELECT session_id, is_member FROM participants WHERE user_id = ? AND session_id > ?"
        " ORDER BY session_id LIMIT ?",
        [user_id, after, BATCH_ROWS],
    ).fetchall()
    sessions = [session_id for session_id, _ in found]
    db.execute(
        f"DELETE FROM participants WHERE user_id = ? AND session_id {_OF_KEYS}",  # noqa: S608
        [user_id, db.listed(sessions)],
    )
    for session_id, is_member in found:
        if is_member:
            participants.change_members(db, session_id, [user_id], [], now)
    return len(found), sessions[-1] if len(found) == BATCH_ROWS else None


def _erase_deliveries(db: Connection, user_id: str) -> dict[str, int]:
    """Delete a batch of deliveries; their notifications stay where others got them, too."""
    found = db.execute(
        "SELECT id, notification FROM deliveries WHERE user_id = ? ORDER BY notification LIMIT ?",
        [user_id, DELIVERIES_AT_ONCE],
    ).fetchall()
    if not found:
        return {}
    db.overwrite_deleted()
    ids = db.listed([id_ for id_, _ in found])
    owners = db.listed(list(dict.fromkeys(owner for _, owner in found)))
    attempts = db.execute(f"DELETE FROM attempts WHERE delivery {_OF_KEYS}", [ids])  # noqa: S608
    db.execute(f"DELETE FROM deliveries WHERE id {_OF_KEYS}", [ids])  # noqa: S608
    notifications = db.execute(_DELETE_EMPTY, [owners])
    left = db.execute(
        f"SELECT id, recipients FROM notifications WHERE id {_OF_KEYS}",  # noqa: S608
        [owners],
    ).fetchall()
    db.executemany(
        "UPDATE notifications SET recipients = ? WHERE id = ?",
        [(_without(recipients, user_id), id_) for id_, recipients in left],
    )
    return {
        "deliveries": len(found),
        "attempts": attempts.rowcount,
        "notifications": notifications.rowcount,
    }


def _without(recipients: str, user_id: str) -> str:
    """Recipients without a user among those that are named."""
    members: dict[str, Any] = decode(recipients)
    named = members.get("user_ids")
    if named is None:
        return recipients
    left = [each for each in named if each != user_id]
    return encode({**members, "user_ids": left}).decode()
