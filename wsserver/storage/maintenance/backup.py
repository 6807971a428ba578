"""Online backup: a consistent, checked copy of the database, also beside a running server."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import sqlite_utils

from wsserver.clock import Clock
from wsserver.errors import StorageUnavailable, WsServerError
from wsserver.storage.engine.check import (
    RESTORE,
    check_file,
    file_size,
    open_untouched,
    read_failure,
    real_path,
    wal_of,
)
from wsserver.storage.engine.epochs import fork_epochs
from wsserver.storage.engine.errors import DatabaseUnusable, primary_code
from wsserver.storage.maintenance.database_report import free_bytes
from wsserver.storage.maintenance.temporary_folder import remove_abandoned, temporary_folder

PAGES_PER_STEP = 1000
"""4 MB: between two steps the interpreter handles signals."""
_ATTEMPTS = 5
_SIDE_FILES = ("-wal", "-shm", "-journal", ".lock")


class BackupFailed(WsServerError):
    """No backup was made because of the target path; an existing file there is unchanged."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"backup {path}: {problem}")
        self.path = path
        self.problem = problem


class Backup(NamedTuple):
    """A finished backup."""

    path: Path
    bytes: int
    took_s: float


def back_up(database: Path, target: Path, clock: Clock, *, force: bool = False) -> Backup:
    """Copy a database to ``target`` (mode 0600), also while a server uses it.

    The copy is one snapshot; it is checked, flushed to the disk and then renamed to ``target``. It
    is a single file without a ``-wal``, and its streams have new epochs. ``force``: replace an
    existing file.

    Raises ``DatabaseUnusable`` for a database that cannot be used or is damaged,
    ``StorageUnavailable`` while another process excludes readers, ``BackupFailed`` for the target.
    """
    began = clock.monotonic()
    if not check_file(database):
        raise DatabaseUnusable(database, "there is no database", "name another file")
    _check_target(database, target, force)
    remove_abandoned(target.parent)
    _check_space(database, target)
    try:
        with temporary_folder(target.parent) as folder:
            draft = folder / "copy.sqlite3"
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            _copy(database, draft, target)
            _finish(database, draft, target)
            size = file_size(draft)
            _check_target(database, target, force)  # a file may have been created there meanwhile
            _move_into_place(draft, target)
    except OSError as error:
        raise BackupFailed(target, f"cannot be written ({error.strerror})") from error
    return Backup(target, size, clock.monotonic() - began)


def _check_target(database: Path, target: Path, force: bool) -> None:
    if target.is_dir():
        raise BackupFailed(target, "is a folder")
    if not target.parent.is_dir():
        raise BackupFailed(target, f"cannot be made (there is no folder {target.parent})")
    if _belongs_to(database, target):
        raise BackupFailed(target, "is the database itself, or belongs to it")
    if file_size(wal_of(target)):
        # SQLite would apply it to the copy and corrupt it.
        raise BackupFailed(target, "has a -wal file: it is a database in use")
    if os.path.lexists(target) and not force:
        raise BackupFailed(target, "exists already (--force replaces it)")


def _check_space(database: Path, target: Path) -> None:
    free = free_bytes(target.parent)
    needed = file_size(database) + file_size(wal_of(database))
    if free is not None and free < needed:
        raise BackupFailed(target, f"the disk has {free} bytes free, {needed} may be needed")


def _belongs_to(database: Path, target: Path) -> bool:
    real = real_path(database)
    paths = [database, real, *(real.with_name(real.name + end) for end in _SIDE_FILES)]
    return any(
        target.absolute() == path.absolute()
        or (path.exists() and target.exists() and path.samefile(target))
        for path in paths
    )


def _copy(database: Path, draft: Path, target: Path) -> None:
    """Copy the pages of one snapshot."""
    for _ in range(_ATTEMPTS):
        at_rest = _state_at_rest(database)
        try:
            with (
                closing(open_untouched(database)) as source,
                closing(sqlite3.connect(draft, isolation_level=None)) as copy,
            ):
                copy.execute("PRAGMA synchronous = OFF")  # _move_into_place flushes the whole file
                # One read transaction: otherwise the copy would restart at each commit of another
                # process, and never end beside a busy server.
                source.execute("BEGIN")
                source.execute("SELECT 1 FROM sqlite_schema").fetchone()
                source.backup(copy, pages=PAGES_PER_STEP, progress=_handle_signals)
        except sqlite3.DatabaseError as error:
            raise _copy_failure(database, target, error) from error
        if at_rest is None or _state_at_rest(database) == at_rest:
            return
    raise StorageUnavailable("the database keeps changing without a -wal file")


def _state_at_rest(database: Path) -> tuple[int, int, int] | None:
    """Identity and time of a file without a ``-wal``; None: it has one, so it may be in use.

    A file at rest is read without locks, and must be read again if a server started meanwhile.
    """
    if wal_of(database).exists():
        return None
    stat = database.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _handle_signals(status: int, remaining: int, total: int) -> None:
    """No-op: running Python code lets Ctrl-C interrupt a long copy."""


def _finish(database: Path, draft: Path, target: Path) -> None:
    """Merge the copy into one file, renew its epochs, and check its integrity.

    The original goes on assigning offsets that the copy does not have. With new epochs, clients do
    not take new messages of the restored copy for ones that they have received.
    """
    try:
        with closing(sqlite3.connect(draft, isolation_level=None)) as copy:
            copy.execute("PRAGMA journal_mode = DELETE")
            fork_epochs(sqlite_utils.Database(copy, execute_plugins=False))
            found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise _copy_failure(database, target, error) from error
    if found != "ok":
        raise DatabaseUnusable(database, f"is damaged ({' '.join(found.split())})", RESTORE)


def _copy_failure(database: Path, target: Path, error: sqlite3.DatabaseError) -> Exception:
    if primary_code(error) == sqlite3.SQLITE_FULL:
        return BackupFailed(target, "the disk is full")
    return read_failure(database, error)


def _move_into_place(draft: Path, target: Path) -> None:
    """Flush, then rename: a power failure leaves the old or the new file."""
    _flush(draft)
    os.replace(draft, target)
    _flush(target.parent)


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
