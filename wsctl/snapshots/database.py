"""Read-only access to the server's database file, which leaves no files behind."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from wsctl.errors import Failed

_LOCK_PATIENCE_S = 5.0


@contextlib.contextmanager
def read_database(path: Path, what: str) -> Iterator[sqlite3.Connection]:
    """A connection that sees one moment of the file; raises ``Failed`` where it cannot be read.

    ``what`` names the data in errors. If this raises at the end, the rows may be inconsistent:
    do not publish them before.

    Without a write-ahead log no process has the file open, and it is read as immutable: otherwise
    a read-only connection would leave ``-wal`` and ``-shm`` files of *this* user behind, which
    could keep the server, running as another user, from starting.
    """
    real = path.resolve()  # SQLite keeps the log beside the file, not beside a link to it
    log = real.with_name(real.name + "-wal")
    is_immutable = not log.exists()
    with contextlib.closing(_open(path, is_immutable)) as database:
        try:
            database.execute("BEGIN")
            yield database
        except sqlite3.Error as error:
            raise Failed(f"cannot read {what} from {path}: {_reason(error)}") from None
    if is_immutable and log.exists():
        raise Failed(f"a server opened {path} in the meantime: run it again")


def _open(path: Path, is_immutable: bool) -> sqlite3.Connection:
    if not path.is_file():
        what = "not a file" if path.exists() else "no such file"
        raise Failed(f"cannot read {path}: {what}")
    mode = "mode=ro&immutable=1" if is_immutable else "mode=ro"
    try:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?{mode}",
            uri=True,
            timeout=_LOCK_PATIENCE_S,
            isolation_level=None,
        )
    except sqlite3.Error as error:
        raise Failed(f"cannot read {path}: {error}") from None


def _reason(error: sqlite3.Error) -> str:
    if str(error).startswith(("no such table", "no such column")):
        return f"{error} (written by an older server? Then start the current server on it once)"
    return str(error)
