"""The database that the settings name: a SQLite file, or PostgreSQL."""

from __future__ import annotations

from urllib.parse import urlsplit

from wsserver.clock import Clock
from wsserver.config import Settings
from wsserver.storage.engine.check import check_file
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.lock import check_unlocked
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


def setting_of(settings: Settings) -> str:
    """The key of the setting that names the database."""
    return "database" if settings.database_url is None else "database_url"


def check_unused(settings: Settings) -> None:
    """Check, without opening it, that no other server uses the database, as far as that is seen.

    Of PostgreSQL it is seen when the database is opened. Raises ``DatabaseInUse``.
    """
    if settings.database_url is None:
        check_unlocked(settings.database, cluster_of(settings))


def check_usable(settings: Settings) -> None:
    """Check the database, without opening it, as far as it is a file of this machine.

    Raises ``DatabaseUnusable``, ``StorageUnavailable``.
    """
    if settings.database_url is None:
        check_file(settings.database)


def cluster_of(settings: Settings) -> str | None:
    """What the processes that share a file have in common: their Redis, without secrets.

    None: the file is used alone.
    """
    if settings.redis_url is None:
        return None
    parts = urlsplit(settings.redis_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
