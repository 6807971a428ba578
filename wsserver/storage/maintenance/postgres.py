"""Report, pruning and backup advice for a PostgreSQL database."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg

from wsserver.clock import Clock
from wsserver.storage.engine.errors import DatabaseUnusable
from wsserver.storage.engine.postgres.connecting import Server, check_server
from wsserver.storage.engine.postgres.connection import PostgresConnection
from wsserver.storage.engine.postgres.database import PostgresDatabase
from wsserver.storage.engine.postgres.errors import one_line, translate
from wsserver.storage.engine.postgres.migrations import TABLE, check_schema, read_schema
from wsserver.storage.maintenance.database_report import TIMES, DatabaseReport, TableReport
from wsserver.storage.maintenance.pruning import PruneResult, RetentionLimits, delete_expired


def inspect_server(server: Server, clock: Clock) -> DatabaseReport:
    """Report schema, sizes and rows; a server may be running. Only reads.

    For a database that cannot be used ``ok`` is False, with ``problems`` and a ``remedy``. Raises
    ``StorageUnavailable`` for a server that cannot be reached.
    """
    began = clock.monotonic()
    found = DatabaseReport(
        database=server.location, check="quick", wal_bytes=None, unused_bytes=None
    )
    try:
        db = server.connect()
        try:
            db.run_script("SET statement_timeout = 0; SET default_transaction_read_only = on")
            check_server(server, db, for_reading=True)
            _read(server, db, found)
        finally:
            db.close()
    except DatabaseUnusable as fault:
        found.ok = False
        found.problems, found.remedy = [fault.problem], fault.remedy
    except psycopg.Error as error:
        translated = translate(error)
        if translated is not error:
            raise translated from error
        found.ok = False
        found.problems = [f"cannot be read ({one_line(error)})"]
        found.remedy = "grant the user the rights on all tables of the schema"
    found.checked_at = clock.wall()
    found.took_s = round(clock.monotonic() - began, 3)
    return found


def _read(server: Server, db: PostgresConnection, found: DatabaseReport) -> None:
    schema = read_schema(db)
    found.schema_version = schema.applied[-1] if schema.applied else None
    found.schema_missing = schema.missing
    if schema.is_foreign:
        found.schema = "foreign"
    elif schema.unknown:
        found.schema = "newer"
    elif not schema.applied:
        raise server.unusable(
            "there are no tables of wsserver in it", "the first start of a server makes them"
        )
    else:
        found.schema = "older" if schema.missing else "current"
    check_schema(server, schema)
    (found.file_bytes,) = db.execute("SELECT pg_database_size(current_database())").fetchone()
    names = db.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
    ).fetchall()
    found.tables = [_table(db, name) for (name,) in names if name != TABLE]
    oldest = [table.oldest for table in found.tables if table.oldest is not None]
    newest = [table.newest for table in found.tables if table.newest is not None]
    found.oldest, found.newest = min(oldest, default=None), max(newest, default=None)


def _table(db: PostgresConnection, name: str) -> TableReport:
    columns = {
        column
        for (column,) in db.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = CAST(? AS regclass) AND attnum > 0",
            [name],
        )
    }
    time = next((each for each in TIMES if each in columns), None)
    ends = "NULL::float8, NULL::float8" if time is None else f"min({time})::float8, max({time})"
    rows, oldest, newest, size = db.execute(
        f"SELECT count(*), {ends}::float8, pg_total_relation_size('{name}') FROM {name}"  # noqa: S608
    ).fetchone()
    return TableReport(name=name, rows=rows, bytes=size, oldest=oldest, newest=newest)


async def prune_server(
    database: PostgresDatabase, clock: Clock, limits: RetentionLimits, *, vacuum: bool = False
) -> PruneResult:
    """Apply missing migrations, then delete all rows older than their retention.

    ``vacuum``: rewrite the tables without the space of deleted rows, each locked meanwhile. Raises
    ``DatabaseInUse`` while a server, which prunes by itself, uses the database;
    ``DatabaseUnusable``, ``StorageUnavailable``, ``StorageFull``.
    """
    await database.open()
    try:
        before = await database.size()
        deleted = await delete_expired(database, clock, limits)
        if vacuum:
            await database.vacuum()
        after = await database.size()
    finally:
        await database.close()
    return PruneResult(deleted, before, after, None)


def backup_advice(url: str, file: Path) -> str:
    """The command that backs the database up; without the password."""
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "password"]
    shown = urlunsplit(
        parts._replace(netloc=f"{user.partition(':')[0]}{at}{place}", query=urlencode(query))
    )
    return shlex.join(["pg_dump", "--format=custom", f"--file={file}", shown])
