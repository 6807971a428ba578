"""Database files for tests: made, hashed, and with a migration of a newer version."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from wsserver.storage.engine.database import Database


def hashes(path: Path) -> dict[str, str]:
    """The bytes of the database and its write-ahead log."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.parent.iterdir()
        if not file.name.endswith("-shm")  # rebuilt when the database is opened, holds no data
    }


async def make_file(make_database: Callable[..., Database]) -> None:
    database = make_database()
    await database.open()
    await database.close()


def add_newer_migration(connection: sqlite3.Connection) -> None:
    connection.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
        " VALUES ('wsserver', 'm9999_later', '2040-01-01')"
    )
