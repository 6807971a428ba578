"""Ends connections to a PostgreSQL server that does not answer any more.

A server that stands still, or one behind a proxy that has lost it, neither answers nor closes the
connection: libpq would wait for ever. (One whose packets are lost is given up by the system, see
``tcp_user_timeout``.)

A connection that was lost alone is told from a statement that takes long, as a commit to a slow
disk, by asking the server over another one whether it works on the statement.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf

import psycopg

from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.errors import DatabaseUnusable
from wsserver.storage.engine.postgres.connecting import RECONNECT_TIMEOUT_S, Server
from wsserver.storage.engine.postgres.connection import Backend, PostgresConnection

log = logging.getLogger(__name__)

STATEMENT_S = 10.0
"""Time of a statement that writes, after which the server ends it."""
ANSWER_S = 12.0
"""Time without an answer after which the server is given up."""
BEGIN_S = 5.0
"""The same for the beginning of a transaction, which takes no time, and for its connection only."""
ASK_S = 2.0
"""Time without an answer after which the server is asked whether it works on the statement."""
INQUIRY_S = 2.0
"""Time for that answer; without it nothing is known."""
PERIOD_S = 1.0
STANDSTILL_S = 1.0
"""Time beyond a period after which this process has stood still, as in a machine that is paused."""

_BUSY = """
    SELECT pid, backend_start, coalesce(wait_event = 'ClientRead' AND query LIKE 'COPY %', false)
    FROM pg_stat_activity
    WHERE pid = ANY($1) AND (
        state IS NULL OR state NOT LIKE 'idle%' OR clock_timestamp() - state_change < '1 second'
    )
"""
"""Those of some processes that may be at work, or have sent their answer just now.

Third: whether it waits for rows of a COPY, which it counts as work.
"""


class AnswerWatch:
    """Watches the connections that wait for an answer, from a thread of its own.

    The one that writes tells whether the server answers: its statements are ended by the server
    after ``STATEMENT_S``. Those that read may take longer, but not beside one that is given up.
    One that was not used for long may have been lost by what is between: it shows when it begins.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._waiting: dict[PostgresConnection, bool] = {}
        """Connections in use, and whether each is the one that writes."""
        self._beginning: set[PostgresConnection] = set()
        """Those that begin a transaction."""
        self._inquiry: Inquiry | None = None
        self._changed = threading.Condition()
        self._is_over = True

    def start(self) -> None:
        """Start the thread."""
        self._is_over = False
        threading.Thread(target=self._run, name="storage-watch", daemon=True).start()

    def stop(self) -> None:
        """End the thread. Idempotent."""
        with self._changed:
            self._is_over = True
            self._changed.notify()

    @contextmanager
    def waiting(self, db: PostgresConnection, *, writes: bool) -> Iterator[None]:
        """The connection is in use; it is closed if its server does not answer."""
        db.asked_at = inf
        with self._changed:
            self._waiting[db] = writes
        try:
            yield
        finally:
            with self._changed:
                del self._waiting[db]

    @contextmanager
    def beginning(self, db: PostgresConnection) -> Iterator[None]:
        """A connection that is ``waiting`` begins a transaction."""
        with self._changed:
            self._beginning.add(db)
        try:
            yield
        finally:
            with self._changed:
                self._beginning.discard(db)

    def _run(self) -> None:
        with self._changed:
            while not self._is_over:
                began = time.monotonic()
                self._changed.wait(PERIOD_S)
                now = time.monotonic()
                # Otherwise this process stood still: answers may wait to be read, which come first.
                if now - began < PERIOD_S + STANDSTILL_S:
                    self._look(now)

    def _look(self, now: float) -> None:
        silent = {db: w for db, w in self._waiting.items() if now - db.asked_at >= ANSWER_S}
        if any(silent.values()):
            log.error("the database does not answer, its connections are closed")
            for db in silent:
                db.hang_up()
            return
        for db in self._beginning:
            if now - db.asked_at >= BEGIN_S:
                _hang_up_lost(db)
        self._inquire(now)

    def _inquire(self, now: float) -> None:
        """End the connections that the server waits at; ask it about those that are silent now.

        What an inquiry has found is used in the next period. If this process stood still meanwhile,
        an answer that had been waiting for it has been read by then.
        """
        inquiry = self._inquiry
        if inquiry is not None and inquiry.is_alive():
            if now - inquiry.since >= INQUIRY_S:
                inquiry.hang_up()
            return
        self._inquiry = None
        for db, asked_at in inquiry.lost if inquiry is not None else ():
            if db in self._waiting and db.asked_at == asked_at:
                _hang_up_lost(db)
        silent = [(db, db.asked_at) for db in self._waiting if now - db.asked_at >= ASK_S]
        if silent:
            self._inquiry = Inquiry(self._server, silent, now)
            try:
                self._inquiry.start()
            except RuntimeError as error:  # the limit of threads; the watch goes on
                log.warning("the database is not asked about a silent connection error=%s", error)


class Inquiry(threading.Thread):
    """Asks the server, once, which of some connections it works for."""

    def __init__(
        self, server: Server, silent: Sequence[tuple[PostgresConnection, float]], since: float
    ) -> None:
        super().__init__(name="storage-inquiry", daemon=True)
        self._server = server
        self._silent = silent
        """Each with the time of its latest statement."""
        self._db: PostgresConnection | None = None
        self.since = since
        self.lost: list[tuple[PostgresConnection, float]] = []
        """Those of the connections that the server does not work for; when this has ended."""

    def run(self) -> None:
        """Ask. Without an answer, nothing is known."""
        try:
            self._db = self._server.connect(RECONNECT_TIMEOUT_S)
        except (StorageUnavailable, DatabaseUnusable):
            return
        asked = [each for each in self._silent if each[0].backend is not None]
        try:
            pids = [db.backend[0] for db, _ in asked if db.backend is not None]
            busy: dict[Backend, bool] = {
                (pid, since): awaits_rows
                for pid, since, awaits_rows in self._db.raw.execute(_BUSY, [pids]).fetchall()
            }
        except psycopg.OperationalError:
            return
        finally:
            self._db.close()
        self.lost = [each for each in asked if _is_lost(each[0], busy)]

    def hang_up(self) -> None:
        """Wait no longer for the answer."""
        if self._db is not None:
            self._db.hang_up()


def _is_lost(db: PostgresConnection, busy: Mapping[Backend, bool]) -> bool:
    """Whether the server does not work for a connection, or waits for rows that were sent."""
    awaits_rows = busy.get(db.backend) if db.backend is not None else None
    return awaits_rows is None or (awaits_rows and db.is_all_sent)


def _hang_up_lost(db: PostgresConnection) -> None:
    log.warning("a connection to the database was lost unnoticed, it is closed")
    db.hang_up()
