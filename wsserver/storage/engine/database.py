"""The database: job queues of one writing thread (group commits) and a few reading threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import sqlite_utils

from wsserver.clock import Clock
from wsserver.errors import StorageUnavailable, WsServerError
from wsserver.storage.engine.errors import StorageHealth
from wsserver.storage.engine.fair_queue import caller
from wsserver.storage.engine.lock import ServerLock
from wsserver.storage.engine.reader import Readers
from wsserver.storage.engine.worker import Job
from wsserver.storage.engine.writer import Writer, check_files

log = logging.getLogger(__name__)

T = TypeVar("T")


class Database:
    """One SQLite file in WAL mode, used by threads. Call its methods on the loop of ``open``.

    ``synchronous``: "normal" survives a crash of the process, "full" also power loss.
    ``queue_limit``: functions that may be queued for writing, and as many for reading.
    ``busy_timeout_s``: how long a transaction waits for the lock of another process.
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: Literal["normal", "full"] = "normal",
        clock: Clock,
        queue_limit: int = 10_000,
        busy_timeout_s: float = 2.0,
    ) -> None:
        self.path = path
        self._clock = clock
        self._lost = 0
        self._refusing = False
        self._lock = ServerLock(path)
        self._health = StorageHealth(path)
        self._writer = Writer(
            path,
            synchronous=synchronous,
            clock=clock,
            health=self._health,
            lock=self._lock,
            busy_timeout_s=busy_timeout_s,
            queue_limit=queue_limit,
            on_lost=self._count_lost,
        )
        self._readers = Readers(
            path,
            health=self._health,
            busy_timeout_s=busy_timeout_s,
            queue_limit=queue_limit,
        )

    async def open(self) -> None:
        """Create the folder (0700) and the file (0600) where missing, and apply migrations.

        Raises ``DatabaseUnusable`` for a file that cannot be used, without changing it, and
        ``StorageUnavailable`` while another process has it locked.
        """
        self._lock.acquire()
        try:
            await self._writer.start()
            await self._readers.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish the queued jobs, checkpoint the write-ahead log, close. Idempotent.

        A corrupt file is not checkpointed: SQLite does so when the last connection is closed, if
        that one may write, so the read-only connections are closed last.
        """
        stops = [self._readers.stop, self._writer.stop]
        if self._health.corruption is not None:
            stops.reverse()
        for stop in stops:
            await stop()
        self._lock.release()

    async def run(self, fn: Callable[[sqlite_utils.Database], T]) -> T:
        """Run ``fn`` in the writing thread and return its result once it is committed.

        All queued jobs run in one transaction, each in a savepoint: if ``fn`` raises, its own
        changes are rolled back and the exception is raised here. ``fn`` returns plain values (not
        a cursor), and neither commits nor rolls back. Raises ``StorageUnavailable`` (locked, I/O
        error; immediately if the queue is full) and ``StorageFull``; nothing is stored then. After
        a cancellation the outcome is unknown.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.put(Job(fn, future))
        return await future

    async def read(self, fn: Callable[[sqlite_utils.Database], T]) -> T:
        """Run ``fn`` in a reading thread, on one snapshot of the committed data.

        Callers (``fair_queue.caller``) take turns, with one ``fn`` of each running at a time. A
        write in ``fn`` raises ``sqlite3.OperationalError``. Errors as of ``run``.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._readers.put(Job(fn, future), caller())
        return await future

    @property
    def queued(self) -> int:
        """Number of jobs that wait for the writing thread."""
        return len(self._writer)

    def submit(
        self,
        fn: Callable[[sqlite_utils.Database], object],
        writes: int = 1,
        take_back: Callable[[Exception], bool] | None = None,
    ) -> bool:
        """Queue ``fn`` for the writing thread without waiting; False: the queue is full or closed.

        A failure, now or later, is logged and counted in ``health()["lost_writes"]`` as ``writes``,
        unless ``take_back`` (called on the loop) returns True: the caller will try again.
        """
        try:
            self._writer.put(Job(fn, None, writes, take_back))
        except StorageUnavailable as error:
            if take_back is None or not take_back(error):
                self.refuse(str(error), writes)
            return False
        self._refusing = False
        return True

    def refuse(self, reason: str, writes: int = 1) -> None:
        """Log and count writes that were refused before they were queued."""
        self._lost += writes
        if not self._refusing:  # log the first of a series only
            self._refusing = True
            log.error("write refused reason=%s", reason)

    async def settle(self) -> None:
        """Wait until every job queued so far has been committed or has failed; never raises.

        After it, a read sees what the same caller has just submitted. While writes fail it returns
        immediately: another write would only delay the read.
        """
        if self._health.errors["write"] is not None:
            return
        try:
            await self.run(_nothing)
        except WsServerError:
            return

    async def probe(self) -> None:
        """Update the health of an idle database; never raises.

        Checks that the open files are still at their paths, and retries writing or reading if it
        failed last. Does nothing for a corrupt file.
        """
        if self._health.corruption is not None:
            return
        with contextlib.suppress(WsServerError):
            has_failed = self._health.errors["write"] is not None
            await self.run(_touch if has_failed else check_files)
        with contextlib.suppress(WsServerError):
            if self._health.errors["read"] is not None:
                await self.read(_count_tables)

    def health(self) -> dict[str, Any]:
        """The state for ``/health`` and ``/metrics``.

        ``ok``: the latest write and read succeeded and the queue is not full; ``queued``: jobs that
        wait to write; ``last_commit_ms``: duration of the latest commit (None before the first);
        ``commits``, ``lost_writes``: since start; ``file_bytes``: database and write-ahead log;
        ``last_error``: of the latest write or read, or None.
        """
        writer = self._writer
        return {
            "ok": self._health.is_ok and writer.has_room,
            "queued": len(writer),
            "last_commit_ms": writer.last_commit_ms,
            "commits": writer.commits,
            "lost_writes": self._lost,
            "file_bytes": writer.file_bytes,
            "last_error": self._health.last_error,
        }

    def _count_lost(self, count: int, error: Exception) -> None:
        self._lost += count
        log.error("writes lost count=%d", count, exc_info=error)


def _nothing(db: sqlite_utils.Database) -> None:
    """A job without effect: its completion shows that all before it are done."""


def _touch(db: sqlite_utils.Database) -> None:
    """Write a page without changing its content: an empty commit would not reach the disk."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version = {version}")


def _count_tables(db: sqlite_utils.Database) -> None:
    db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
