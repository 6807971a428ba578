"""Integrity report of a database file: damage, schema, sizes, tables; read-only."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec

from wsserver.clock import Clock
from wsserver.storage.engine import wal
from wsserver.storage.engine.check import (
    RESTORE,
    Schema,
    file_size,
    is_database,
    open_untouched,
    read_failure,
    read_schema,
    schema_failure,
    wal_of,
)
from wsserver.storage.engine.errors import DatabaseUnusable
from wsserver.storage.engine.migrations import MIGRATIONS

FINDINGS = 20
"""Problems of one kind that are listed; one is reason enough to restore a backup."""
LITTLE_SPACE_BYTES = 256 * 1024 * 1024
LARGE_WAL_BYTES = 256 * 1024 * 1024
TIMES = ("at", "hour", "claimed_at", "added_at", "touched_at", "created_at", "read_at")
"""Columns with the time of a row; the first that a table has is used."""

COMPARE = (
    "a server starts without those transactions: keep copies of the file and of its -wal, and"
    " compare it with a backup then"
)
"""What to do about a damaged write-ahead log."""

SchemaState = Literal["current", "older", "newer", "foreign", "none"]


class TableReport(msgspec.Struct, frozen=True, kw_only=True):
    """Rows, size and times of one table."""

    name: str
    rows: int
    bytes: int | None
    """With its indexes; None if this SQLite is built without dbstat."""
    oldest: float | None = None
    """Seconds since the epoch; None for an empty table or one without times."""
    newest: float | None = None


class DatabaseReport(msgspec.Struct, kw_only=True):
    """Result of ``inspect_database``."""

    database: str
    ok: bool = True
    """Whether it is undamaged and this version can use it."""
    problems: list[str] = []
    remedy: str | None = None
    """What to do; None if there is no problem."""
    warnings: list[str] = []
    """What may become a problem."""
    check: Literal["quick", "full"] = "full"
    schema: SchemaState = "none"
    schema_version: str | None = None
    """The latest applied migration."""
    schema_missing: list[str] = []
    """Migrations that the next start of a server applies."""
    file_bytes: int = 0
    wal_bytes: int | None = 0
    """None for PostgreSQL, whose log is that of all databases."""
    unused_bytes: int | None = 0
    """Of free pages inside the file, which are reused before the file grows."""
    disk_free_bytes: int | None = None
    oldest: float | None = None
    newest: float | None = None
    tables: list[TableReport] = []
    checked_at: float = 0.0
    """Seconds since the epoch."""
    took_s: float = 0.0


def inspect_database(path: Path, clock: Clock, *, quick: bool = False) -> DatabaseReport:
    """Check a whole database file, also while a server uses it.

    ``quick``: do not compare indexes with their tables, which is most of the work. For a file that
    cannot be used ``ok`` is False, with ``problems`` and a ``remedy``. Raises
    ``StorageUnavailable`` while another process excludes readers.
    """
    began = clock.monotonic()
    found = _inspect(path, quick)
    if not found.ok and not found.wal_bytes and wal_of(path).exists():
        # A server started meanwhile: without a log the file was read without locks.
        found = _inspect(path, quick)
    found.checked_at = clock.wall()
    found.took_s = round(clock.monotonic() - began, 3)
    return found


def _inspect(path: Path, quick: bool) -> DatabaseReport:
    found = DatabaseReport(database=str(path), check="quick" if quick else "full")
    try:
        if not is_database(path):
            raise DatabaseUnusable(
                path,
                "there is no database" if not path.exists() else "is empty",
                "the first start of a server makes one; if there should be one already, restore"
                " it from a backup",
            )
        found.file_bytes, found.wal_bytes = file_size(path), file_size(wal_of(path))
        found.disk_free_bytes = free_bytes(path.parent)
        if not quick and (lost := wal.damage(path)) is not None:
            _fail(found, f"has a damaged -wal file: {lost}", COMPARE)
        try:
            with closing(open_untouched(path)) as connection:
                _read(path, connection, found)
        except sqlite3.DatabaseError as error:
            raise read_failure(path, error) from error
    except DatabaseUnusable as error:
        _fail(found, error.problem, error.remedy)
    _warn(found)
    return found


def _read(path: Path, connection: sqlite3.Connection, found: DatabaseReport) -> None:
    damage = _damage(connection, found.check)
    if damage:
        _fail(found, *(f"is damaged: {line}" for line in damage), RESTORE)
        return
    schema = read_schema(connection)
    found.schema = _state_of(schema)
    found.schema_version = schema.applied[-1] if schema.applied else None
    found.schema_missing = schema.missing
    failure = schema_failure(path, schema)
    if failure is not None:
        _fail(found, failure.problem, failure.remedy)
        return
    (free_pages,) = connection.execute("PRAGMA freelist_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    found.unused_bytes = free_pages * page_bytes
    found.tables = _tables(connection)
    found.oldest = min((t.oldest for t in found.tables if t.oldest is not None), default=None)
    found.newest = max((t.newest for t in found.tables if t.newest is not None), default=None)


def _state_of(schema: Schema) -> SchemaState:
    if schema.is_foreign:
        return "foreign"
    if schema.unknown:
        return "newer"
    if not schema.applied:
        return "none"
    return "older" if schema.missing else "current"


def _damage(connection: sqlite3.Connection, check: Literal["quick", "full"]) -> list[str]:
    pragma = "quick_check" if check == "quick" else "integrity_check"
    lines = [
        " ".join(line.split()) for (line,) in connection.execute(f"PRAGMA {pragma}({FINDINGS})")
    ]
    if lines != ["ok"]:
        return lines
    orphans = connection.execute("PRAGMA foreign_key_check").fetchmany(FINDINGS)
    return [
        f"row {row} of {table} refers to no row of {parent}" for table, row, parent, _ in orphans
    ]


def _tables(connection: sqlite3.Connection) -> list[TableReport]:
    names = [
        name
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
            # The rows of a virtual table are in others.
            " AND sql NOT LIKE 'CREATE VIRTUAL%'"
        )
        if not name.startswith("sqlite_") and name != MIGRATIONS.migrations_table
    ]
    sizes = _sizes(connection)
    return [_table_report(connection, name, sizes) for name in sorted(names)]


def _sizes(connection: sqlite3.Connection) -> dict[str, int] | None:
    """Bytes by table, indexes included."""
    try:
        return dict(
            connection.execute(
                "SELECT tbl_name, sum(pgsize) FROM dbstat JOIN sqlite_schema USING (name)"
                " WHERE aggregate = TRUE GROUP BY tbl_name"
            )
        )
    except sqlite3.OperationalError as error:
        if "dbstat" in str(error):
            return None
        raise


def _table_report(
    connection: sqlite3.Connection, name: str, sizes: dict[str, int] | None
) -> TableReport:
    quoted = f'"{name}"'
    (rows,) = connection.execute(f"SELECT count(*) FROM {quoted}").fetchone()  # noqa: S608
    columns = {row[1] for row in connection.execute(f"PRAGMA table_info({quoted})")}
    time_column = next((column for column in TIMES if column in columns), None)
    oldest = newest = None
    if time_column is not None:
        # Two queries in one: only a lone min() or max() is taken from an index.
        oldest, newest = connection.execute(
            f"SELECT (SELECT min({time_column}) FROM {quoted}),"  # noqa: S608
            f" (SELECT max({time_column}) FROM {quoted})"
        ).fetchone()
    size = None if sizes is None else sizes.get(name, 0)
    return TableReport(name=name, rows=rows, bytes=size, oldest=oldest, newest=newest)


def _fail(found: DatabaseReport, *texts: str) -> None:
    """Add problems, the last argument being the remedy."""
    found.ok = False
    *problems, found.remedy = texts
    found.problems = [*found.problems, *problems]


def _warn(found: DatabaseReport) -> None:
    free = found.disk_free_bytes
    if free is not None and free < max(LITTLE_SPACE_BYTES, found.file_bytes // 10):
        found.warnings.append("the disk is nearly full: free some of it, or prune")
    if (found.wal_bytes or 0) > LARGE_WAL_BYTES:
        found.warnings.append("the -wal file is large: something reads the database for very long")
    if found.schema in ("older", "none") and found.ok:
        found.warnings.append("the schema is older: the next start of a server brings it up")


def free_bytes(folder: Path) -> int | None:
    """Bytes available to this user on a folder's disk; None if the system does not report it."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize
