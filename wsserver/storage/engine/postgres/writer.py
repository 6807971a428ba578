"""The writing thread for PostgreSQL: group commits whose outcome survives a lost connection.

Each transaction sets the number of the round in this run's row of the table ``writers``. If the
connection is lost while the answer to COMMIT is awaited, that row says after reconnecting whether
the round was committed; until then its jobs are neither done nor failed. The same row is a fence:
a run whose row is no longer current, as another server has taken over, stores nothing.

Servers that share the database take turns: each transaction holds one lock (``TURN``) until it has
ended. So they do not deadlock, offsets and numbers appear in their order, and a job that reads
before it writes sees what the job before it stored, of whichever server. The price is that only one
commit is under way; those who wait gather larger batches meanwhile. The server gives the lock to
those who wait in their order.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import psycopg

from wsserver.clock import Clock
from wsserver.errors import OutcomeUnknown, StorageFull, StorageUnavailable
from wsserver.histogram import SHORT_S, Histogram
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.errors import HELD_ALONE, HELD_BY_CLUSTER, StorageHealth
from wsserver.storage.engine.identity import identity_of
from wsserver.storage.engine.postgres.answer_watch import STATEMENT_S, AnswerWatch
from wsserver.storage.engine.postgres.connecting import (
    RECONNECT_TIMEOUT_S,
    Server,
    check_server,
)
from wsserver.storage.engine.postgres.connection import Backend, PostgresConnection
from wsserver.storage.engine.postgres.errors import is_conflict, translate
from wsserver.storage.engine.postgres.migrations import TURN, migrate
from wsserver.storage.engine.worker import Failure, Job, Worker

log = logging.getLogger(__name__)

_BACKOFF_S = (0.1, 5.0)
"""Between two attempts to connect: first and longest."""
_UNDECIDED_S = 10.0
"""How long callers wait to learn whether a transaction was committed."""
_LOCK_WAIT_S = 5.0
"""At start: the server lets go of the lock of a killed process only once it has noticed."""
_RELOCK_WAIT_S = 1.0
_ATTEMPTS = 3
_ROWS_KEPT_S = 7 * 86_400
"""Time until the row of a run that has ended, or has lost its connection, is deleted."""
_TOUCH_S = 3600.0
"""Without transactions a run shows in its row after this time that it goes on."""
_SHARED_SESSION = "SET idle_in_transaction_session_timeout = '5s'"
"""A server that stands still in the middle of a transaction keeps the others waiting."""
_NOW = "extract(epoch FROM clock_timestamp())"
"""The clock of the database: those of servers may differ."""
_DELETE_ENDED = f"DELETE FROM writers WHERE since < {_NOW} - ?"  # noqa: S608 - a constant
_INSERT_RUN = (
    "INSERT INTO writers (owner, round, is_current, since, is_shared)"  # noqa: S608 - as above
    f" VALUES (?, 0, 1, {_NOW}, ?)"
)
_LOCK = "SELECT pg_try_advisory_lock(hashtext('wsserver'), hashtext(current_schema()))"

_LOCK_SHARED = _LOCK.replace("advisory_lock(", "advisory_lock_shared(")
_IS_HELD_SHARED = (
    "SELECT mode = 'ShareLock' FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND classid::bigint = (hashtext('wsserver')::bigint & 4294967295)"
    " AND objid::bigint = (hashtext(current_schema())::bigint & 4294967295)"
    " AND objsubid = 2 LIMIT 1"
)


class _Undecided(NamedTuple):
    """A round whose COMMIT was sent but not answered."""

    jobs: list[Job]
    outcomes: list[Any]
    round: int
    until: float
    """When those who wait are refused; monotonic."""


class PostgresWriter(Worker[None]):
    """Executes all queued jobs in one transaction on the one connection that writes."""

    def __init__(
        self,
        server: Server,
        watch: AnswerWatch,
        *,
        clock: Clock,
        health: StorageHealth,
        queue_limit: int,
        on_lost: Callable[[int, Exception], None],
        is_shared: bool = False,
    ) -> None:
        super().__init__("storage-writer", queue_limit=queue_limit, on_lost=on_lost)
        self._server = server
        self._watch = watch
        self._is_shared = is_shared
        self._clock = clock
        self._health = health
        self._owner = f"run_{secrets.token_hex(16)}"
        self._round = 0
        self._db: PostgresConnection | None = None
        self._backend: Backend | None = None
        """Of the latest connection."""
        self._undecided: _Undecided | None = None
        self._backoff_s = _BACKOFF_S[0]
        self._retry_at = 0.0
        self._reason = "the connection to the database was lost"
        """Why the latest attempt to connect failed."""
        self._is_replaced = False
        self._shown_at = time.monotonic()
        """When this run's row was last written (monotonic)."""
        self.identity = ""
        """Of the database; set when it is opened."""
        self._job_error: Exception | None = None
        # Written by the thread, read by the loop: single references.
        self.commits = 0
        self.last_commit_ms: float | None = None
        self.commit_durations = Histogram(SHORT_S)
        """In seconds; of the commits that succeeded."""

    def _open(self) -> None:
        db = self._server.connect()
        try:
            with self._watch.waiting(db, writes=True):
                check_server(self._server, db)
                lock_database(self._server, db, _LOCK_WAIT_S, is_shared=self._is_shared)
            with self._watch.waiting(db, writes=False):  # it may take long
                migrate(self._server, db)
            with self._watch.waiting(db, writes=True):
                self._register(db)
                self.identity = read_identity(db)
                self._use(db)
        except psycopg.Error as error:
            db.close()
            translated = translate(error)
            if isinstance(translated, StorageUnavailable | StorageFull):
                raise translated from None
            raise self._server.unusable(f"cannot be written to ({error})") from None
        except BaseException:
            db.close()
            raise

    def _register(self, db: PostgresConnection) -> None:
        """Insert the row of this run."""
        is_shared = int(self._is_shared)
        with db.raw.transaction():
            # Of earlier runs only those go on that share it too, as does this one.
            db.execute(
                "UPDATE writers SET is_current = 0 WHERE is_shared = 0 OR ? = 0", [is_shared]
            )
            db.execute(_DELETE_ENDED, [_ROWS_KEPT_S])
            db.execute(_INSERT_RUN, [self._owner, is_shared])

    def _use(self, db: PostgresConnection) -> None:
        self._backend = db.backend
        db.run_script(f"SET statement_timeout = '{STATEMENT_S:g}s'")
        if self._is_shared:
            db.run_script(_SHARED_SESSION)
        self._db = db
        self._backoff_s = _BACKOFF_S[0]

    def _work(self, _: None, jobs: Sequence[Job]) -> list[Any] | None:
        """One transaction for all; of a job that raises only its own changes are rolled back."""
        try:
            db = self._connected()
        except StorageUnavailable as error:
            return self._failed(jobs, error)
        with self._watch.waiting(db, writes=True):
            return self._work_on(db, jobs)

    def _work_on(self, db: PostgresConnection, jobs: Sequence[Job]) -> list[Any] | None:
        try:
            is_due = time.monotonic() - self._shown_at >= _TOUCH_S
            if not is_due and all(job.fn is check_connection for job in jobs):
                db.execute("SELECT 1").fetchone()
                self._health.note("write", None)
                return [None] * len(jobs)
        except Exception as error:  # noqa: BLE001 - the edge: every waiting future gets it
            return self._failed(jobs, error)
        for attempt in range(1, _ATTEMPTS + 1):
            began = self._clock.monotonic()
            self._job_error = None
            try:
                outcomes = self._attempt_all(db, jobs)
            except Exception as error:  # noqa: BLE001 - as above
                if is_conflict(error) and attempt < _ATTEMPTS and self._roll_back(db):
                    continue
                return self._failed(jobs, error)
            try:
                db.execute("COMMIT")
            except Exception as error:  # noqa: BLE001 - as above
                if not db.is_lost:
                    return self._failed(jobs, error)
                self._decide_later(jobs, outcomes, error)
                return None
            self._health.note("write", self._job_error)
            duration_s = self._clock.monotonic() - began
            self.last_commit_ms = duration_s * 1000
            self.commit_durations.observe(duration_s)
            self.commits += 1
            self._shown_at = time.monotonic()
            return outcomes
        raise AssertionError

    def _attempt_all(self, db: PostgresConnection, jobs: Sequence[Job]) -> list[Any]:
        self._round += 1
        turn = f"{TURN};" if self._is_shared else ""
        begin = (
            f"BEGIN ISOLATION LEVEL READ COMMITTED;{turn}"  # noqa: S608 - no text of others
            f"UPDATE writers SET round = {self._round}, since = {_NOW}"
            f" WHERE owner = '{self._owner}' AND is_current = 1"
        )
        if db.run_script(begin) != 1:
            self._is_replaced = True
            raise StorageUnavailable(_REPLACED)
        if len(jobs) == 1:
            return [self._attempt(db, jobs[0], "ROLLBACK; BEGIN")]
        outcomes = []
        db.run_script("SAVEPOINT job")
        for number, job in enumerate(jobs, 1):
            outcomes.append(self._attempt(db, job, "ROLLBACK TO SAVEPOINT job"))
            if number < len(jobs):
                db.run_script("RELEASE SAVEPOINT job; SAVEPOINT job")
        return outcomes

    def _attempt(self, db: PostgresConnection, job: Job, undo: str) -> Any:
        try:
            return job.fn(db)
        except Exception as error:
            if db.is_lost or is_conflict(error):
                raise
            db.run_script(undo)
            translated = translate(error)
            if isinstance(translated, StorageUnavailable | StorageFull):
                self._job_error = translated
            return Failure(translated)

    def _failed(self, jobs: Sequence[Job], error: Exception) -> list[Any]:
        """Nothing of this round is stored."""
        if self._db is not None:
            self._roll_back(self._db)
        translated = translate(error)
        self._health.note("write", translated)
        return [Failure(translated)] * len(jobs)

    def _roll_back(self, db: PostgresConnection) -> bool:
        """End the transaction; False: the connection is lost, and with it the transaction."""
        try:
            if not db.is_lost:
                db.run_script("ROLLBACK")
        except psycopg.Error as error:
            log.error("rollback failed reason=%s", error)
            db.close()
        if db.is_lost:
            self._db = None
        return not db.is_lost

    # A lost connection

    def _connected(self) -> PostgresConnection:
        """The connection; a new one if it was lost. Raises ``StorageUnavailable``."""
        if self._is_replaced:
            raise StorageUnavailable(_REPLACED)
        if self._db is not None and not self._db.is_lost:
            return self._db
        self._db = None
        try:
            if time.monotonic() < self._retry_at:
                raise StorageUnavailable(self._reason)
            return self._reconnect()
        finally:
            self._refuse_undecided()

    def _reconnect(self) -> PostgresConnection:
        try:
            db = self._server.connect(RECONNECT_TIMEOUT_S)
            try:
                with self._watch.waiting(db, writes=True):
                    check_server(self._server, db)
                    self._take_over(db)
                    self._settle_undecided(db)
                    self._use(db)
            except BaseException:
                db.close()
                raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
            self._retry_at = time.monotonic() + self._backoff_s
            self._backoff_s = min(self._backoff_s * 2, _BACKOFF_S[1])
            translated = translate(error)
            is_known = isinstance(translated, StorageUnavailable)
            self._reason = str(translated) if is_known else f"the database is unavailable: {error}"
            raise StorageUnavailable(self._reason) from None
        log.info("connected to the database again")
        return db

    def _take_over(self, db: PostgresConnection) -> None:
        """Wait until the server's process of the lost connection has ended, and lock anew.

        It holds the lock, and perhaps a transaction that is just being committed.
        """
        if self._backend is not None:
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid = ? AND backend_start = ? AND pid <> pg_backend_pid()",
                self._backend,
            ).fetchall()
        lock_database(self._server, db, _RELOCK_WAIT_S, is_shared=self._is_shared)

    def _decide_later(self, jobs: Sequence[Job], outcomes: list[Any], error: Exception) -> None:
        translated = translate(error)
        self._health.note("write", translated)
        until = time.monotonic() + _UNDECIDED_S
        self._undecided = _Undecided(list(jobs), outcomes, self._round, until)
        log.warning("connection lost while committing, outcome not known yet jobs=%d", len(jobs))
        self._db = None
        self._idle()

    def _idle(self) -> None:
        """Try to find out the outcome of an undecided round."""
        with contextlib.suppress(StorageUnavailable):
            self._connected()
        self._patience_s = None if self._undecided is None else _BACKOFF_S[0]

    def _settle_undecided(self, db: PostgresConnection) -> None:
        """Look up whether the undecided round was committed."""
        row = db.execute(
            "SELECT round, is_current FROM writers WHERE owner = ?", [self._owner]
        ).fetchone()
        undecided, self._undecided = self._undecided, None
        if undecided is not None:
            is_committed = row is not None and row[0] == undecided.round
            log.warning("outcome of the interrupted commit found is_committed=%s", is_committed)
            outcomes = undecided.outcomes
            if is_committed:
                self.commits += 1
                self._health.note_found()
            else:
                lost = StorageUnavailable("the connection was lost before the commit")
                outcomes = [Failure(lost)] * len(undecided.jobs)
            self._post(self._deliver, undecided.jobs, outcomes)
        if row is None or not row[1]:
            self._is_replaced = True
            raise StorageUnavailable(_REPLACED)

    def _refuse_undecided(self, is_last: bool = False) -> None:
        """Refuse those who have waited for long; what is resubmitted by itself goes on waiting."""
        undecided = self._undecided
        if undecided is None or not (is_last or time.monotonic() >= undecided.until):
            return
        error = Failure(
            OutcomeUnknown(
                "the connection was lost while committing: whether it is stored is not known"
            )
        )
        pairs = list(zip(undecided.jobs, undecided.outcomes, strict=True))
        refused = [job for job, _ in pairs if job.future is not None or is_last]
        self._post(self._deliver, refused, [error] * len(refused))
        left = []
        for job, outcome in pairs:
            if job.future is None:
                left.append((job, outcome))
            elif job.late is not None:
                left.append((Job(job.fn, None, late=job.late), outcome))
        # Without jobs too: what was read meanwhile is read again once it is known.
        jobs, outcomes = [job for job, _ in left], [outcome for _, outcome in left]
        waiting = undecided._replace(jobs=jobs, outcomes=outcomes, until=float("inf"))
        self._undecided = None if is_last else waiting

    def _close(self, _: None) -> None:
        if self._undecided is not None:
            self._retry_at = 0.0
            try:
                self._connected()
            except StorageUnavailable:
                self._refuse_undecided(is_last=True)
        if self._db is not None:
            self._db.close()


def lock_database(
    server: Server, db: PostgresConnection, wait_s: float, *, is_shared: bool = False
) -> None:
    """Lock a database for as long as a connection lasts; raises ``DatabaseInUse``.

    ``is_shared``: others may lock it in the same way, but nobody alone.
    """
    until = time.monotonic() + wait_s
    while not db.execute(_LOCK_SHARED if is_shared else _LOCK).fetchone()[0]:
        if time.monotonic() >= until:
            raise server.in_use(_held(db, is_shared))
        time.sleep(0.1)


def _held(db: PostgresConnection, is_shared: bool) -> tuple[str, str] | None:
    """Why a lock cannot be had; None: as two servers use the database alone, or it is not known."""
    row = db.execute(_IS_HELD_SHARED).fetchone()
    if row is None:
        return None
    if row[0]:
        return None if is_shared else HELD_BY_CLUSTER
    return HELD_ALONE if is_shared else None


def read_identity(db: PostgresConnection) -> str:
    """Read ``Database.identity``: the id in the table ``meta``, and the place in a server."""
    (database,) = db.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()
    try:
        with db.raw.transaction():
            (server,) = db.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
    except psycopg.errors.InsufficientPrivilege:
        server = None
    place = db.execute(
        "SELECT oid::bigint, current_schema() FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    return identity_of(database, server, *place)


def check_connection(db: Connection) -> None:
    """A job without a transaction: is the connection alive?"""


_REPLACED = "another server has taken over the database: stop this one"
