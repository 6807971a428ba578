"""The organizations of users, as a service or an administrator has entered them."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.database import Database


class OrganizationStore:
    """The table ``user_organizations``. All methods raise ``StorageUnavailable``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[tuple[str, str]]:
        """Every (user_id, organization_id); for the start."""
        return await self._database.read(
            lambda db: db.conn.execute(
                "SELECT user_id, organization_id FROM user_organizations"
            ).fetchall()
        )

    async def put(self, user_id: str, organization_id: str | None, by: str, at: float) -> None:
        """Enter a user's organization in place of the old one; None: forget it.

        ``by``: user id of the caller; ``at``: seconds since the epoch. Raises ``StorageFull`` too.
        """

        def store(db: sqlite_utils.Database) -> None:
            if organization_id is None:
                db.conn.execute("DELETE FROM user_organizations WHERE user_id = ?", [user_id])
                return
            db.conn.execute(
                "INSERT OR REPLACE INTO user_organizations"
                " (user_id, organization_id, entered_by, entered_at) VALUES (?, ?, ?, ?)",
                [user_id, organization_id, by, at],
            )

        await self._database.run(store)
