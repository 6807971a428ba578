"""Lock of the servers on a database: SQLite alone would admit any process.

Two locks, because neither is enough alone. ``<database>.lock``, beside the file that symbolic
links lead to, exists before the database does. A lock on the database itself belongs to its inode,
so it also holds under another name (hard link, bind mount) and after the ``.lock`` was deleted.

A server locks alone. The processes of one cluster share both locks, and ``.lock`` then contains a
digest of the cluster's name. The first of them has ``.lock`` alone until the database is open.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import time
from pathlib import Path

from wsserver.storage.engine.check import real_path
from wsserver.storage.engine.errors import (
    HELD_ALONE,
    HELD_BY_CLUSTER,
    DatabaseInUse,
    DatabaseUnusable,
)

_HEADER_BYTES = 100
_LOCKED_BYTE = 1 << 62
"""Far from the bytes at 1 GiB that SQLite locks."""
_BUSY = (BlockingIOError, PermissionError)
"""EAGAIN, EACCES: fcntl(2) allows both for a lock held by another process."""
_OTHER_CLUSTER = (
    "servers of another cluster (another 'redis_url'), or another server's workers, are using it",
    "stop those first, or name another file",
)
_MARK_ATTEMPTS = 20
_MARK_PAUSE_S = 0.005
_NO_LOCKS = (
    "several processes cannot share it: its file system or this system has no locks for that",
    "use one process, or put the file on a local disk of Linux",
)


class ServerLock:
    """Locks a database for this process; the system releases the lock however the process ends.

    ``cluster``: name of the cluster whose processes share it; None: it is locked alone.
    """

    def __init__(self, database: Path, cluster: str | None = None) -> None:
        self._database = database
        self._path: Path | None = None
        self._fd: int | None = None
        self._file: int | None = None
        self._mark = b""
        if cluster is not None:
            self._mark = hashlib.sha256(cluster.encode()).hexdigest().encode()
        self.is_first = True
        """Whether no other process had the database open when it was locked."""

    def acquire(self) -> None:
        """Take the lock. Raises ``DatabaseInUse`` while another process has it.

        A missing database is locked by name only, until ``acquire_file``. Does nothing where no
        lock file can be created: then opening the database fails, with the reason.
        """
        if not self.try_acquire():
            raise DatabaseInUse(self._database)

    def try_acquire(self) -> bool:
        """As ``acquire``; False: another process of the cluster is opening the database now."""
        real = real_path(self._database)
        self._path = real.with_name(real.name + ".lock")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return True
        try:
            is_locked = self._lock_name(fd)
            is_current = os.path.samestat(os.fstat(fd), os.stat(self._path))
        except FileNotFoundError:
            is_current = False
        except BaseException:
            os.close(fd)
            raise
        if not is_current:  # its last holder removed it between our open and our lock
            os.close(fd)
            return self.try_acquire()
        if not is_locked:
            os.close(fd)
            return False
        self._fd = fd
        try:
            self.acquire_file()
        except DatabaseInUse:
            self.release()
            raise
        return True

    def _lock_name(self, fd: int) -> bool:
        """Lock ``.lock``, alone or in the shared way; False: it may be shared soon."""
        self.is_first = _flock(fd, fcntl.LOCK_EX)
        if self.is_first:
            if os.pread(fd, 100, 0) != self._mark:
                os.ftruncate(fd, 0)
                os.pwrite(fd, self._mark, 0)
            return True
        if not self._mark:
            raise self._in_use(HELD_BY_CLUSTER if os.pread(fd, 100, 0) else None)
        for _ in range(_MARK_ATTEMPTS):
            mark = os.pread(fd, 100, 0)
            if mark == self._mark:
                return _flock(fd, fcntl.LOCK_SH)
            # Who has it may just be about to write the mark, or to release the lock.
            time.sleep(_MARK_PAUSE_S)
            if _flock(fd, fcntl.LOCK_EX):
                return False
        raise self._in_use(_OTHER_CLUSTER if mark else HELD_ALONE)

    def share(self) -> None:
        """Let the other processes of the cluster in. Raises ``DatabaseInUse``."""
        if self._fd is not None and self._mark and not _flock(self._fd, fcntl.LOCK_SH):
            raise self._in_use(HELD_ALONE)

    def acquire_file(self) -> None:
        """Lock the database file itself, if it exists. Raises ``DatabaseInUse``.

        The descriptor stays open until ``release``: closing any descriptor of a file releases
        the locks that SQLite has on it in this process (fcntl(2), POSIX record locks).
        """
        if self._file is not None or not hasattr(fcntl, "F_OFD_SETLK"):
            return
        try:
            self._file = os.open(self._database, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return
        try:
            is_locked = self._lock_byte(0, fcntl.F_RDLCK if self._mark else fcntl.F_WRLCK)
        except OSError:
            return  # a file system without locks: the lock by name has to suffice
        if not is_locked:
            raise self._in_use(HELD_ALONE if self._mark else None)

    def _in_use(self, held: tuple[str, str] | None) -> DatabaseInUse:
        if held is None:
            return DatabaseInUse(self._database)
        return DatabaseInUse(self._database, held[1], held[0])

    # Bytes that the processes of a cluster lock for a moment

    def lock_byte(self, number: int) -> bool:
        """Lock a byte (from 1) of the database file; False: another process has it."""
        try:
            return self._lock_byte(number, fcntl.F_WRLCK)
        except OSError:
            raise DatabaseUnusable(self._database, *_NO_LOCKS) from None

    def unlock_byte(self, number: int) -> None:
        """Unlock a byte of the database file."""
        self._lock_byte(number, fcntl.F_UNLCK)

    def _lock_byte(self, number: int, kind: int) -> bool:
        if self._file is None:
            raise OSError
        request = struct.pack("hhqqi0q", kind, os.SEEK_SET, _LOCKED_BYTE + number, 1, 0)
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, request)
        except _BUSY:
            return False
        return True

    def header(self) -> bytes | None:
        """The first bytes of the locked database file; None: the file is not locked."""
        return None if self._file is None else os.pread(self._file, _HEADER_BYTES, 0)

    def release(self) -> None:
        """Remove the lock file and release both locks, after closing the database. Idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._fd is not None and self._path is not None:
            is_last = not self._mark or _flock(self._fd, fcntl.LOCK_EX)
            if is_last and _is_at(self._path, self._fd):
                self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


def check_unlocked(database: Path, cluster: str | None = None) -> None:
    """Raise ``DatabaseInUse`` while a server uses the database that is not of this cluster."""
    lock = ServerLock(database, cluster)
    lock.try_acquire()
    lock.release()


def _flock(fd: int, kind: int) -> bool:
    """Lock a file, or change the lock, without waiting."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(path: Path, fd: int) -> bool:
    """Whether the path still leads to the open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except OSError:
        return False
