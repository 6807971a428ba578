"""Ends connections to a PostgreSQL server that does not answer any more.

A server that stands still, or one behind a proxy that has lost it, neither answers nor closes the
connection: libpq would wait for ever. (One whose packets are lost is given up by the system, see
``tcp_user_timeout``.)
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from wsserver.storage.engine.postgres.connection import PostgresConnection

log = logging.getLogger(__name__)

STATEMENT_S = 10.0
"""Time of a statement that writes, after which the server ends it."""
ANSWER_S = 12.0
"""Time without an answer after which the server is given up."""
BEGIN_S = 5.0
"""The same for the beginning of a transaction, which takes no time, and for its connection only."""
PERIOD_S = 1.0


class AnswerWatch:
    """Watches the connections that wait for an answer, from a thread of its own.

    The one that writes tells whether the server answers: its statements are ended by the server
    after ``STATEMENT_S``. Those that read may take longer, but not beside one that is given up.
    One that was not used for long may have been lost by what is between: it shows when it begins.
    """

    def __init__(self) -> None:
        self._waiting: dict[PostgresConnection, bool] = {}
        """Connections in use, and whether each is the one that writes."""
        self._beginning: set[PostgresConnection] = set()
        """Those that begin a transaction."""
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
        db.asked_at = time.monotonic()
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
                self._changed.wait(PERIOD_S)
                self._look(time.monotonic())

    def _look(self, now: float) -> None:
        silent = {db: w for db, w in self._waiting.items() if now - db.asked_at >= ANSWER_S}
        if any(silent.values()):
            log.error("the database does not answer, its connections are closed")
            for db in silent:
                db.hang_up()
            return
        for db in self._beginning:
            if now - db.asked_at >= BEGIN_S:
                log.warning("a connection to the database was lost unnoticed, it is closed")
                db.hang_up()
