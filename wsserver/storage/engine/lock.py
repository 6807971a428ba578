"""Exclusive lock of one server on a database: SQLite alone would admit a second server.

Two locks, because neither is enough alone. ``<database>.lock``, beside the file that symbolic
links lead to, exists before the database does. A lock on the database itself belongs to its inode,
so it also holds under another name (hard link, bind mount) and after the ``.lock`` was deleted.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from wsserver.storage.engine.check import real_path
from wsserver.storage.engine.errors import DatabaseInUse

_HEADER_BYTES = 100
_LOCKED_BYTE = 1 << 62
"""Far from the bytes at 1 GiB that SQLite locks."""
_BUSY = (BlockingIOError, PermissionError)
"""EAGAIN, EACCES: fcntl(2) allows both for a lock held by another process."""


class ServerLock:
    """Locks a database for this process; the system releases the lock however the process ends."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path: Path | None = None
        self._fd: int | None = None
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises ``DatabaseInUse`` while another process has it.

        A missing database is locked by name only, until ``acquire_file``. Does nothing where no
        lock file can be created: then opening the database fails, with the reason.
        """
        real = real_path(self._database)
        self._path = real.with_name(real.name + ".lock")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_current = os.path.samestat(os.fstat(fd), os.stat(self._path))
        except FileNotFoundError:
            is_current = False
        except OSError:
            os.close(fd)
            raise DatabaseInUse(self._database) from None
        if not is_current:  # its last holder removed it between our open and our lock
            os.close(fd)
            self.acquire()
            return
        self._fd = fd
        try:
            self.acquire_file()
        except DatabaseInUse:
            self.release()
            raise

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
        request = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, _LOCKED_BYTE, 1, 0)
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, request)
        except _BUSY:
            raise DatabaseInUse(self._database) from None
        except OSError:
            return  # a file system without locks: the lock by name has to suffice

    def header(self) -> bytes | None:
        """The first bytes of the locked database file; None: the file is not locked."""
        return None if self._file is None else os.pread(self._file, _HEADER_BYTES, 0)

    def release(self) -> None:
        """Remove the lock file and release both locks, after closing the database. Idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._fd is not None and self._path is not None:
            if _is_at(self._path, self._fd):
                self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


def check_unlocked(database: Path) -> None:
    """Raise ``DatabaseInUse`` while a server uses the database."""
    lock = ServerLock(database)
    lock.acquire()
    lock.release()


def _is_at(path: Path, fd: int) -> bool:
    """Whether the path still leads to the open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except OSError:
        return False
