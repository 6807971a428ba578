"""Sign-ins of the console, by the digest of their cookie."""

from __future__ import annotations

from typing import NamedTuple

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database

KEPT_PER_USER = 20
"""Sign-ins of one user; the oldest ends with one more."""
_BATCH_ROWS = 300


class ConsoleSession(NamedTuple):
    """A sign-in: who signed in, and until when."""

    claims: str
    """JSON of the token's claims."""
    ends_at: float
    """Seconds since the epoch."""


class ConsoleSessionStore:
    """The table ``console_sessions``; methods raise ``StorageUnavailable``, ``StorageFull``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def database_id(self) -> str:
        """The id of the database, equal for all servers that share it."""
        return self._database.identity.partition("/")[0]

    async def add(self, digest: str, user_id: str, session: ConsoleSession, now: float) -> None:
        """Store a sign-in; of more than ``KEPT_PER_USER`` of a user the oldest are deleted."""

        def insert(db: Connection) -> None:
            db.execute(
                "INSERT INTO console_sessions (digest, user_id, claims, created_at, ends_at)"
                " VALUES (?, ?, ?, ?, ?)",
                [digest, user_id, session.claims, now, session.ends_at],
            )
            db.execute(
                "DELETE FROM console_sessions WHERE user_id = ? AND digest NOT IN"
                " (SELECT digest FROM console_sessions WHERE user_id = ?"
                " ORDER BY created_at DESC, digest LIMIT ?)",
                [user_id, user_id, KEPT_PER_USER],
            )

        await self._database.run(insert)

    async def get(self, digest: str) -> ConsoleSession | None:
        """A sign-in, which may have ended; None: there is none."""

        def select(db: Connection) -> ConsoleSession | None:
            row = db.execute(
                "SELECT claims, ends_at FROM console_sessions WHERE digest = ?", [digest]
            ).fetchone()
            return None if row is None else ConsoleSession(*row)

        return await self._database.read(select)

    async def delete(self, digest: str) -> bool:
        """Delete a sign-in; False: there was none."""
        return await self._database.run(
            lambda db: bool(
                db.execute("DELETE FROM console_sessions WHERE digest = ?", [digest]).rowcount
            )
        )

    async def prune(self, now: float) -> int:
        """Delete sign-ins that have ended; returns their number."""
        deleted = 0
        while batch := await self._database.run(lambda db: _delete_ended(db, now)):
            deleted += batch
        return deleted


def _delete_ended(db: Connection, now: float) -> int:
    return db.execute(
        "DELETE FROM console_sessions WHERE digest IN"
        " (SELECT digest FROM console_sessions WHERE ends_at < ? ORDER BY ends_at LIMIT ?)",
        [now, _BATCH_ROWS],
    ).rowcount
