"""What can be wrong with a database, in the words of the error root."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from wsserver.errors import StorageFull, StorageUnavailable, WsServerError

_PASSING = frozenset(
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
"""Primary result codes that speak of the file's state, not of the statement."""


class DatabaseFault(WsServerError):
    """A file that cannot be used as the database; found at the start, before a byte is written.

    The message names the file, what is wrong with it and how to go on.
    """

    def __init__(self, path: Path, problem: str, remedy: str) -> None:
        super().__init__(f"database {path}: {problem}; {remedy}")
        self.path = path
        self.problem = problem
        self.remedy = remedy


class DatabaseInUse(DatabaseFault):
    """A file that a running server has."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, "another server is using it", "stop that one first, or name another file"
        )


def primary_code(error: sqlite3.Error) -> int | None:
    """The primary SQLite result code (low byte of the extended one), None for the driver's own."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_locked(error: sqlite3.Error) -> bool:
    """Does another connection hold the file?"""
    return primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_damage(error: sqlite3.Error) -> bool:
    """Does the file hold what SQLite did not write? That does not pass by waiting."""
    return primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def translate(error: Exception) -> Exception:
    """Turn what SQLite says about the file into ``StorageUnavailable`` or ``StorageFull``.

    Anything else (a constraint, wrong SQL, a caller's own exception) comes back as it is.
    """
    if not isinstance(error, sqlite3.Error):
        return error
    code = primary_code(error)
    told: WsServerError
    if code == sqlite3.SQLITE_FULL:
        told = StorageFull("the disk is full")
    elif code in _PASSING:
        told = StorageUnavailable(f"the database cannot take it now: {error}")
    else:
        return error
    told.__cause__ = error
    return told
