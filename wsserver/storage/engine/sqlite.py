"""The database in a SQLite file."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any, Literal

from wsserver.clock import Clock
from wsserver.errors import StorageUnavailable, WsServerError
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.errors import StorageHealth
from wsserver.storage.engine.lock import ServerLock
from wsserver.storage.engine.reader import SqliteReader
from wsserver.storage.engine.readers import Readers
from wsserver.storage.engine.write_turn import OnlyWriter, SharedTurn
from wsserver.storage.engine.writer import Writer, check_files, empty_log

_OPENING_S = 60.0


class SqliteDatabase(Database):
    """One SQLite file in WAL mode.

    ``synchronous``: "normal" survives a crash of the process, "full" also power loss.
    ``queue_limit``: functions that may be queued for writing, and as many for reading.
    ``busy_timeout_s``: how long a transaction waits for the lock of another program.
    ``cluster``: name of the cluster whose processes, all on this machine, share the file.
    """

    KIND = "sqlite"

    def __init__(
        self,
        path: Path,
        *,
        synchronous: Literal["normal", "full"] = "normal",
        clock: Clock,
        queue_limit: int = 10_000,
        busy_timeout_s: float = 2.0,
        cluster: str | None = None,
    ) -> None:
        self.path = path
        self.is_shared = cluster is not None
        self._lock = ServerLock(path, cluster)
        health = StorageHealth(str(path))
        self._writer = Writer(
            path,
            synchronous=synchronous,
            clock=clock,
            health=health,
            lock=self._lock,
            turn=SharedTurn(self._lock) if self.is_shared else OnlyWriter(),
            is_shared=self.is_shared,
            busy_timeout_s=busy_timeout_s,
            queue_limit=queue_limit,
            on_lost=self._count_lost,
        )
        readers = Readers(
            lambda: SqliteReader(path, busy_timeout_s), health=health, queue_limit=queue_limit
        )
        super().__init__(health, self._writer, readers)

    @property
    def location(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def identity(self) -> str:
        """The id of the database, and a digest of machine, device and inode of the file."""
        return self._writer.identity

    @property
    def file(self) -> Path:
        """The path."""
        return self.path

    async def open(self) -> None:
        """Create the folder (0700) and the file (0600) where missing, and apply migrations.

        Raises ``DatabaseUnusable`` for a file that cannot be used, without changing it, and
        ``StorageUnavailable`` while another process has it locked.
        """
        await self._acquire()
        try:
            await self._writer.start()
            await self._readers.start()
            self._lock.share()
        except BaseException:
            await self.close()
            raise

    async def _acquire(self) -> None:
        """Lock the file; waits while another process of the cluster applies migrations."""
        until = time.monotonic() + _OPENING_S
        while not self._lock.try_acquire():
            if time.monotonic() >= until:
                raise StorageUnavailable(f"another process has been opening {self.path} for long")
            await asyncio.sleep(0.02)

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

    async def empty_log(self) -> bool:
        """Move the write-ahead log into the file and cut it off, unless it is being read."""
        await self.run(empty_log)
        return True

    def health(self) -> dict[str, Any]:
        """The state; ``file_bytes``: of the database and its write-ahead log."""
        return {**super().health(), "file_bytes": self._writer.file_bytes}


def _touch(db: Connection) -> None:
    """Write a page without changing its content: an empty commit would not reach the disk."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version = {version}")


def _count_tables(db: Connection) -> None:
    db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
