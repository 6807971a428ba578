"""Access lists: session members, organizations of users, revoked tokens.

Small tables that a server reads as a whole at start and keeps in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import sqlite_utils

from wsserver.storage.engine.database import Database


class MemberChange(NamedTuple):
    """The change made by replacing a member list; user ids in ascending order."""

    added: list[str]
    removed: list[str]


class MemberStore:
    """The table ``session_members``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[tuple[str, str]]:
        """Every (session_id, user_id), by session. Raises ``StorageUnavailable``."""
        return await self._database.read(
            lambda db: db.execute(
                "SELECT session_id, user_id FROM session_members ORDER BY session_id, user_id"
            ).fetchall()
        )

    async def replace(
        self, session_id: str, user_ids: Iterable[str], by: str, at: float
    ) -> MemberChange:
        """Make ``user_ids`` the members of a session; returns the change.

        ``by``: user id of the requester; ``at``: seconds since the epoch; both are stored with the
        added members. Raises ``StorageUnavailable``, ``StorageFull``; the list is unchanged then.
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


class OrganizationStore:
    """The table ``user_organizations``: assigned by a service or an administrator."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[tuple[str, str]]:
        """Every (user_id, organization_id). Raises ``StorageUnavailable``."""
        return await self._database.read(
            lambda db: db.execute(
                "SELECT user_id, organization_id FROM user_organizations"
            ).fetchall()
        )

    async def put(self, user_id: str, organization_id: str | None, by: str, at: float) -> None:
        """Replace the organization of a user; None: delete it.

        ``by``: user id of the requester; ``at``: seconds since the epoch. Raises
        ``StorageUnavailable``, ``StorageFull``.
        """

        def store(db: sqlite_utils.Database) -> None:
            if organization_id is None:
                db.execute("DELETE FROM user_organizations WHERE user_id = ?", [user_id])
                return
            db.execute(
                "INSERT INTO user_organizations (user_id, organization_id, entered_by, entered_at)"
                " VALUES (?, ?, ?, ?) ON CONFLICT (user_id) DO UPDATE SET"
                " organization_id = excluded.organization_id,"
                " entered_by = excluded.entered_by, entered_at = excluded.entered_at",
                [user_id, organization_id, by, at],
            )

        await self._database.run(store)


class RevocationStore:
    """The table ``revocations``: the deny list of tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, kind: Literal["jti", "user"], value: str, at: float) -> None:
        """Revoke a token (by ``jti``), or a user's tokens issued before ``at``.

        ``at``: seconds since the epoch; of two revocations of the same value the later one counts.
        Raises ``StorageUnavailable``, ``StorageFull``.
        """

        def insert(db: sqlite_utils.Database) -> None:
            db.execute(
                "INSERT INTO revocations (kind, value, at) VALUES (?, ?, ?)"
                " ON CONFLICT (kind, value) DO UPDATE SET at = excluded.at"
                " WHERE excluded.at > revocations.at",
                [kind, value, at],
            )

        await self._database.run(insert)

    async def all(self) -> list[tuple[Literal["jti", "user"], str, float]]:
        """Every (kind, value, at). Raises ``StorageUnavailable``."""
        return await self._database.read(
            lambda db: db.execute("SELECT kind, value, at FROM revocations").fetchall()
        )
