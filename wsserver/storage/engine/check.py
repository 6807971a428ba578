"""Checks of a SQLite file before it is opened for writing; read-only, no byte is changed."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import sqlite_utils

from wsserver.storage.engine.errors import DatabaseUnusable, is_locked, primary_code, translate
from wsserver.storage.engine.migrations import MIGRATIONS, applied_names, known_names

OLDEST_SQLITE = (3, 37, 0)
"""The first version with STRICT tables."""

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
CHECK_LIMIT_S = 1.0
"""The start of a server must not take longer, however large the file is."""
RESTORE = (
    "nothing was changed; restore the file from a backup, or move it and its -wal and -shm"
    " files away to start with an empty database"
)
CHOOSE = "nothing was changed; name another file in the setting 'database'"


def check_file(path: Path, limit_s: float = CHECK_LIMIT_S) -> bool:
    """Whether a database that this version can use exists; False: missing or empty.

    Raises ``DatabaseUnusable`` for a folder, a file that is not a SQLite database, a damaged one,
    one of another program, one with a newer schema; ``StorageUnavailable`` while another process
    has it locked. The integrity check ends after ``limit_s``, so that a huge file does not delay
    the start; damage that it did not reach is reported when it is read, or by ``inspect_database``.
    """
    if not is_database(path):
        return False
    try:
        with closing(open_untouched(path)) as connection:
            _check_damage(path, connection, limit_s)
            _check_schema(path, connection)
    except sqlite3.DatabaseError as error:
        raise read_failure(path, error) from error
    return True


def is_database(path: Path) -> bool:
    """Whether the file has the header of a SQLite database; False: missing or empty.

    Raises ``DatabaseUnusable`` for any other file.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise DatabaseUnusable(
            path,
            f"Python's SQLite is {sqlite3.sqlite_version}",
            f"install a Python with SQLite {wanted} or later",
        )
    try:
        if path.is_dir():
            raise DatabaseUnusable(path, "is a folder", CHOOSE)
        if path.exists() and not path.is_file():
            raise DatabaseUnusable(path, "is not a regular file", CHOOSE)
        header = _header(path)
        if not header and file_size(wal_of(path)):
            # SQLite would delete the log, and with it transactions that are not in the file yet.
            raise DatabaseUnusable(path, "is missing or empty, but has a -wal file", RESTORE)
    except OSError as error:
        raise DatabaseUnusable(path, f"cannot be read ({error.strerror})", CHOOSE) from error
    if not header:
        return False
    if not header.startswith(_MAGIC):
        raise DatabaseUnusable(path, "is not a SQLite database", CHOOSE)
    if len(header) < _HEADER_BYTES:
        raise DatabaseUnusable(path, "is damaged (cut off in its header)", RESTORE)
    return True


def _header(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return b""


def real_path(path: Path) -> Path:
    """The path without symbolic links: SQLite keeps ``-wal`` and ``-shm`` beside it."""
    return Path(os.path.realpath(path))


def wal_of(path: Path) -> Path:
    """Path of a database's write-ahead log."""
    return Path(f"{real_path(path)}-wal")


def file_size(path: Path) -> int:
    """Bytes of a file; 0 if it is missing."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def read_failure(path: Path, error: sqlite3.DatabaseError) -> Exception:
    """The exception for SQLite's error when a file is read.

    ``StorageUnavailable`` while another process has it locked, else ``DatabaseUnusable``.
    """
    if is_locked(error):
        return translate(error)
    return DatabaseUnusable(path, f"is damaged or cannot be read ({error})", RESTORE)


def open_untouched(path: Path) -> sqlite3.Connection:
    """Open read-only, without creating or changing any file.

    Reading a WAL database creates its ``-wal`` and ``-shm`` when they are missing; ``immutable``
    prevents that. With a ``-wal`` (after a crash, or in use by another process) its content must be
    read and other processes' locks respected, which ``immutable`` does not do.
    """
    mode = "mode=ro" if wal_of(path).exists() else "immutable=1"
    uri = f"{path.absolute().as_uri()}?{mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=2.0)


def _check_damage(path: Path, connection: sqlite3.Connection, limit_s: float) -> None:
    # Not a progress handler: SQLite before 3.43 does not call it during the check.
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
        timer.join()  # otherwise it might interrupt or outlive the connection
    if found != "ok":
        raise DatabaseUnusable(path, f"is damaged ({' '.join(found.split())})", RESTORE)


class Schema(NamedTuple):
    """The migrations applied to a file, compared with those of this version."""

    applied: list[str]
    missing: list[str]
    """Not applied yet: the next start of a server applies them."""
    unknown: list[str]
    """Applied by a newer version."""
    is_foreign: bool
    """There are tables, but no migration was applied: another program's database."""


def read_schema(connection: sqlite3.Connection) -> Schema:
    """Compare the migrations applied to a database with those of this version."""
    db = sqlite_utils.Database(connection, recursive_triggers=False, execute_plugins=False)
    applied = applied_names(db)
    known = known_names()
    return Schema(
        applied=applied,
        missing=sorted(known.difference(applied)),
        unknown=[name for name in applied if name not in known],
        is_foreign=not applied and bool(set(db.table_names()) - {MIGRATIONS.migrations_table}),
    )


def schema_failure(path: Path, schema: Schema) -> DatabaseUnusable | None:
    """The exception for a database whose schema this version cannot use, or None."""
    if schema.is_foreign:
        return DatabaseUnusable(path, "belongs to another program", CHOOSE)
    if schema.unknown:
        return DatabaseUnusable(
            path,
            f"was written by a newer version (unknown migrations: {', '.join(schema.unknown)})",
            "nothing was changed; run that version, or restore a backup made with this one",
        )
    return None


def _check_schema(path: Path, connection: sqlite3.Connection) -> None:
    failure = schema_failure(path, read_schema(connection))
    if failure is not None:
        raise failure
