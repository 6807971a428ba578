"""The read-only SQLite connection of a reading thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.errors import translate
from wsserver.storage.engine.sqlite_connection import SqliteConnection
from wsserver.storage.engine.writer import rollback


class SqliteReader:
    """A connection that cannot write."""

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            timeout=busy_timeout_s,
            factory=SqliteConnection,
        )
        # Opens the -wal and -shm now: by the first read their paths might lead elsewhere.
        try:
            self._connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
        except sqlite3.Error as error:
            self._connection.close()
            raise translate(error) from error

    def read(self, fn: Callable[[Connection], Any]) -> Any:
        """Run a function on one snapshot; raises ``StorageUnavailable`` for errors of the file."""
        try:
            self._connection.execute("BEGIN")
            return fn(self._connection)
        except Exception as error:
            translated = translate(error)
            if translated is error:
                raise
            raise translated from error
        finally:
            rollback(self._connection)

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()
