"""``ParticipantPruning``: deletes read positions of users in sessions that do not exist."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database

KEPT_S = 30 * 86_400.0
"""How long a user is known to have joined a session in which nothing has been written or set."""
PERIOD_S = 86_400.0
"""Between two looks at the whole table."""
SCAN_ROWS = 5000
"""Rows that one query looks at."""
BATCH_ROWS = 300

_PAIR = "(p.user_id, p.session_id)"
_STALE = (
    "p.is_member = 0 AND p.read_at < :before"
    " AND NOT EXISTS (SELECT 1 FROM conversations c WHERE c.session_id = p.session_id)"
    " AND NOT EXISTS (SELECT 1 FROM streams s WHERE s.name = 'session:' || p.session_id)"
)
_SELECT_END = (
    f"SELECT p.user_id, p.session_id FROM participants p WHERE {_PAIR} > (:user_id, :session_id)"  # noqa: S608
    " ORDER BY p.user_id, p.session_id LIMIT 1 OFFSET :offset"
)
_SELECT_STALE = (
    f"SELECT p.user_id, p.session_id FROM participants p WHERE {_PAIR} > (:user_id, :session_id)"  # noqa: S608
    f" AND {_STALE}"
)
_DELETE = (
    "DELETE FROM participants AS p WHERE p.user_id = :user_id AND p.session_id = :session_id"  # noqa: S608
    f" AND {_STALE}"
)
Pair = tuple[str, str]


class ParticipantPruning:
    """Deletes rows of users who are no members of a session without a state and a stream.

    A session has one of them since its first message, member or change, so only joins by a claim
    leave such rows. Once a day, part by part.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._due_at = -math.inf

    async def run(self, now: float) -> int:
        """Delete what is ``KEPT_S`` old, if a look is due; returns the number of rows.

        Raises ``StorageUnavailable``, ``StorageFull``.
        """
        if now < self._due_at:
            return 0
        deleted, after = 0, ("", "")
        before = now - KEPT_S
        is_whole = False
        while not is_whole:
            end, stale = await self._database.read(partial(_part, after=after, before=before))
            for first in range(0, len(stale), BATCH_ROWS):
                batch = stale[first : first + BATCH_ROWS]
                deleted += await self._database.run(partial(_delete, pairs=batch, before=before))
            is_whole, after = end is None, end or after
        self._due_at = now + PERIOD_S
        return deleted


def _part(db: Connection, after: Pair, before: float) -> tuple[Pair | None, list[Pair]]:
    """The end of the part of the table after a pair, None at its end; and what is stale in it."""
    values: dict[str, Any] = {"user_id": after[0], "session_id": after[1]}
    end = db.execute(_SELECT_END, {**values, "offset": SCAN_ROWS - 1}).fetchone()
    sql, values = _SELECT_STALE, {**values, "before": before}
    if end is not None:
        sql += f" AND {_PAIR} <= (:last_user, :last_session)"
        values |= {"last_user": end[0], "last_session": end[1]}
    stale = [(user_id, session_id) for user_id, session_id in db.execute(sql, values).fetchall()]
    return (None if end is None else (end[0], end[1])), stale


def _delete(db: Connection, pairs: Sequence[Pair], before: float) -> int:
    deleted = 0
    for user_id, session_id in pairs:
        values = {"user_id": user_id, "session_id": session_id, "before": before}
        deleted += db.execute(_DELETE, values).rowcount
    return deleted
