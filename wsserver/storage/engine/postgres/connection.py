"""PostgreSQL's connection for jobs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import termios
import time
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from math import inf
from typing import Any

import psycopg
from psycopg.types.numeric import Int8Dumper

from wsserver.storage.engine.connection import Cursor, Parameters
from wsserver.storage.engine.postgres.dialect import translate
from wsserver.storage.engine.postgres.gin_index import GinIndex

_COPY_ROWS = 5
"""From so many rows on COPY is quicker than statements."""
_BACKEND = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_PREPARED = 500
"""Prepared statements that are kept: more than the program has."""

Backend = tuple[int, datetime]
"""The server's process of a connection: its id and start."""


class PostgresConnection:
    """A psycopg connection in autocommit mode, with the protocol ``Connection``."""

    grams = GinIndex()

    def __init__(self, raw: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.raw = raw
        self.backend: Backend | None = raw.execute(_BACKEND).fetchone()
        """None: something between hides it."""
        self.asked_at = inf
        """When the statement was begun whose answer is awaited (monotonic); inf: none is.

        In a pipeline it is that of the latest one, whether it is answered or not.
        """
        self._has_pipeline = False
        raw.cursor_factory = psycopg.RawCursor
        # One type for all integers: otherwise a statement is prepared once for each combination.
        raw.adapters.register_dumper(int, Int8Dumper)
        raw.prepare_threshold = 2
        raw.prepared_max = _PREPARED

    def execute(self, sql: str, parameters: Parameters = (), /) -> Cursor:
        """Execute a statement of the common subset."""
        self.asked_at = time.monotonic()
        text, names = translate(sql)
        values = [parameters[name] for name in names] if names else parameters or ()  # type: ignore[call-overload]
        cursor: Cursor = self.raw.cursor(binary=True).execute(text, values)
        self._note_answer()
        return cursor

    @property
    def is_lost(self) -> bool:
        """Whether the connection is closed or broken."""
        return self.raw.closed or self.raw.broken

    @property
    def is_all_sent(self) -> bool:
        """Whether the other end's system has confirmed all bytes; False: not, or it is unknown."""
        count = array("i", [1])
        with contextlib.suppress(OSError, psycopg.Error):
            fcntl.ioctl(self.raw.pgconn.socket, termios.TIOCOUTQ, count)
        return count[0] == 0

    def close(self) -> None:
        """Disconnect."""
        self.raw.close()

    def hang_up(self) -> None:
        """End the connection from another thread; who waits for an answer gets an error."""
        hang_up(self.raw)

    def run_script(self, sql: str) -> int:
        """Execute statements without parameters in one step; returns the last one's row count."""
        self.asked_at = time.monotonic()
        cursor = self.raw.cursor().execute(sql, prepare=False)
        while cursor.nextset():
            pass
        self._note_answer()
        return cursor.rowcount

    def executemany(self, sql: str, rows: Iterable[Parameters], /) -> Cursor:
        """Execute a statement once for each set of parameters, in one pipeline."""
        self.asked_at = time.monotonic()
        cursor = self.raw.cursor()
        if rows := list(rows):
            cursor.executemany(translate(sql).sql, rows)
        self._note_answer()
        return cursor

    def insert(self, table: str, columns: str, rows: Sequence[Sequence[Any]], /) -> None:
        """Insert rows by COPY, or one or few of them by statements."""
        if len(rows) < _COPY_ROWS:
            places = ", ".join(f"${number}" for number in range(1, columns.count(",") + 2))
            self.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)  # noqa: S608
            return
        self.asked_at = time.monotonic()
        with self.raw.cursor().copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
            for row in rows:
                self.asked_at = time.monotonic()
                copy.write_row(row)
            self.asked_at = time.monotonic()
        self._note_answer()

    @contextlib.contextmanager
    def pipeline(self) -> Iterator[None]:
        """psycopg's pipeline mode: fetching a result waits for the statements so far."""
        self._has_pipeline = True
        try:
            with self.raw.pipeline():
                yield
        finally:
            self._has_pipeline = False
        self._note_answer()

    def _note_answer(self) -> None:
        if not self._has_pipeline:
            self.asked_at = inf

    def overwrite_deleted(self) -> None:
        """Without effect: VACUUM does it."""

    def listed(self, values: Collection[Any], /) -> list[Any]:
        """An array."""
        return list(values)

    def last_number(self, table: str, /) -> int:
        """From the table ``numbered``, which a transaction changes together with the rows."""
        row = self.execute("SELECT last FROM numbered WHERE name = ?", [table]).fetchone()
        return 0 if row is None else row[0]


def hang_up(raw: psycopg.Connection[Any]) -> None:
    """End a connection from another thread than the one that uses it."""
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(raw.pgconn.socket)) as end,
    ):
        end.shutdown(socket.SHUT_RDWR)
