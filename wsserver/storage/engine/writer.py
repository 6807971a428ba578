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
from wsserver.histogram import SHORT_S, Histogram
from wsserver.storage.engine.check import check_file
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.errors import (
    DatabaseUnusable,
    StorageHealth,
    is_locked,
    translate,
)
from wsserver.storage.engine.file_identity import FileIdentity
from wsserver.storage.engine.identity import IDENTITY_KEY, file_place, identity_of
from wsserver.storage.engine.lock import ServerLock
from wsserver.storage.engine.migrations import MIGRATIONS
from wsserver.storage.engine.sqlite_connection import SqliteConnection
from wsserver.storage.engine.wal import Log, is_cut_off, lost_commits, read_log
from wsserver.storage.engine.worker import Failure, Job, Worker
from wsserver.storage.engine.write_turn import WriteTurn

log = logging.getLogger(__name__)

_SHORT_TIMEOUT_S = 0.1
"""Busy timeout after a first transaction has waited for a lock in vain."""
_TURN_S = 10.0
_SHORT_TURN_S = 1.0
"""Waiting for other processes of the cluster, which may have large batches or checkpoints."""
_WAL_LIMIT_BYTES = 64 * 1024 * 1024
_CHECKPOINT_PAGES = 4000
"""16 MiB instead of SQLite's default of 4: each checkpoint waits for the disk twice."""
_REMEDY = "free the disk, grant access to the file and its folder, or name another one"


class Writer(Worker[SqliteConnection]):
    """Executes all queued jobs in one transaction, so that commits keep up with requests.

    No other connection may write at the same time (``turn``): SQLite before 3.51.3 can corrupt a
    file that two connections checkpoint.
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: Literal["normal", "full"],
        clock: Clock,
        health: StorageHealth,
        lock: ServerLock,
        turn: WriteTurn,
        busy_timeout_s: float,
        queue_limit: int,
        on_lost: Callable[[int, Exception], None],
        is_shared: bool = False,
    ) -> None:
        super().__init__("storage-writer", queue_limit=queue_limit, on_lost=on_lost)
        self._path = path
        self._synchronous = synchronous
        self._clock = clock
        self._health = health
        self._lock = lock
        self._turn = turn
        self._is_shared = is_shared
        self._files = FileIdentity(path, lock.header, is_shared=is_shared)
        self._job_error: Exception | None = None
        self._busy_timeout_s = busy_timeout_s
        self._has_short_timeout = False
        # Written by the thread, read by the loop: single references, replaced as a whole.
        self.commits = 0
        self.last_commit_ms: float | None = None
        self.commit_durations = Histogram(SHORT_S)
        """In seconds; of the commits that succeeded."""
        self.file_bytes = 0
        self.identity = ""
        """Of the database; set when it is opened."""

    def _open(self) -> SqliteConnection:
        # Not while others write, whose log would seem to be longer than what is recovered of it.
        found_log = read_log(self._path) if self._lock.is_first else None
        if not check_file(self._path):
            _create(self._path)
            self._lock.acquire_file()
        with self._turn.taken(_TURN_S):
            return self._open_file(found_log)

    def _open_file(self, found_log: Log | None) -> SqliteConnection:
        path = self._path
        connection: SqliteConnection | None = None
        try:
            connection = sqlite3.connect(
                path,
                isolation_level=None,
                timeout=self._busy_timeout_s,
                factory=SqliteConnection,
            )
            connection.execute("PRAGMA journal_mode = WAL")
            if found_log is not None:
                self._report_lost_commits(connection, found_log)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            # A copy of a row that was moved to another page stays in no page that is written.
            connection.execute("PRAGMA secure_delete = FAST")
            # The rollback data of savepoints stays in memory, instead of in a file for each commit.
            connection.execute("PRAGMA temp_store = MEMORY")
            MIGRATIONS.apply(sqlite_utils.Database(connection, execute_plugins=False))
            self.identity = read_identity(connection, path)
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            if is_locked(error):
                raise translate(error) from error
            raise DatabaseUnusable(
                path, f"cannot be opened for writing ({error})", _REMEDY
            ) from error
        self.file_bytes = self._files.note_opened()
        return connection

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

    def _work(self, connection: SqliteConnection, jobs: Sequence[Job]) -> list[Any]:
        """One transaction for all; of a job that raises only its own changes are rolled back.

        Some errors (disk full, I/O) make SQLite roll back the whole transaction; then nothing of
        this round is stored and each job gets that error.
        """
        if self._health.corruption is not None:
            return [Failure(self._health.refusal())] * len(jobs)
        if all(job.fn is check_files for job in jobs):
            return [self._check_files()] * len(jobs)
        began = self._clock.monotonic()
        self._job_error = None
        rollback(connection)
        try:
            with self._turn.taken(_SHORT_TURN_S if self._has_short_timeout else _TURN_S):
                outcomes = self._attempt_all(connection, jobs)
        except Exception as error:  # noqa: BLE001 - the edge: every waiting future gets it
            translated = translate(error)
            self._health.note("write", translated)
            self._set_timeout(connection, isinstance(error, sqlite3.Error) and is_locked(error))
            return [Failure(translated)] * len(jobs)
        self._health.note("write", self._job_error)
        self._set_timeout(connection, False)
        if any(job.fn is empty_log for job in jobs):
            self._empty_log(connection)
        duration_s = self._clock.monotonic() - began
        self.last_commit_ms = duration_s * 1000
        self.commit_durations.observe(duration_s)
        self.commits += 1
        return outcomes

    def _attempt_all(self, connection: SqliteConnection, jobs: Sequence[Job]) -> list[Any]:
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._attempt(connection, job) for job in jobs]
            self._files.check()
            connection.execute("COMMIT")
        except BaseException:
            rollback(connection)
            raise
        finally:
            connection.stop_overwriting()
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

    def _attempt(self, connection: SqliteConnection, job: Job) -> Any:
        connection.execute("SAVEPOINT job")
        try:
            outcome = job.fn(connection)
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

    def _empty_log(self, connection: SqliteConnection) -> None:
        """Move the write-ahead log into the file and cut it off; not while others read."""
        connection.execute(f"PRAGMA busy_timeout = {int(_SHORT_TIMEOUT_S * 1000)}")
        try:
            with self._turn.taken(_SHORT_TURN_S):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except (sqlite3.Error, StorageUnavailable) as error:
            log.info("write-ahead log not emptied, the next time does it reason=%s", error)
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(self._busy_timeout_s * 1000)}")
            self.file_bytes = self._files.note_written()

    def _close(self, connection: SqliteConnection) -> None:
        """Checkpoint the write-ahead log; a corrupt file is not touched."""
        if self._health.corruption is not None:
            connection.close()
            return
        # Other processes go on: their readers are not waited for.
        mode = "PASSIVE" if self._is_shared else "TRUNCATE"
        try:
            with self._turn.taken(_TURN_S):
                connection.execute(f"PRAGMA wal_checkpoint({mode})")
                connection.close()
        except (sqlite3.Error, StorageUnavailable) as error:
            log.warning("checkpoint failed, the next start catches up reason=%s", error)
            connection.close()


def check_files(db: Connection) -> None:
    """A job without a transaction: compare the open files with their paths."""


def empty_log(db: Connection) -> None:
    """A job after whose transaction the write-ahead log is moved into the file."""


def read_identity(db: sqlite3.Connection, path: Path) -> str:
    """Read ``Database.identity``: the id in the table ``meta``, and the place of the file."""
    (database,) = db.execute("SELECT value FROM meta WHERE key = ?", [IDENTITY_KEY]).fetchone()
    return identity_of(database, *file_place(path))


def _create(path: Path) -> None:
    """Create an empty file of mode 0600; SQLite gives its -wal and -shm the same mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as error:
        raise DatabaseUnusable(path, f"cannot be created ({error.strerror})", _REMEDY) from error


def rollback(connection: sqlite3.Connection) -> None:
    """Roll back an open transaction, if any; never raises.

    If even this fails (a broken disk), the next round finds the transaction and tries again.
    """
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        log.error("rollback failed reason=%s", error)
