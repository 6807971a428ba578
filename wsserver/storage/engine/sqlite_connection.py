"""SQLite's connection for jobs."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import chain
from typing import Any

import msgspec

from wsserver.storage.engine.fts_index import FtsIndex

_NO_PIPELINE = nullcontext()
_SIZES = (100, 10, 1)
"""Rows of an INSERT: of few lengths, as each statement is prepared once and kept."""


class SqliteConnection(sqlite3.Connection):
    """A ``sqlite3.Connection`` with the rest of the protocol ``Connection``."""

    grams = FtsIndex()
    overwrites = False
    """Whether pages that get free are overwritten, until ``stop_overwriting``."""

    def overwrite_deleted(self) -> None:
        """Overwrite free pages too, not only the free space in pages that are written anyway."""
        if not self.overwrites:
            self.execute("PRAGMA secure_delete = ON").fetchall()
            self.overwrites = True

    def stop_overwriting(self) -> None:
        """The transaction has ended: the next ones only overwrite what costs no writes."""
        if self.overwrites:
            self.execute("PRAGMA secure_delete = FAST").fetchall()
            self.overwrites = False

    def insert(self, table: str, columns: str, rows: Sequence[Sequence[Any]], /) -> None:
        """Insert rows, as many as possible with each statement.

        Each execution releases the interpreter's lock and waits for it again, for as long as the
        busy event loop holds it.
        """
        done = 0
        for size in _SIZES:
            while len(rows) - done >= size:
                statement = _insert(table, columns, len(rows[0]), size)
                self.execute(statement, list(chain.from_iterable(rows[done : done + size])))
                done += size

    def pipeline(self) -> AbstractContextManager[object]:
        """Without effect: SQLite is in the same process."""
        return _NO_PIPELINE

    def listed(self, values: Collection[Any], /) -> str:
        """A JSON array, for ``json_each``."""
        return msgspec.json.encode(values).decode()

    def last_number(self, table: str, /) -> int:
        """From ``sqlite_sequence``, or from the table itself if it is not AUTOINCREMENT."""
        row = self.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", [table]).fetchone()
        if row is None:
            row = self.execute(f"SELECT max(id) FROM {table}").fetchone()  # noqa: S608 - a constant
        return row[0] or 0


@cache
def _insert(table: str, columns: str, width: int, size: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([row] * size)}"  # noqa: S608
