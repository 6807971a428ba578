"""The writing thread: group commits and checkpoints on the only connection that may write."""

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
from wsserver.storage.engine.errors import (
    DatabaseUnusable,
    StorageHealth,
    is_locked,
    translate,
)
from wsserver.storage.engine.file_identity import FileIdentity
from wsserver.storage.engine.lock import ServerLock
from wsserver.storage.engine.migrations import MIGRATIONS
from wsserver.storage.engine.wal import Log, is_cut_off, lost_commits, read_log
from wsserver.storage.engine.worker import Failure, Job, Worker, rollback

log = logging.getLogger(__name__)

_SHORT_TIMEOUT_S = 0.1
"""Busy timeout after a first transaction has waited for a lock in vain."""
_WAL_LIMIT_BYTES = 64 * 1024 * 1024
_CHECKPOINT_PAGES = 4000
"""16 MiB instead of SQLite's default of 4: each checkpoint waits for the disk twice."""
_REMEDY = "free the disk, grant access to the file and its folder, or name another one"


class Writer(Worker):
    """Executes all queued jobs in one transaction, so that commits keep up with requests.

    No other connection may write: SQLite before 3.51.3 can corrupt a file that two connections
    checkpoint.
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: Literal["normal", "full"],
        clock: Clock,
        health: StorageHealth,
        lock: ServerLock,
        busy_timeout_s: float,
        queue_limit: int,
        on_lost: Callable[[int, Exception], None],
    ) -> None:
        super().__init__("storage-writer", queue_limit=queue_limit, on_lost=on_lost)
        self._path = path
        self._synchronous = synchronous
        self._clock = clock
        self._health = health
        self._lock = lock
        self._files = FileIdentity(path, lock.header)
        self._job_error: Exception | None = None
        self._busy_timeout_s = busy_timeout_s
        self._has_short_timeout = False
        # Written by the thread, read by the loop: single references, replaced as a whole.
        self.commits = 0
        self.last_commit_ms: float | None = None
        self.file_bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether ``put`` accepts another job."""
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
                self._report_lost_commits(connection, found_log)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            # The rollback data of savepoints stays in memory, instead of in a file for each commit.
            connection.execute("PRAGMA temp_store = MEMORY")
            db = sqlite_utils.Database(connection, execute_plugins=False)
            MIGRATIONS.apply(db)
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            if is_locked(error):
                raise translate(error) from error
            raise DatabaseUnusable(
                path, f"cannot be opened for writing ({error})", _REMEDY
            ) from error
        self.file_bytes = self._files.note_opened()
        return db

    def _report_lost_commits(self, connection: sqlite3.Connection, found: Log) -> None:
        """Log the transactions that SQLite did not recover from the last run's log."""
        # The one statement that returns the number of valid frames; it also checkpoints them.
        _, recovered, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        lost = lost_commits(found, recovered)
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
        """One transaction for all; of a job that raises only its own changes are rolled back.

        Some errors (disk full, I/O) make SQLite roll back the whole transaction; then nothing of
        this round is stored and each job gets that error.
        """
        if self._health.corruption is not None:
            return [Failure(self._health.refusal())] * len(jobs)
        if all(job.fn is check_files for job in jobs):
            return [self._check_files()] * len(jobs)
        connection = db.conn
        began = self._clock.monotonic()
        self._job_error = None
        rollback(connection)
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._attempt(db, job) for job in jobs]
            self._files.check()
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the edge: every waiting future gets it
            rollback(connection)
            translated = translate(error)
            self._health.note("write", translated)
            self._set_timeout(connection, isinstance(error, sqlite3.Error) and is_locked(error))
            return [Failure(translated)] * len(jobs)
        self._health.note("write", self._job_error)
        self._set_timeout(connection, False)
        self.last_commit_ms = (self._clock.monotonic() - began) * 1000
        self.commits += 1
        self.file_bytes = self._files.note_written()
        return outcomes

    def _check_files(self) -> Failure | None:
        """Check without a transaction that the open files are still at their paths."""
        try:
            self._files.check()
        except StorageUnavailable as error:
            self._health.note("write", error)
            return Failure(error)
        return None

    def _set_timeout(self, connection: sqlite3.Connection, is_locked_now: bool) -> None:
        """Wait long for a lock in the first round only: later rounds would wait in vain again."""
        if is_locked_now == self._has_short_timeout:
            return
        self._has_short_timeout = is_locked_now
        wait_s = self._busy_timeout_s
        if is_locked_now:
            wait_s = min(wait_s, _SHORT_TIMEOUT_S)
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
            translated = translate(error)
            if isinstance(translated, StorageUnavailable | StorageFull):
                self._job_error = translated
            outcome = Failure(translated)
        connection.execute("RELEASE job")
        return outcome

    def _close(self, db: sqlite_utils.Database) -> None:
        """Checkpoint the write-ahead log; a corrupt file is not touched."""
        if self._health.corruption is not None:
            db.close()
            return
        try:
            db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            log.warning("checkpoint failed, the next start catches up reason=%s", error)
        db.close()


def check_files(db: sqlite_utils.Database) -> None:
    """A job without a transaction: compare the open files with their paths."""


def _create(path: Path) -> None:
    """Create an empty file of mode 0600; SQLite gives its -wal and -shm the same mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as error:
        raise DatabaseUnusable(path, f"cannot be created ({error.strerror})", _REMEDY) from error
