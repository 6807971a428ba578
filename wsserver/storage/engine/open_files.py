"""Detects that an open database was deleted, moved, replaced or overwritten by another process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.check import real_path


class DatabaseOverwritten(StorageUnavailable):
    """Another program has written to the database file: what SQLite knows of it is wrong."""


class OpenFiles:
    """The database with its ``-wal`` and ``-shm`` as they were opened, against their paths.

    SQLite keeps on using an open file whatever becomes of its path: what is committed into a
    deleted file is lost. The checks cost one ``stat`` a file (about 2 µs each) and open none:
    closing one would give up the locks that SQLite has on it. For the writing thread alone: between
    two of its transactions the file does not change, as checkpoints are part of them.
    """

    def __init__(self, path: Path, header: Callable[[], bytes | None]) -> None:
        """``header``: reads the first bytes of the open file; None where that cannot be done."""
        self._path = path
        self._read_header = header
        self._database = self._wal = self._shm = ""
        self._opened: dict[str, tuple[int, int]] = {}
        self._written: tuple[int, int] | None = None
        self._header: bytes | None = None

    def note_opened(self) -> int:
        """Remember the files, now that they are open; their size as ``note_written``."""
        self._database = str(self._path.absolute())  # a plugin may change the folder
        real = real_path(self._path)
        self._wal, self._shm = f"{real}-wal", f"{real}-shm"
        self._opened.clear()
        self._written = None
        self.check()
        return self.note_written()

    def check(self) -> None:
        """Raise what would make a commit worthless; called before each.

        ``StorageUnavailable``: a path does not lead to the open file now. It passes if the file
        comes back. ``DatabaseOverwritten``: it does, and its content is another one. That stays.
        """
        for path in (self._database, self._wal, self._shm):
            try:
                found = os.stat(path)
            except OSError as error:
                if path not in self._opened:
                    continue
                raise StorageUnavailable(
                    f"{path} was deleted or moved while the server is using it ({error.strerror})"
                ) from None
            if self._opened.setdefault(path, _identity(found)) != _identity(found):
                raise StorageUnavailable(
                    f"{path} was replaced by another file while the server is using it"
                )
            if path is self._database:
                self._check_content(found)

    def note_written(self) -> int:
        """Take the database as it is now for our own work, after a commit.

        Returns the bytes of the file and the write-ahead log.
        """
        try:
            found = os.stat(self._database)
        except OSError:
            return 0  # the next check says so
        written = _version(found)
        if written != self._written:
            self._written, self._header = written, self._read_header()
        try:
            return found.st_size + os.stat(self._wal).st_size
        except OSError:
            return found.st_size

    def _check_content(self, found: os.stat_result) -> None:
        written = _version(found)
        if self._written is None or written == self._written:
            return
        if written[1] == self._written[1] and self._read_header() == self._header:
            self._written = written  # touched, not changed
            return
        raise DatabaseOverwritten(
            f"{self._database} was changed by another program while the server is using it"
        )


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _version(found: os.stat_result) -> tuple[int, int]:
    """What each change of the content changes."""
    return found.st_mtime_ns, found.st_size
