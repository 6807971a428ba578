"""The pool of reading threads, each with a read-only connection."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlite_utils

from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.errors import StorageHealth, translate
from wsserver.storage.engine.fair_queue import FairQueue, Turn
from wsserver.storage.engine.worker import Failure, Job, rollback, settle

THREADS = 3
"""A caller occupies at most one of them (in WAL mode readers run in parallel)."""
CALLER_LIMIT = 1000
"""Reads that one caller may have waiting; the queue is shared by all."""


class Readers:
    """A pool of reading threads behind one fair queue.

    Each job sees one snapshot of the committed data. A caller has one job running at a time,
    whatever the number of threads. Outcomes are posted to the loop immediately; those that it has
    not fetched yet are delivered together.
    """

    def __init__(
        self,
        path: Path,
        *,
        health: StorageHealth,
        busy_timeout_s: float,
        queue_limit: int,
        threads: int = THREADS,
        caller_limit: int = CALLER_LIMIT,
    ) -> None:
        self._path = path
        self._health = health
        self._busy_timeout_s = busy_timeout_s
        self._queue_limit = queue_limit
        self._caller_limit = caller_limit
        self._threads = threads
        self._waiting: FairQueue[Job] = FairQueue()
        self._outcomes: list[tuple[Job, Any]] = []
        """Of finished jobs, not delivered on the loop yet."""
        self._changed = threading.Condition()
        """Guards the queue and the outcomes; held for a few instructions only."""
        self._is_stopping = True
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: list[asyncio.Future[None]] = []

    async def start(self) -> None:
        """Start the threads; raises the error of opening a connection."""
        loop = self._loop = asyncio.get_running_loop()
        self._is_stopping = False
        started: list[asyncio.Future[None]] = []
        for number in range(1, self._threads + 1):
            is_open, is_over = loop.create_future(), loop.create_future()
            started.append(is_open)
            self._stopped.append(is_over)
            # A daemon: an immediate exit (second SIGTERM) must not wait for the disk.
            threading.Thread(
                target=self._main,
                args=(is_open, is_over),
                name=f"storage-reader-{number}",
                daemon=True,
            ).start()
        outcomes = await asyncio.gather(*started, return_exceptions=True)
        errors = [each for each in outcomes if isinstance(each, BaseException)]
        if errors:
            await self.stop()
            raise errors[0]

    def put(self, job: Job, caller: str | None = None) -> None:
        """Queue a job; raises ``StorageUnavailable`` if the queue is full or closed."""
        with self._changed:
            if self._is_stopping:
                raise StorageUnavailable("the database is closed")
            if len(self._waiting) >= self._queue_limit:
                raise StorageUnavailable("too many requests are waiting for the database")
            if caller is not None and self._waiting.waiting_of(caller) >= self._caller_limit:
                raise StorageUnavailable("too many of your requests are waiting for the database")
            if self._waiting.put(caller, job):
                self._changed.notify()

    async def stop(self) -> None:
        """Accept no more jobs, finish the queued ones, close the connections. Idempotent."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        await asyncio.gather(*map(asyncio.shield, self._stopped))

    # In the threads

    def _main(self, started: asyncio.Future[None], stopped: asyncio.Future[None]) -> None:
        try:
            try:
                db = self._open()
            except Exception as error:  # noqa: BLE001 - the edge: start() raises it
                self._post(settle, started, Failure(error))
                return
            self._post(settle, started, None)
            while (turn := self._take()) is not None:
                self._finish(turn, self._attempt(db, turn.job))
            db.close()
        finally:
            self._post(settle, stopped, None)

    def _open(self) -> sqlite_utils.Database:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            timeout=self._busy_timeout_s,
        )
        # Opens the -wal and -shm now: by the first read their paths might lead elsewhere.
        try:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
        except sqlite3.Error as error:
            connection.close()
            raise translate(error) from error
        return sqlite_utils.Database(connection, execute_plugins=False)

    def _take(self) -> Turn[Job] | None:
        """The next job; waits for one. None: stopping, and the queue is empty."""
        with self._changed:
            while (turn := self._waiting.take()) is None:
                # A job behind a running one is taken by the thread that runs that one.
                if self._is_stopping:
                    return None
                self._changed.wait()
            return turn

    def _attempt(self, db: sqlite_utils.Database, job: Job) -> Any:
        try:
            db.conn.execute("BEGIN")
            outcome = job.fn(db)
        except Exception as error:  # noqa: BLE001 - the edge: the waiting future gets it
            translated = translate(error)
            self._health.note("read", translated)
            return Failure(translated)
        else:
            self._health.note("read", None)
            return outcome
        finally:
            rollback(db.conn)

    def _finish(self, turn: Turn[Job], outcome: Any) -> None:
        with self._changed:
            if self._waiting.finished(turn.caller):
                self._changed.notify()
            is_first = not self._outcomes
            self._outcomes.append((turn.job, outcome))
        if is_first:
            self._post(self._deliver)

    def _post(self, callback: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None  # noqa: S101 - set before the threads start
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            # The loop was closed without stop(): nothing waits for the outcome.
            if not self._loop.is_closed():
                raise

    # On the loop

    def _deliver(self) -> None:
        with self._changed:
            outcomes, self._outcomes = self._outcomes, []
        for job, outcome in outcomes:
            if job.future is not None:
                settle(job.future, outcome)
