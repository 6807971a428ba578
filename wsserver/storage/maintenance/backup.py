"""A copy of the database that is whole, taken while a server goes on."""

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
    fault_of,
    file_size,
    open_untouched,
    real_path,
    wal_of,
)
from wsserver.storage.engine.epochs import fork_epochs
from wsserver.storage.engine.errors import DatabaseFault, primary_code
from wsserver.storage.maintenance.inspection import free_bytes
from wsserver.storage.maintenance.scratch import remove_abandoned, scratch_folder

PAGES_PER_STEP = 1000
"""4 MB: between two steps the interpreter sees a signal."""
_ATTEMPTS = 5
_SIDE_FILES = ("-wal", "-shm", "-journal", ".lock")


class BackupFault(WsServerError):
    """No copy was made, because of the place that it was to be at; what was there stays."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"backup {path}: {problem}")
        self.path = path
        self.problem = problem


class Backup(NamedTuple):
    """A copy that was made."""

    path: Path
    bytes: int
    took_s: float


def back_up(database: Path, target: Path, clock: Clock, *, force: bool = False) -> Backup:
    """Copy a database to ``target`` (mode 0600), whether a server has it open or not.

    The copy is of one moment, checked from end to end, on the disk, and only then under its name.
    It is a single file without a ``-wal``, and its streams have epochs of their own. ``force``: put
    it in place of a file that is there.

    Raises ``DatabaseFault`` for a database that cannot be used or is damaged,
    ``StorageUnavailable`` while another process keeps readers out, ``BackupFault`` for the target.
    """
    began = clock.monotonic()
    if not check_file(database):
        raise DatabaseFault(database, "there is no database", "name another file")
    _check_target(database, target, force)
    remove_abandoned(target.parent)
    _check_space(database, target)
    try:
        with scratch_folder(target.parent) as folder:
            draft = folder / "copy.sqlite3"
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            _copy(database, draft, target)
            _finish(database, draft, target)
            size = file_size(draft)
            _check_target(database, target, force)  # something may have come there meanwhile
            _publish(draft, target)
    except OSError as error:
        raise BackupFault(target, f"cannot be written ({error.strerror})") from error
    return Backup(target, size, clock.monotonic() - began)


def _check_target(database: Path, target: Path, force: bool) -> None:
    if target.is_dir():
        raise BackupFault(target, "is a folder")
    if not target.parent.is_dir():
        raise BackupFault(target, f"cannot be made (there is no folder {target.parent})")
    if _is_part_of(database, target):
        raise BackupFault(target, "is the database itself, or belongs to it")
    if file_size(wal_of(target)):
        # It would be taken for the copy's own and damage it.
        raise BackupFault(target, "has a -wal file: it is a database in use")
    if os.path.lexists(target) and not force:
        raise BackupFault(target, "exists already (--force replaces it)")


def _check_space(database: Path, target: Path) -> None:
    free = free_bytes(target.parent)
    needed = file_size(database) + file_size(wal_of(database))
    if free is not None and free < needed:
        raise BackupFault(target, f"the disk has {free} bytes free, {needed} may be needed")


def _is_part_of(database: Path, target: Path) -> bool:
    real = real_path(database)
    places = [database, real, *(real.with_name(real.name + end) for end in _SIDE_FILES)]
    return any(
        target.absolute() == place.absolute()
        or (place.exists() and target.exists() and place.samefile(target))
        for place in places
    )


def _copy(database: Path, draft: Path, target: Path) -> None:
    """Copy page by page, from one moment."""
    for _ in range(_ATTEMPTS):
        at_rest = _state_at_rest(database)
        try:
            with (
                closing(open_untouched(database)) as source,
                closing(sqlite3.connect(draft, isolation_level=None)) as copy,
            ):
                copy.execute("PRAGMA synchronous = OFF")  # _publish flushes the whole file
                # One read transaction: a copy would begin again with each commit of another
                # process, and never end beside a busy server.
                source.execute("BEGIN")
                source.execute("SELECT 1 FROM sqlite_schema").fetchone()
                source.backup(copy, pages=PAGES_PER_STEP, progress=_let_signals_in)
        except sqlite3.DatabaseError as error:
            raise _copy_fault(database, target, error) from error
        if at_rest is None or _state_at_rest(database) == at_rest:
            return
    raise StorageUnavailable("the database keeps changing without a -wal file")


def _state_at_rest(database: Path) -> tuple[int, int, int] | None:
    """What changes with a file that nobody has open; None: somebody has, or it was left so.

    One at rest is read without locks, and has to be read again if a server has started meanwhile.
    """
    if wal_of(database).exists():
        return None
    stat = database.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _let_signals_in(status: int, remaining: int, total: int) -> None:
    """Do nothing, in Python: only so does Ctrl-C end a long copy."""


def _finish(database: Path, draft: Path, target: Path) -> None:
    """Make the copy a database of its own, in one file, and look whether it is whole.

    The original goes on to give out offsets that the copy does not know: in the copy the numbering
    of all streams begins anew, so that nobody takes its next messages for known ones.
    """
    try:
        with closing(sqlite3.connect(draft, isolation_level=None)) as copy:
            copy.execute("PRAGMA journal_mode = DELETE")
            fork_epochs(sqlite_utils.Database(copy, execute_plugins=False))
            found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise _copy_fault(database, target, error) from error
    if found != "ok":
        raise DatabaseFault(database, f"is damaged ({' '.join(found.split())})", RESTORE)


def _copy_fault(database: Path, target: Path, error: sqlite3.DatabaseError) -> Exception:
    if primary_code(error) == sqlite3.SQLITE_FULL:
        return BackupFault(target, "the disk is full")
    return fault_of(database, error)


def _publish(draft: Path, target: Path) -> None:
    """On the disk first, then under its name: a loss of power leaves the one or the other."""
    _flush(draft)
    os.replace(draft, target)
    _flush(target.parent)


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
