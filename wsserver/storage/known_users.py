"""Who has ever connected: to whom notifications for a whole organization or role go, too."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import msgspec
import sqlite_utils

from wsserver.storage.database import Database

KEPT_S = 90 * 86_400
"""Whoever has not come for so long is forgotten."""

_BATCH_ROWS = 300
_STORE = (
    "INSERT OR REPLACE INTO known_users (user_id, organization_id, role, seen_at)"
    " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),"
    " json_extract(value, '$[2]'), json_extract(value, '$[3]') FROM json_each(?)"
)


class KnownUser(NamedTuple):
    """A user as the latest token said."""

    user_id: str
    organization_id: str | None
    role: str
    seen_at: float
    """Seconds since the epoch; right to the hour."""


class KnownUserStore:
    """The table ``known_users``. All methods raise ``StorageUnavailable``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, users: Sequence[KnownUser]) -> None:
        """Store that users were here; raises ``StorageFull`` too."""
        rows = msgspec.json.encode(users).decode()
        await self._database.run(lambda db: _discard(db.conn.execute(_STORE, [rows])))

    async def find(
        self, limit: int, *, organization_id: str | None = None, role: str | None = None
    ) -> list[str]:
        """User ids, ascending, at most ``limit``: of all, an organization, a role, or both."""
        wanted = {"organization_id = ?": organization_id, "role = ?": role}
        given = {text: value for text, value in wanted.items() if value is not None}
        where = f" WHERE {' AND '.join(given)}" if given else ""
        sql = f"SELECT user_id FROM known_users{where} ORDER BY user_id LIMIT ?"  # noqa: S608
        values = [*given.values(), limit]
        return await self._database.read(
            lambda db: [user_id for (user_id,) in db.conn.execute(sql, values)]
        )

    async def organizations(self, user_ids: Sequence[str]) -> dict[str, str | None]:
        """The organization of each of the users that are known."""
        ids = msgspec.json.encode(user_ids).decode()
        return await self._database.read(
            lambda db: dict(
                db.conn.execute(
                    "SELECT user_id, organization_id FROM known_users"
                    " WHERE user_id IN (SELECT value FROM json_each(?))",
                    [ids],
                ).fetchall()
            )
        )

    async def prune(self, now: float) -> int:
        """Forget who has not come for 90 days; answers how many. Raises ``StorageFull`` too."""
        deleted = 0
        while batch := await self._database.run(partial(_prune_batch, before=now - KEPT_S)):
            deleted += batch
        return deleted


def _prune_batch(db: sqlite_utils.Database, before: float) -> int:
    return db.conn.execute(
        "DELETE FROM known_users WHERE user_id IN"
        " (SELECT user_id FROM known_users WHERE seen_at < ? ORDER BY seen_at LIMIT ?)",
        [before, _BATCH_ROWS],
    ).rowcount


def _discard(_: object) -> None:
    """A cursor belongs to its thread."""
