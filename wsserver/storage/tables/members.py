"""The member lists of sessions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sqlite_utils

from wsserver.storage.engine.database import Database


class MemberChange(NamedTuple):
    """What replacing a member list changed; user ids in ascending order."""

    added: list[str]
    removed: list[str]


class MemberStore:
    """The table ``session_members``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[tuple[str, str]]:
        """Every (session_id, user_id), by session; for the start."""
        return await self._database.read(
            lambda db: db.execute(
                "SELECT session_id, user_id FROM session_members ORDER BY session_id, user_id"
            ).fetchall()
        )

    async def replace(
        self, session_id: str, user_ids: Iterable[str], by: str, at: float
    ) -> MemberChange:
        """Make ``user_ids`` the members of a session, and say what changed.

        ``by``: who asked (user id); ``at``: seconds since the epoch; both are kept with the added.
        Raises ``StorageUnavailable``, ``StorageFull``; the old list stands then.
        """
        wanted = frozenset(user_ids)

        def change(db: sqlite_utils.Database) -> MemberChange:
            rows = db.execute(
                "SELECT user_id FROM session_members WHERE session_id = ?", [session_id]
            )
            present = frozenset(user_id for (user_id,) in rows)
            added, removed = sorted(wanted - present), sorted(present - wanted)
            db.conn.executemany(
                "DELETE FROM session_members WHERE session_id = ? AND user_id = ?",
                [(session_id, user_id) for user_id in removed],
            )
            db.conn.executemany(
                "INSERT INTO session_members (session_id, user_id, added_by, added_at)"
                " VALUES (?, ?, ?, ?)",
                [(session_id, user_id, by, at) for user_id in added],
            )
            return MemberChange(added, removed)

        return await self._database.run(change)
