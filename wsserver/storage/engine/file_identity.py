"""Detects that an open database file was deleted, moved, replaced or overwritten."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.check import real_path
from wsserver.storage.engine.errors import DatabaseOverwritten


class FileIdentity:
    """Device, inode, time and size of the open database, ``-wal`` and ``-shm``, checked by path.

    SQLite goes on using an open file that was deleted: what is committed into it is lost. A check
    costs one ``stat`` a file (about 2 µs each) and opens none: closing a descriptor would release
    the locks that SQLite has on the file. For the writing thread alone: the file does not change
    between two of its transactions, which include checkpoints, unless other processes share it;
    then a changed content is not detected.
    """

    def __init__(
        self, path: Path, header: Callable[[], bytes | None], *, is_shared: bool = False
    ) -> None:
        """``header``: reads the first bytes of the open file; None if it cannot."""
        self._is_shared = is_shared
        self._path = path
        self._read_header = header
        self._database = self._wal = self._shm = ""
        self._opened: dict[str, tuple[int, int]] = {}
        self._written: tuple[int, int] | None = None
        self._header: bytes | None = None

    def note_opened(self) -> int:
        """Record the identity of the opened files; returns their size as ``note_written``."""
        self._database = str(self._path.absolute())  # a plugin may change the working directory
        real = real_path(self._path)
        self._wal, self._shm = f"{real}-wal", f"{real}-shm"
        self._opened.clear()
        self._written = None
        self.check()
        return self.note_written()

    def check(self) -> None:
        """Check the files before a commit.

        Raises ``StorageUnavailable`` if a path does not lead to the open file (temporary: the file
        may be moved back), ``DatabaseOverwritten`` if another program changed its content
        (permanent).
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
        """Record time and size of the file after a commit of our own.

        Returns the bytes of the file and the write-ahead log.
        """
        try:
            found = os.stat(self._database)
        except OSError:
            return 0  # the next check raises
        written = _version(found)
        if written != self._written:
            self._written, self._header = written, self._read_header()
        try:
            return found.st_size + os.stat(self._wal).st_size
        except OSError:
            return found.st_size

    def _check_content(self, found: os.stat_result) -> None:
        written = _version(found)
        if self._written is None or written == self._written or self._is_shared:
            return
        if written[1] == self._written[1] and self._read_header() == self._header:
            self._written = written  # new time, same content
            return
        raise DatabaseOverwritten(
            f"{self._database} was changed by another program while the server is using it"
        )


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _version(found: os.stat_result) -> tuple[int, int]:
    """Differs after every change of the content."""
    return found.st_mtime_ns, found.st_size
