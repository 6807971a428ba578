"""The database file: one thread writes it in group commits, a few others read it."""

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
from wsserver.storage.engine.callers import caller
from wsserver.storage.engine.health import StorageHealth
from wsserver.storage.engine.lock import ServerLock
from wsserver.storage.engine.reader import Readers
from wsserver.storage.engine.worker import Job
from wsserver.storage.engine.writer import Writer, look

log = logging.getLogger(__name__)

T = TypeVar("T")


class Database:
    """One SQLite file (WAL) behind threads; every method is called on the loop of ``open``.

    ``synchronous``: "normal" survives a crash of the process, "full" also power loss.
    ``queue_limit``: functions that may wait to write, and as many to read.
    ``busy_timeout_s``: how long a transaction waits for another process's lock.
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
        self._condition = StorageHealth(path)
        self._writer = Writer(
            path,
            synchronous=synchronous,
            clock=clock,
            condition=self._condition,
            lock=self._lock,
            busy_timeout_s=busy_timeout_s,
            queue_limit=queue_limit,
            on_lost=self._count_lost,
        )
        self._readers = Readers(
            path,
            condition=self._condition,
            busy_timeout_s=busy_timeout_s,
            queue_limit=queue_limit,
        )

    async def open(self) -> None:
        """Create the folder (0700) and the file (0600) where missing, and bring the schema up.

        Raises ``DatabaseFault`` for a file that cannot be used, with its bytes unchanged, and
        ``StorageUnavailable`` while another process holds it locked.
        """
        self._lock.acquire()
        try:
            await self._writer.start()
            await self._readers.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what is queued, move the write-ahead log into the file, close. Harmless twice.

        A damaged file gets nothing more: SQLite writes the log into it when the last connection
        that may write is closed, so that the reading ones, which may not, are closed last.
        """
        stops = [self._readers.stop, self._writer.stop]
        if self._condition.damage is not None:
            stops.reverse()
        for stop in stops:
            await stop()
        self._lock.release()

    async def run(self, fn: Callable[[sqlite_utils.Database], T]) -> T:
        """Run ``fn`` in the writing thread and return its result once it is committed.

        All that wait are executed in one transaction, each in a savepoint: where ``fn`` raises,
        its own changes are undone and the exception comes out here. ``fn`` returns plain values
        (no cursor), and neither commits nor rolls back. Raises ``StorageUnavailable`` (locked,
        I/O error, queue full: at once) and ``StorageFull``; nothing is stored then. After a
        cancellation the outcome is unknown.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.put(Job(fn, future))
        return await future

    async def read(self, fn: Callable[[sqlite_utils.Database], T]) -> T:
        """Run ``fn`` in a reading thread, on one consistent state of the committed data.

        Callers (``storage.callers``) take turns, with one ``fn`` of each running at a time. A
        write in ``fn`` raises ``sqlite3.OperationalError``. Errors as those of ``run``.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._readers.put(Job(fn, future), caller())
        return await future

    @property
    def queued(self) -> int:
        """Functions that wait for the writing thread."""
        return len(self._writer)

    def submit(
        self,
        fn: Callable[[sqlite_utils.Database], object],
        writes: int = 1,
        take_back: Callable[[Exception], bool] | None = None,
    ) -> bool:
        """Queue ``fn`` for the writing thread without waiting; False: no room, or closed.

        A failure, now or later on, is logged and counted in ``health()["lost_writes"]`` as so many
        ``writes``, unless ``take_back`` says on the loop that the caller will try again.
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
        """Count writes that were not even queued."""
        self._lost += writes
        if not self._refusing:  # once, not for each of thousands
            self._refusing = True
            log.error("write refused reason=%s", reason)

    async def settle(self) -> None:
        """Wait until everything queued so far has been committed or has failed; never raises.

        Lets a read see what the same caller has just submitted. While writes fail, it does not
        hold the read up for another one that would.
        """
        if self._condition.errors["write"] is not None:
            return
        try:
            await self.run(_nothing)
        except WsServerError:
            return

    async def probe(self) -> None:
        """Keep the state true while nothing is asked of the database; never raises.

        Looks whether the files are still there, and tries again what has failed. With a damaged
        file there is nothing to try.
        """
        if self._condition.damage is not None:
            return
        with contextlib.suppress(WsServerError):
            has_failed = self._condition.errors["write"] is not None
            await self.run(_touch if has_failed else look)
        with contextlib.suppress(WsServerError):
            if self._condition.errors["read"] is not None:
                await self.read(_look)

    def health(self) -> dict[str, Any]:
        """The state for ``/health`` and ``/metrics``.

        ``ok``: what was tried latest succeeded and there is room in the queue; ``queued``:
        functions that wait; ``last_commit_ms``: duration of the latest commit (None before the
        first); ``commits``, ``lost_writes``: since start; ``file_bytes``: database and
        write-ahead log; ``last_error``: why the latest write or read failed, or None.
        """
        writer = self._writer
        return {
            "ok": self._condition.is_well and writer.has_room,
            "queued": len(writer),
            "last_commit_ms": writer.last_commit_ms,
            "commits": writer.commits,
            "lost_writes": self._lost,
            "file_bytes": writer.file_bytes,
            "last_error": self._condition.last_error,
        }

    def _count_lost(self, count: int, error: Exception) -> None:
        self._lost += count
        log.error("writes lost count=%d", count, exc_info=error)


def _nothing(db: sqlite_utils.Database) -> None:
    """Change nothing, and be committed."""


def _touch(db: sqlite_utils.Database) -> None:
    """Change nothing, but write a page all the same: an empty commit would not reach the disk."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version = {version}")


def _look(db: sqlite_utils.Database) -> None:
    db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
