"""Look at a database file without changing a byte of it."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import sqlite_utils

from wsserver.storage.engine.errors import DatabaseFault, is_locked, primary_code, translate
from wsserver.storage.engine.migrations import MIGRATIONS
from wsserver.storage.engine.schema_steps import applied_names, known_names

OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables."""

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
CHECK_LIMIT_S = 1.0
"""A start has to be quick however large the file is."""
RESTORE = (
    "nothing was changed; restore the file from a backup, or move it and its -wal and -shm"
    " files away to start with an empty database"
)
CHOOSE = "nothing was changed; name another file in the setting 'database'"


def check_file(path: Path, limit_s: float = CHECK_LIMIT_S) -> bool:
    """Say whether there is a database that this version can use; False: there is none yet.

    Raises ``DatabaseFault`` for a folder, a file that is no SQLite database, a damaged one, one of
    another program, one with a newer schema; ``StorageUnavailable`` while another process holds it
    locked. The search for damage ends after ``limit_s``, so that a huge file does not hold up the
    start; a damaged part not reached is reported when it is used, or by ``inspect``.
    """
    if not is_database(path):
        return False
    try:
        with closing(open_untouched(path)) as connection:
            _check_damage(path, connection, limit_s)
            _check_schema(path, connection)
    except sqlite3.DatabaseError as error:
        raise fault_of(path, error) from error
    return True


def is_database(path: Path) -> bool:
    """Does the file begin as a SQLite database does? False: missing or empty.

    Raises ``DatabaseFault`` for what is neither.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise DatabaseFault(
            path,
            f"Python's SQLite is {sqlite3.sqlite_version}",
            f"install a Python with SQLite {wanted} or later",
        )
    try:
        if path.is_dir():
            raise DatabaseFault(path, "is a folder", CHOOSE)
        if path.exists() and not path.is_file():
            raise DatabaseFault(path, "is not a regular file", CHOOSE)
        header = _header(path)
        if not header and file_size(wal_of(path)):
            # SQLite would delete the log, and with it what was not in the file yet.
            raise DatabaseFault(path, "is missing or empty, but has a -wal file", RESTORE)
    except OSError as error:
        raise DatabaseFault(path, f"cannot be read ({error.strerror})", CHOOSE) from error
    if not header:
        return False
    if not header.startswith(_MAGIC):
        raise DatabaseFault(path, "is not a SQLite database", CHOOSE)
    if len(header) < _HEADER_BYTES:
        raise DatabaseFault(path, "is damaged (cut off in its header)", RESTORE)
    return True


def _header(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return b""


def real_path(path: Path) -> Path:
    """Where the symbolic links of a path lead: SQLite keeps ``-wal`` and ``-shm`` there."""
    return Path(os.path.realpath(path))


def wal_of(path: Path) -> Path:
    """The write-ahead log of a database."""
    return Path(f"{real_path(path)}-wal")


def file_size(path: Path) -> int:
    """Bytes of a file; 0 for one that is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def fault_of(path: Path, error: sqlite3.DatabaseError) -> Exception:
    """What SQLite says when a file is looked at, as the error to raise.

    ``StorageUnavailable`` while another process holds it locked, else ``DatabaseFault``.
    """
    if is_locked(error):
        return translate(error)
    return DatabaseFault(path, f"is damaged or cannot be read ({error})", RESTORE)


def open_untouched(path: Path) -> sqlite3.Connection:
    """Open for reading in the way that leaves no trace.

    Reading a WAL database creates its ``-wal`` and ``-shm`` when they are missing; ``immutable``
    prevents that. With a ``-wal`` (after a crash, or in use by another process) its content counts
    and other processes' locks must be heeded, which ``immutable`` does not do.
    """
    mode = "mode=ro" if wal_of(path).exists() else "immutable=1"
    uri = f"{path.absolute().as_uri()}?{mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=2.0)


def _check_damage(path: Path, connection: sqlite3.Connection, limit_s: float) -> None:
    # A progress handler would not do: SQLite before 3.43 calls none while it walks the pages.
    timer = threading.Timer(limit_s, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if primary_code(error) != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        timer.cancel()
        timer.join()  # else it might interrupt, or outlive, the connection
    if found != "ok":
        raise DatabaseFault(path, f"is damaged ({' '.join(found.split())})", RESTORE)


class Schema(NamedTuple):
    """The steps of the schema that a file has, against those that this version knows."""

    applied: list[str]
    missing: list[str]
    """Known, not applied: the next start does so."""
    unknown: list[str]
    """Applied by a newer version."""
    is_foreign: bool
    """There are tables, but none of ours."""


def read_schema(connection: sqlite3.Connection) -> Schema:
    """Look which steps of the schema a database has."""
    db = sqlite_utils.Database(connection, recursive_triggers=False, execute_plugins=False)
    applied = applied_names(db)
    known = known_names()
    return Schema(
        applied=applied,
        missing=sorted(known.difference(applied)),
        unknown=[name for name in applied if name not in known],
        is_foreign=not applied and bool(set(db.table_names()) - {MIGRATIONS.migrations_table}),
    )


def schema_fault(path: Path, schema: Schema) -> DatabaseFault | None:
    """Why a database with that schema cannot be used, if it cannot."""
    if schema.is_foreign:
        return DatabaseFault(path, "belongs to another program", CHOOSE)
    if schema.unknown:
        return DatabaseFault(
            path,
            f"was written by a newer version (unknown migrations: {', '.join(schema.unknown)})",
            "nothing was changed; run that version, or restore a backup made with this one",
        )
    return None


def _check_schema(path: Path, connection: sqlite3.Connection) -> None:
    fault = schema_fault(path, read_schema(connection))
    if fault is not None:
        raise fault
