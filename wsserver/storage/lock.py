"""Keeps a second server off a database: SQLite would let it in, and both would checkpoint."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from wsserver.storage.faults import DatabaseInUse


class ServerLock:
    """A lock on ``<database>.lock``; the system lets go of it however the process ends."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + ".lock")
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises ``DatabaseInUse`` while another process has it.

        Where no lock file can be made the database cannot be either; whoever opens it will say
        why, so that is not our fault to report.
        """
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

    def release(self) -> None:
        """Remove the file and let go of it; harmless twice."""
        if self._fd is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None
