"""The deny list of tokens, kept across restarts."""

from __future__ import annotations

from typing import Literal

import sqlite_utils

from wsserver.storage.engine.database import Database


class RevocationStore:
    """The table ``revocations``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, kind: Literal["jti", "user"], value: str, at: float) -> None:
        """Store that a token (by ``jti``) or a user's tokens issued before ``at`` are refused.

        ``at``: seconds since the epoch; the later one counts when it is there already.
        Raises ``StorageUnavailable``, ``StorageFull``.
        """

        def insert(db: sqlite_utils.Database) -> None:
            db.execute(
                "INSERT INTO revocations (kind, value, at) VALUES (?, ?, ?)"
                " ON CONFLICT (kind, value) DO UPDATE SET at = max(at, excluded.at)",
                [kind, value, at],
            )

        await self._database.run(insert)

    async def all(self) -> list[tuple[Literal["jti", "user"], str, float]]:
        """Every (kind, value, at); for the start."""
        return await self._database.read(
            lambda db: db.execute("SELECT kind, value, at FROM revocations").fetchall()
        )
