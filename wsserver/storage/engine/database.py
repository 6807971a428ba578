"""The database: job queues of one writing thread (group commits) and a few reading threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

from wsserver.errors import StorageUnavailable, WsServerError
from wsserver.histogram import Histogram
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.errors import StorageHealth
from wsserver.storage.engine.fair_queue import caller
from wsserver.storage.engine.readers import Readers
from wsserver.storage.engine.worker import Job

log = logging.getLogger(__name__)

T = TypeVar("T")
Late: TypeAlias = Callable[[T | None], None]
"""Called with the result of a job, or None, once its unknown outcome is known: ``Database.run``."""


class JobWriter(Protocol):
    """The writing thread of one kind of database."""

    commits: int
    """Since start."""
    last_commit_ms: float | None
    commit_durations: Histogram

    def __len__(self) -> int: ...

    @property
    def has_room(self) -> bool:
        """Whether ``put`` accepts another job."""
        ...

    def put(self, job: Job) -> None:
        """Queue a job; raises ``StorageUnavailable`` if the queue is full or closed."""
        ...


class Database(ABC):
    """Jobs of SQL on threads. Call its methods on the loop of ``open``.

    What all kinds of databases have in common; the kinds are ``SqliteDatabase`` and
    ``PostgresDatabase``.
    """

    KIND: str
    """``sqlite`` or ``postgresql``."""
    is_shared = False
    """Whether other processes may write while this one does. Claims and leases of others then
    count until they expire, or until their process is lost (``SqlLeases``). Without: they are of
    earlier runs, and end with the start of this one.
    Jobs of all processes run one after another: see ``run``. Both kinds are locked by one process,
    or by those of one cluster, and what lost its lock cannot write any more."""

    def __init__(self, health: StorageHealth, writer: JobWriter, readers: Readers) -> None:
        self._health = health
        self._jobs = writer
        self._readers = readers
        self.process = uuid.uuid4().hex
        """Id of this use of the database: the owner of what is claimed in it."""
        self._lost = 0
        self._refusing = False

    @property
    @abstractmethod
    def location(self) -> str:
        """Where it is, without secrets: a path or a URL."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """``DATABASE/PLACE``, equal for all processes that use this database; set by ``open``.

        ``DATABASE``, a random id, goes on when the database is moved: see ``engine.identity``.
        """

    @property
    def file(self) -> Path | None:
        """The database file; None: it is not a file of this machine."""
        return None

    @abstractmethod
    async def open(self) -> None:
        """Connect, create what is missing and apply migrations.

        Raises ``DatabaseUnusable`` for a database that cannot be used, without changing it, and
        ``StorageUnavailable`` for one that cannot be used now.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finish the queued jobs and disconnect. Idempotent."""

    @abstractmethod
    async def probe(self) -> None:
        """Update the health of an idle database; never raises."""

    async def run(self, fn: Callable[[Connection], T], late: Late[T] | None = None) -> T:
        """Run ``fn`` in the writing thread and return its result once it is committed.

        All queued jobs run in one transaction, each in a savepoint: if ``fn`` raises, its own
        changes are rolled back and the exception is raised here. ``fn`` returns plain values (not
        a cursor), and neither commits nor rolls back. It may run more than once (a transaction that
        ended a deadlock is repeated), so it changes nothing but the database.

        No other transaction of this program, of whichever process, runs meanwhile: what ``fn`` has
        read cannot change until it is committed. Raises ``StorageUnavailable`` (locked, I/O
        error; immediately if the queue is full) and ``StorageFull``; nothing is stored then. After
        a cancellation the outcome is unknown.

        So it is after ``OutcomeUnknown``, until the database answers again. ``late`` is called
        then, before later jobs return: with the result if it was committed, else with None.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(Job(fn, future, late=late))
        return await future

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run ``fn`` in a reading thread, on one snapshot of the committed data.

        Callers (``fair_queue.caller``) take turns, with one ``fn`` of each running at a time. A
        write in ``fn`` raises the driver's error. Errors as of ``run``.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._readers.put(Job(fn, future), caller())
        return await future

    async def empty_log(self) -> bool:
        """Remove what was deleted from the log beside the database; False: there is none."""
        return False

    async def clock(self) -> float | None:
        """The database's time in seconds since the epoch; None: it is this machine's."""
        return None

    @property
    def queued(self) -> int:
        """Number of jobs that wait for the writing thread."""
        return len(self._jobs)

    def submit(
        self,
        fn: Callable[[Connection], object],
        writes: int = 1,
        take_back: Callable[[Exception], bool] | None = None,
    ) -> bool:
        """Queue ``fn`` for the writing thread without waiting; False: the queue is full or closed.

        A failure, now or later, is logged and counted in ``health()["lost_writes"]`` as ``writes``,
        unless ``take_back`` (called on the loop) returns True: the caller will try again.
        """
        try:
            self._jobs.put(Job(fn, None, writes, take_back))
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
        with contextlib.suppress(WsServerError):
            await self.run(_nothing)

    @property
    def write_failures(self) -> int:
        """How often writing has failed since start: what was refused may be stored all the same."""
        return self._health.write_failures

    @property
    def commit_durations(self) -> Histogram:
        """Durations of commits, in seconds."""
        return self._jobs.commit_durations

    def health(self) -> dict[str, Any]:
        """The state for ``/health`` and ``/metrics``.

        ``ok``: the latest write and read succeeded and the queue is not full; ``kind``: ``KIND``;
        ``queued``: jobs that wait to write; ``last_commit_ms``: duration of the latest commit (None
        before the first); ``commits``, ``lost_writes``: since start; ``last_error``: of the latest
        write or read, or None.
        """
        return {
            "ok": self._health.is_ok and self._jobs.has_room,
            "kind": self.KIND,
            "queued": len(self._jobs),
            "last_commit_ms": self._jobs.last_commit_ms,
            "commits": self._jobs.commits,
            "lost_writes": self._lost,
            "last_error": self._health.last_error,
        }

    def _count_lost(self, count: int, error: Exception) -> None:
        self._lost += count
        log.error("writes lost count=%d", count, exc_info=error)


def _nothing(db: Connection) -> None:
    """A job without effect: its completion shows that all before it are done."""
