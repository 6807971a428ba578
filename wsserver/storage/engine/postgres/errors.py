"""Errors of PostgreSQL: which mean that it is unavailable, and which that it cannot be used."""

from __future__ import annotations

import psycopg

from wsserver.errors import StorageFull, StorageUnavailable, WsServerError

_TEMPORARY = ("08", "25006", "25P03", "25P04", "40", "53", "55P03", "57", "58", "XX")
"""Beginnings of SQLSTATEs about the state of the server, not about the statement."""
_MAY_PASS = (
    "starting up",
    "shutting down",
    "not yet accepting connections",
    "recovery mode",
    "too many",
    "remaining connection slots",
)
"""In the server's reasons to refuse a connection."""
_WILL_NOT_PASS = ("FATAL:", "no password supplied", "certificate", "SSL was required", "invalid ")


def translate(error: Exception) -> Exception:
    """Turn an error about the server into ``StorageUnavailable`` or ``StorageFull``.

    Any other (a constraint, wrong SQL, an exception of the caller's function) is returned as is.
    """
    if not isinstance(error, psycopg.Error):
        return error
    state = error.sqlstate
    translated: WsServerError
    if state == "53100":
        translated = StorageFull("the disk of the database is full")
    elif state is None and not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return error
    elif state is None or state.startswith(_TEMPORARY):
        translated = StorageUnavailable(f"the database is unavailable: {one_line(error)}")
    else:
        return error
    translated.__cause__ = error
    return translated


def is_conflict(error: Exception) -> bool:
    """Whether the transaction was chosen to end a deadlock or a conflict: repeat it."""
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith("40")


def may_pass(error: psycopg.Error) -> bool:
    """Whether a refused connection may succeed later without a change of the settings.

    libpq reports no SQLSTATE for these: its text and the server's have to do.
    """
    text = str(error)
    if any(each in text for each in _MAY_PASS):
        return True
    return not any(each in text for each in _WILL_NOT_PASS)


def one_line(error: Exception) -> str:
    """The text of an error, which may have several lines."""
    return " ".join(str(error).split())
