"""Copy of a SQLite database to PostgreSQL: all rows with their ids, offsets and epochs."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psycopg

from wsserver.clock import Clock
from wsserver.errors import StorageFull, StorageUnavailable
from wsserver.storage.engine.check import (
    check_file,
    open_untouched,
    read_failure,
    read_schema,
)
from wsserver.storage.engine.errors import DatabaseUnusable
from wsserver.storage.engine.extension_schema import (
    POSTGRESQL,
    ExtensionSchema,
    UnknownSteps,
    applied_steps,
    apply_steps,
    check_steps,
)
from wsserver.storage.engine.fts_index import FtsIndex
from wsserver.storage.engine.lock import ServerLock
from wsserver.storage.engine.migrations import MIGRATIONS
from wsserver.storage.engine.postgres.connecting import Server, check_server
from wsserver.storage.engine.postgres.connection import PostgresConnection
from wsserver.storage.engine.postgres.errors import one_line, translate
from wsserver.storage.engine.postgres.migrations import migrate
from wsserver.storage.engine.postgres.writer import lock_database
from wsserver.storage.messages.search_rows import VERSION_KEY

_BEGUN_WITH = frozenset(
    {"meta", "numbered", "writers", "wsserver_migrations", "extension_migrations"}
)
"""Tables of PostgreSQL with rows of their own in an empty database."""
_MADE_ANEW = frozenset({"search_queue", "search_docs", *FtsIndex.tables})
"""Tables of the search index, which a server makes from the messages."""
_ROWS_PER_READ = 1000
_LOCK_WAIT_S = 1.0
"""PostgreSQL needs a moment to notice that a server, or a copy before this one, has gone."""


class CopiedDatabase(NamedTuple):
    """A finished copy."""

    source: str
    target: str
    rows: dict[str, int]
    """By table."""
    took_s: float


def copy_database(
    path: Path, server: Server, clock: Clock, schemas: Sequence[ExtensionSchema] = ()
) -> CopiedDatabase:
    """Copy all rows of a SQLite file into an empty database, in one transaction.

    Both are locked meanwhile, and the file is only read. If it is interrupted, nothing is copied.
    ``schemas``: of all extensions that are installed, whether enabled or not.
    Raises ``DatabaseInUse`` while a server uses one of them, ``DatabaseUnusable`` for a file or a
    target that cannot be used, or that has rows; ``StorageUnavailable``, ``StorageFull``.
    """
    began = clock.monotonic()
    if not check_file(path):
        raise DatabaseUnusable(path, "there is no database", "name another file")
    lock = ServerLock(path)
    lock.acquire()
    try:
        with closing(open_untouched(path)) as source, closing(server.connect()) as target:
            _require_current_schema(path, source)
            check_server(server, target)
            lock_database(server, target, _LOCK_WAIT_S)
            migrate(server, target)
            rows = _copy(path, server, source, target, _steps(path, source, schemas), clock.wall())
    except sqlite3.DatabaseError as error:
        raise read_failure(path, error) from error
    except psycopg.Error as error:
        translated = translate(error)
        if isinstance(translated, StorageUnavailable | StorageFull):
            raise translated from error
        raise server.unusable(f"cannot be written to ({one_line(error)})") from error
    finally:
        lock.release()
    return CopiedDatabase(str(path), server.location, rows, clock.monotonic() - began)


def _require_current_schema(path: Path, source: sqlite3.Connection) -> None:
    if read_schema(source).missing:
        raise DatabaseUnusable(
            path,
            "its schema is older than this version",
            "run 'wsserver db prune' on it, which brings it up",
        )


def _steps(
    path: Path, source: sqlite3.Connection, schemas: Sequence[ExtensionSchema]
) -> list[ExtensionSchema]:
    """The steps that extensions have made in the file; raises ``DatabaseUnusable`` for others."""
    applied = applied_steps(source)
    known = {schema.extension: schema for schema in schemas}
    missing = sorted(applied.keys() - known.keys())
    if missing:
        raise DatabaseUnusable(
            path,
            f"has tables of extensions that are not installed here ({', '.join(missing)})",
            "nothing was copied; install them, or name them in the setting 'extensions'",
        )
    try:
        check_steps(schemas, applied)
    except UnknownSteps as fault:
        raise DatabaseUnusable(
            path, str(fault), "nothing was copied; run it with that version"
        ) from None
    return [
        ExtensionSchema(
            name, tuple(step for step in known[name].migrations if step.name in applied[name])
        )
        for name in applied
    ]


def _copy(
    path: Path,
    server: Server,
    source: sqlite3.Connection,
    target: PostgresConnection,
    steps: Sequence[ExtensionSchema],
    now: float,
) -> dict[str, int]:
    tables = [
        name
        for (name,) in source.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        if not name.startswith("sqlite_")
        and name != MIGRATIONS.migrations_table
        and name not in _MADE_ANEW
    ]
    target.run_script("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
    source.execute("BEGIN")
    rows = {}
    with target.raw.transaction():
        apply_steps(target, POSTGRESQL, steps, now)
        for table in sorted(tables):
            target.run_script(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            _require_empty(server, target, table)
            # They would number and count the rows anew.
            target.run_script(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            rows[table] = _copy_table(path, source, target, table)
            target.run_script(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        target.execute("DELETE FROM meta WHERE key = ?", [VERSION_KEY])
        _continue_numbers(source, target)
    target.run_script("ANALYZE")
    return rows


def _require_empty(server: Server, target: PostgresConnection, table: str) -> None:
    if table in _BEGUN_WITH:
        target.run_script(f"DELETE FROM {table}")  # noqa: S608 - a name of the schema
    elif target.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():  # noqa: S608 - as above
        raise server.unusable(
            f"has rows already (table {table})", "nothing was copied; name an empty database"
        )


def _copy_table(
    path: Path, source: sqlite3.Connection, target: PostgresConnection, table: str
) -> int:
    columns = ", ".join(f'"{row[1]}"' for row in source.execute(f"PRAGMA table_info({table})"))
    found = source.execute(f"SELECT {columns} FROM {table}")  # noqa: S608 - names of the schema
    count = 0
    try:
        with target.raw.cursor().copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
            while rows := found.fetchmany(_ROWS_PER_READ):
                count += len(rows)
                for row in rows:
                    copy.write_row(row)
    except psycopg.DataError as error:  # a NUL character in a text
        raise DatabaseUnusable(
            path,
            f"table {table} has a row that PostgreSQL cannot hold ({one_line(error)})",
            "nothing was copied; delete that row",
        ) from error
    return count


def _continue_numbers(source: sqlite3.Connection, target: PostgresConnection) -> None:
    """Let the next ids follow those of the file, of rows deleted since included."""
    used = dict(source.execute("SELECT name, seq FROM sqlite_sequence"))
    identities = target.execute(
        "SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND is_identity = 'YES'"
    ).fetchall()
    numbered = {name for (name,) in target.execute("SELECT name FROM numbered")}
    for (table,) in identities:
        (highest,) = target.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()  # noqa: S608
        last = max(highest, used.get(table, 0))
        if last:
            target.execute(
                "SELECT setval(pg_get_serial_sequence(CAST(? AS TEXT), 'id'), ?)", [table, last]
            )
        if table in numbered:
            target.execute("UPDATE numbered SET last = ? WHERE name = ?", [last, table])
    target.execute("SELECT setval('stream_ids', max(id)) FROM streams HAVING max(id) > 0")
