"""Known users: who has connected, for notifications to organizations and roles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database

KEPT_S = 90 * 86_400
"""Retention of users who do not connect."""

_BATCH_ROWS = 300
_STORE = (
    "INSERT INTO known_users (user_id, organization_id, role, seen_at) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (user_id) DO UPDATE SET organization_id = excluded.organization_id,"
    " role = excluded.role, seen_at = excluded.seen_at"
    # Of several processes each stores whoever connects to it: mostly what is stored already.
    " WHERE (coalesce(known_users.organization_id, '') <> coalesce(excluded.organization_id, '')"
    " OR known_users.role <> excluded.role"
    " OR excluded.seen_at NOT BETWEEN known_users.seen_at AND known_users.seen_at + 1800)"
    # A slightly older one is late: another process has stored a newer token. One that is much
    # older is of a clock that was set back.
    " AND NOT (excluded.seen_at < known_users.seen_at"
    " AND excluded.seen_at > known_users.seen_at - 5)"
)
_FIND = """
    SELECT user_id FROM known_users WHERE CAST(:role AS TEXT) IS NULL OR role = :role
    ORDER BY user_id LIMIT :limit
"""
_FIND_OF_ORGANIZATION = """
    SELECT e.user_id FROM user_organizations e LEFT JOIN known_users k ON k.user_id = e.user_id
    WHERE e.organization_id = :organization_id AND (CAST(:role AS TEXT) IS NULL OR k.role = :role)
    UNION
    SELECT k.user_id FROM known_users k
    WHERE k.organization_id = :organization_id AND (CAST(:role AS TEXT) IS NULL OR k.role = :role)
        AND NOT EXISTS (SELECT 1 FROM user_organizations e WHERE e.user_id = k.user_id)
    ORDER BY 1 LIMIT :limit
"""


class KnownUser(NamedTuple):
    """A user, with the organization and role of the latest token."""

    user_id: str
    organization_id: str | None
    role: str
    seen_at: float
    """Seconds since the epoch, with a precision of an hour."""


class KnownUserStore:
    """The table ``known_users``. All methods raise ``StorageUnavailable``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, users: Sequence[KnownUser]) -> None:
        """Store users who have connected; raises ``StorageFull`` too."""
        await self._database.run(lambda db: db.executemany(_STORE, users).rowcount)

    async def find(
        self, limit: int, *, organization_id: str | None = None, role: str | None = None
    ) -> list[str]:
        """User ids, ascending, at most ``limit``: of all, an organization, a role, or both.

        Users of an organization are those assigned to it, whether they have connected or not, and
        those of whose latest token it is, unless they are assigned to another one.
        """
        sql = _FIND if organization_id is None else _FIND_OF_ORGANIZATION
        values = {"organization_id": organization_id, "role": role, "limit": limit}
        return await self._database.read(
            lambda db: [user_id for (user_id,) in db.execute(sql, values)]
        )

    async def organizations(self, user_ids: Sequence[str]) -> dict[str, str | None]:
        """The organization of the latest token of each known user."""
        return await self._database.read(
            lambda db: dict(
                db.execute(
                    "SELECT user_id, organization_id FROM known_users"
                    " WHERE user_id IN (SELECT value FROM json_each(?))",
                    [db.listed(user_ids)],
                ).fetchall()
            )
        )

    async def prune(self, now: float) -> int:
        """Delete users who have not connected for 90 days; returns the count.

        Except those with contacts entered by a manager. Raises ``StorageFull`` too.
        """
        deleted = 0
        while batch := await self._database.run(partial(_prune_batch, before=now - KEPT_S)):
            deleted += batch
        return deleted


def _prune_batch(db: Connection, before: float) -> int:
    return db.execute(
        "DELETE FROM known_users WHERE user_id IN"
        " (SELECT user_id FROM known_users k WHERE seen_at < ?"
        # Contacts entered by a manager are used only while their user is known to belong there.
        " AND NOT EXISTS (SELECT 1 FROM contacts c WHERE c.user_id = k.user_id"
        " AND c.organization_id IS NOT NULL) ORDER BY seen_at LIMIT ?)",
        [before, _BATCH_ROWS],
    ).rowcount
