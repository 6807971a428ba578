"""Look at a database file without changing a byte of it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import sqlite_utils

from wsserver.storage.faults import DatabaseFault, is_locked, primary_code, translate
from wsserver.storage.migrations import MIGRATIONS, applied_names, known_names

OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables."""

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_CHECK_LIMIT_S = 2.0
_RESTORE = (
    "nothing was changed; restore the file from a backup, or move it and its -wal and -shm"
    " files away to start with an empty database"
)
_CHOOSE = "nothing was changed; name another file in the setting 'database'"


def check_file(path: Path, monotonic: Callable[[], float] = time.monotonic) -> bool:
    """Say whether there is a database that this version can use; False: there is none yet.

    Raises ``DatabaseFault`` for a folder, a file that is no SQLite database, a damaged one, one of
    another program, one with a newer schema; ``StorageUnavailable`` while another process holds it
    locked. ``monotonic`` bounds the search for damage to 2 s, so that a huge file does not hold
    up the start; a damaged part not reached is reported when it is used.
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
            raise DatabaseFault(path, "is a folder", _CHOOSE)
        if not path.exists():
            return False
        if not path.is_file():
            raise DatabaseFault(path, "is not a regular file", _CHOOSE)
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise DatabaseFault(path, f"cannot be read ({error.strerror})", _CHOOSE) from error
    if not header:
        return False
    if not header.startswith(_MAGIC):
        raise DatabaseFault(path, "is not a SQLite database", _CHOOSE)
    if len(header) < _HEADER_BYTES:
        raise DatabaseFault(path, "is damaged (cut off in its header)", _RESTORE)
    try:
        with closing(_open_untouched(path)) as connection:
            _check_damage(path, connection, monotonic)
            _check_schema(path, connection)
    except sqlite3.DatabaseError as error:
        if is_locked(error):
            raise translate(error) from error
        raise DatabaseFault(path, f"is damaged or cannot be read ({error})", _RESTORE) from error
    return True


def _open_untouched(path: Path) -> sqlite3.Connection:
    """Open for reading in the way that leaves no trace.

    Reading a WAL database creates its ``-wal`` and ``-shm`` when they are missing; ``immutable``
    prevents that. With a ``-wal`` (after a crash, or in use by another process) its content counts
    and other processes' locks must be heeded, which ``immutable`` does not do.
    """
    mode = "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"
    uri = f"{path.absolute().as_uri()}?{mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=2.0)


def _check_damage(
    path: Path, connection: sqlite3.Connection, monotonic: Callable[[], float]
) -> None:
    deadline = monotonic() + _CHECK_LIMIT_S
    connection.set_progress_handler(lambda: monotonic() > deadline, 100_000)
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if primary_code(error) != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        connection.set_progress_handler(None, 0)
    if found != "ok":
        raise DatabaseFault(path, f"is damaged ({' '.join(found.split())})", _RESTORE)


def _check_schema(path: Path, connection: sqlite3.Connection) -> None:
    db = sqlite_utils.Database(connection, recursive_triggers=False, execute_plugins=False)
    names = applied_names(db)
    if not names and set(db.table_names()) - {MIGRATIONS.migrations_table}:
        raise DatabaseFault(path, "belongs to another program", _CHOOSE)
    newer = [name for name in names if name not in known_names()]
    if newer:
        raise DatabaseFault(
            path,
            f"was written by a newer version (unknown migrations: {', '.join(newer)})",
            "nothing was changed; run that version, or restore a backup made with this one",
        )
