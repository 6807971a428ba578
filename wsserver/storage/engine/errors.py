"""Errors of the database: exceptions, their translation from SQLite, and the current health."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Literal

from wsserver.errors import StorageFull, StorageUnavailable, WsServerError

log = logging.getLogger(__name__)

Side = Literal["write", "read"]

_TEMPORARY = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)
"""Primary result codes about the state of the file, not about the statement."""


class DatabaseUnusable(WsServerError):
    """A file that cannot be used as the database; raised at start, before a byte is written.

    The message names the file, the problem and the remedy.
    """

    def __init__(self, path: Path | str, problem: str, remedy: str) -> None:
        super().__init__(f"database {path}: {problem}; {remedy}")
        self.path = path
        self.problem = problem
        self.remedy = remedy


class DatabaseInUse(DatabaseUnusable):
    """The database of a running server."""

    def __init__(
        self,
        path: Path | str,
        remedy: str = "stop that one first, or name another file",
        problem: str = "another server is using it",
    ) -> None:
        super().__init__(path, problem, remedy)


HELD_ALONE = (
    "another server is using it alone, without 'redis_url' or 'workers'",
    "stop that one first; only servers with the same 'redis_url', and the workers of one server,"
    " share a database",
)
"""Problem and remedy for a server of a cluster."""
HELD_BY_CLUSTER = (
    "servers of a cluster ('redis_url'), or another server's workers, are using it",
    "stop those first; to be another node of a cluster, set its 'redis_url'",
)
"""Problem and remedy for a server that uses a database alone."""


class DatabaseOverwritten(StorageUnavailable):
    """Another program has written to the open database file: SQLite's caches of it are invalid."""


def primary_code(error: sqlite3.Error) -> int | None:
    """The primary SQLite result code (low byte of the extended one), None for the driver's own."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_locked(error: sqlite3.Error) -> bool:
    """Whether another connection has the file locked."""
    return primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_corruption(error: sqlite3.Error) -> bool:
    """Whether the file is corrupt: permanent, unlike the other errors of a file."""
    return primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def translate(error: Exception) -> Exception:
    """Turn SQLite's error about the file into ``StorageUnavailable`` or ``StorageFull``.

    Any other (a constraint, wrong SQL, an exception of the caller's function) is returned as is.
    """
    if not isinstance(error, sqlite3.Error):
        return error
    code = primary_code(error)
    translated: WsServerError
    if code == sqlite3.SQLITE_FULL:
        translated = StorageFull("the disk is full")
    elif code in _TEMPORARY:
        translated = StorageUnavailable(f"the database is unavailable: {error}")
    else:
        return error
    translated.__cause__ = error
    return translated


class StorageHealth:
    """The latest error of writing and of reading, until it succeeds again; corruption for good.

    The threads write it and the loop reads it: single references, replaced as a whole.
    """

    def __init__(self, location: str) -> None:
        self._location = location
        """Path of the file, or server and database without the password; for the log."""
        self.corruption: str | None = None
        """SQLite's message about a corrupt page, or that another program changed the file."""
        self.errors: dict[Side, str | None] = {"write": None, "read": None}
        self.write_failures = 0
        """Since start; written by the writing thread."""

    @property
    def is_ok(self) -> bool:
        """Whether the latest write and the latest read have succeeded."""
        return self.last_error is None

    @property
    def last_error(self) -> str | None:
        """The current error, or None."""
        return self.corruption or self.errors["write"] or self.errors["read"]

    def refusal(self) -> StorageUnavailable:
        """The error of every write to a corrupt file.

        Nothing is written to such a file: it could not be relied on, and would make matters worse.
        """
        return StorageUnavailable(f"nothing is stored: {self.corruption}")

    def note_found(self) -> None:
        """A commit of unknown outcome is found stored.

        What was read before that may lack it, so ``write_failures`` asks for another reading.
        """
        self.write_failures += 1

    def note(self, side: Side, failure: Exception | None) -> None:
        """Record the outcome of a write or read; None: it succeeded.

        A failure that is not about the file (a constraint, a caller's own error) is a success.
        """
        if not isinstance(failure, StorageUnavailable | StorageFull):
            if self.errors[side] is not None:
                self.errors[side] = None
                log.info("database succeeds again side=%s", side)
            return
        self.write_failures += side == "write"
        cause = failure.__cause__
        if isinstance(failure, DatabaseOverwritten):
            self._note_corruption(str(failure))
        elif isinstance(cause, sqlite3.Error) and is_corruption(cause):
            self._note_corruption(str(cause))
        elif self.errors[side] is None:
            log.error("database failed side=%s reason=%s", side, failure)
        self.errors[side] = str(failure)

    def _note_corruption(self, error: str) -> None:
        if self.corruption is None:
            log.critical(
                "database is damaged and nothing is written to it any more, stop the server, move"
                " the file with its -wal and -shm away and restore the file from a backup"
                " database=%s error=%s",
                self._location,
                error,
            )
            self.corruption = f"the database is damaged: {error}"
