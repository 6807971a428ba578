"""The thread with the read-only connection, for long reads that must not hold up writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlite_utils

from wsserver.storage.condition import Condition
from wsserver.storage.faults import translate
from wsserver.storage.worker import Failure, Job, Worker, rollback


class Reader(Worker):
    """Each job sees one consistent state of what is committed."""

    def __init__(
        self,
        path: Path,
        *,
        condition: Condition,
        busy_timeout_s: float,
        queue_limit: int,
        on_lost: Callable[[int, Exception], None],
    ) -> None:
        super().__init__("storage-reader", queue_limit=queue_limit, on_lost=on_lost)
        self._path = path
        self._condition = condition
        self._busy_timeout_s = busy_timeout_s

    def _open(self) -> sqlite_utils.Database:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            timeout=self._busy_timeout_s,
        )
        # Opens the -wal and -shm now: at the first read their paths might lead elsewhere.
        try:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
        except sqlite3.Error as error:
            connection.close()
            raise translate(error) from error
        return sqlite_utils.Database(connection, execute_plugins=False)

    def _work(self, db: sqlite_utils.Database, jobs: Sequence[Job]) -> list[Any]:
        return [self._attempt(db, job) for job in jobs]

    def _attempt(self, db: sqlite_utils.Database, job: Job) -> Any:
        try:
            db.conn.execute("BEGIN")
            outcome = job.fn(db)
        except Exception as error:  # noqa: BLE001 - the edge: the waiting future gets it
            told = translate(error)
            self._condition.note("read", told)
            return Failure(told)
        else:
            self._condition.note("read", None)
            return outcome
        finally:
            rollback(db.conn)

    def _close(self, db: sqlite_utils.Database) -> None:
        db.close()
