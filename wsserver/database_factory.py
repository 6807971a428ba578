"""The database that the settings name: a SQLite file, or PostgreSQL."""

from __future__ import annotations

from urllib.parse import urlsplit

from wsserver.clock import Clock
from wsserver.config import Settings
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.sqlite import SqliteDatabase


def database_of(settings: Settings, clock: Clock) -> Database:
    """The database, not opened yet."""
    if settings.database_url is None:
        return SqliteDatabase(
            settings.database,
            synchronous=settings.synchronous,
            clock=clock,
            cluster=None if settings.redis_url is None else _place_of(settings.redis_url),
        )
    # The driver is an extra, and takes 0.1 s to import.
    from wsserver.storage.engine.postgres.database import PostgresDatabase

    return PostgresDatabase(
        settings.database_url,
        password_file=settings.database_password_file,
        clock=clock,
        is_shared=settings.redis_url is not None,
    )


def _place_of(redis_url: str) -> str:
    """A URL of Redis without user, password and parameters."""
    parts = urlsplit(redis_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
