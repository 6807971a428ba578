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
            cluster=cluster_of(settings),
        )
    # The driver is an extra, and takes 0.1 s to import.
    from wsserver.storage.engine.postgres.database import PostgresDatabase

    return PostgresDatabase(
        settings.database_url,
        password_file=settings.database_password_file,
        clock=clock,
        is_shared=settings.redis_url is not None,
    )


def cluster_of(settings: Settings) -> str | None:
    """What the processes that share a file have in common: their Redis, without secrets.

    None: the file is used alone.
    """
    if settings.redis_url is None:
        return None
    parts = urlsplit(settings.redis_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
