"""The thread with the one connection that writes and checkpoints: group commits."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import sqlite_utils

from wsserver.clock import Clock
from wsserver.errors import StorageFull, StorageUnavailable
from wsserver.storage.engine.check import check_file
from wsserver.storage.engine.errors import DatabaseFault, is_locked, translate
from wsserver.storage.engine.health import StorageHealth
from wsserver.storage.engine.lock import ServerLock
from wsserver.storage.engine.migrations import MIGRATIONS
from wsserver.storage.engine.open_files import OpenFiles
from wsserver.storage.engine.wal import Log, damage, is_cut_off, read_log
from wsserver.storage.engine.worker import Failure, Job, Worker, rollback

log = logging.getLogger(__name__)

_IMPATIENT_S = 0.1
"""How long to wait for a lock that a try has waited for in vain already."""
_WAL_LIMIT_BYTES = 64 * 1024 * 1024
_CHECKPOINT_PAGES = 4000
"""16 MiB instead of SQLite's 4: each checkpoint waits for the disk twice."""
_REMEDY = "free the disk, grant access to the file and its folder, or name another one"


class Writer(Worker):
    """Everything that waits goes into one transaction, so that commits keep up with requests.

    SQLite before 3.51.3 can damage a file that two connections checkpoint: no other one may write.
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: Literal["normal", "full"],
        clock: Clock,
        condition: StorageHealth,
        lock: ServerLock,
        busy_timeout_s: float,
        queue_limit: int,
        on_lost: Callable[[int, Exception], None],
    ) -> None:
        super().__init__("storage-writer", queue_limit=queue_limit, on_lost=on_lost)
        self._path = path
        self._synchronous = synchronous
        self._clock = clock
        self._condition = condition
        self._lock = lock
        self._files = OpenFiles(path, lock.header)
        self._trouble: Exception | None = None
        self._busy_timeout_s = busy_timeout_s
        self._is_impatient = False
        # Written by the thread, read by the loop: single references, replaced as a whole.
        self.commits = 0
        self.last_commit_ms: float | None = None
        self.file_bytes = 0

    @property
    def has_room(self) -> bool:
        """Will ``put`` take another job?"""
        return not self._stopping and len(self) < self._queue_limit

    def _open(self) -> sqlite_utils.Database:
        path = self._path
        found_log = read_log(path)
        if not check_file(path):
            _create(path)
            self._lock.acquire_file()
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(path, isolation_level=None, timeout=self._busy_timeout_s)
            connection.execute("PRAGMA journal_mode = WAL")
            if found_log is not None:
                self._report_damage(connection, found_log)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            # What a savepoint might have to undo stays in memory, instead of in a file a commit.
            connection.execute("PRAGMA temp_store = MEMORY")
            db = sqlite_utils.Database(connection, execute_plugins=False)
            MIGRATIONS.apply(db)
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            if is_locked(error):
                raise translate(error) from error
            raise DatabaseFault(path, f"cannot be opened for writing ({error})", _REMEDY) from error
        self.file_bytes = self._files.note_opened()
        return db

    def _report_damage(self, connection: sqlite3.Connection, found: Log) -> None:
        """Say what SQLite has left out of the log that the last run left behind."""
        # The one statement that tells how many frames are valid; it moves them into the file.
        _, recovered, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        lost = damage(found, recovered)
        if lost is not None:
            log.error(
                "write-ahead log is damaged, the database is whole without the transactions that"
                " were left out but what they had stored is missing, compare it with a backup"
                " path=%s damage=%s",
                self._path,
                lost,
            )
        elif is_cut_off(found, recovered):
            log.warning(
                "the last transaction in the write-ahead log is not whole and was left out, it was"
                " being written when the last run ended or was damaged since path=%s",
                self._path,
            )

    def _work(self, db: sqlite_utils.Database, jobs: Sequence[Job]) -> list[Any]:
        """One transaction for all; a job that raises is undone alone.

        Some errors (disk full, I/O) make SQLite undo the whole transaction; then nothing of this
        round is stored and each job gets that error.
        """
        if self._condition.damage is not None:
            return [Failure(self._condition.refusal())] * len(jobs)
        if all(job.fn is look for job in jobs):
            return [self._look()] * len(jobs)
        connection = db.conn
        began = self._clock.monotonic()
        self._trouble = None
        rollback(connection)
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._attempt(db, job) for job in jobs]
            self._files.check()
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the edge: every waiting future gets it
            rollback(connection)
            told = translate(error)
            self._condition.note("write", told)
            self._wait_for_locks(connection, isinstance(error, sqlite3.Error) and is_locked(error))
            return [Failure(told)] * len(jobs)
        self._condition.note("write", self._trouble)
        self._wait_for_locks(connection, False)
        self.last_commit_ms = (self._clock.monotonic() - began) * 1000
        self.commits += 1
        self.file_bytes = self._files.note_written()
        return outcomes

    def _look(self) -> Failure | None:
        """Without a transaction: are the files that are open still at their paths?"""
        try:
            self._files.check()
        except StorageUnavailable as error:
            self._condition.note("write", error)
            return Failure(error)
        return None

    def _wait_for_locks(self, connection: sqlite3.Connection, is_locked_now: bool) -> None:
        """Only the first round behind a lock waits for long: what comes after it need not."""
        if is_locked_now == self._is_impatient:
            return
        self._is_impatient = is_locked_now
        wait_s = self._busy_timeout_s
        if is_locked_now:
            wait_s = min(wait_s, _IMPATIENT_S)
        connection.execute(f"PRAGMA busy_timeout = {int(wait_s * 1000)}")

    def _attempt(self, db: sqlite_utils.Database, job: Job) -> Any:
        connection = db.conn
        connection.execute("SAVEPOINT job")
        try:
            outcome = job.fn(db)
        except Exception as error:
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO job")
            told = translate(error)
            if isinstance(told, StorageUnavailable | StorageFull):
                self._trouble = told
            outcome = Failure(told)
        connection.execute("RELEASE job")
        return outcome

    def _close(self, db: sqlite_utils.Database) -> None:
        """Move the write-ahead log into the file; a damaged file is left as it is."""
        if self._condition.damage is not None:
            db.close()
            return
        try:
            db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            log.warning("checkpoint failed, the next start catches up reason=%s", error)
        db.close()


def look(db: sqlite_utils.Database) -> None:
    """Compare the open files with their paths: a job that needs no transaction of its own."""


def _create(path: Path) -> None:
    """An empty file that nobody else may read; SQLite gives its -wal and -shm the same mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as error:
        raise DatabaseFault(path, f"cannot be created ({error.strerror})", _REMEDY) from error
