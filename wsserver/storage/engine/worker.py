"""A thread that owns one database connection and executes jobs from a bounded queue."""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.connection import Connection

log = logging.getLogger(__name__)

C = TypeVar("C")
"""The driver's connection."""


class Job:
    """A function of the connection, and the future of its result (None: the result is dropped).

    ``writes``: the lost writes to count if a job without a future fails, unless ``take_back``
    (called on the loop with the error) returns True. ``late`` is called on the loop if the future
    has failed with ``OutcomeUnknown``, once the outcome is known: see ``Database.run``.
    """

    __slots__ = ("fn", "future", "late", "take_back", "writes")

    def __init__(
        self,
        fn: Callable[[Connection], Any],
        future: asyncio.Future[Any] | None,
        writes: int = 1,
        take_back: Callable[[Exception], bool] | None = None,
        late: Callable[[Any], None] | None = None,
    ) -> None:
        self.fn = fn
        self.late = late
        self.future = future
        self.writes = writes
        self.take_back = take_back


class Failure:
    """The outcome of a job that raised; any other outcome is the result itself."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        # A future refuses StopIteration, which would leave the other futures of the round pending.
        self.error = RuntimeError(repr(error)) if isinstance(error, StopIteration) else error


class Worker(ABC, Generic[C]):
    """A thread, its connection and its queue.

    The event loop only takes a lock that is held for a few instructions, so it never waits for the
    disk. All outcomes of one round are delivered by one ``call_soon_threadsafe``.
    """

    def __init__(
        self, name: str, *, queue_limit: int, on_lost: Callable[[int, Exception], None]
    ) -> None:
        self._name = name
        self._queue_limit = queue_limit
        self._on_lost = on_lost
        self._waiting: deque[Job] = deque()
        self._wakeup = threading.Condition()
        self._stopping = True
        self._patience_s: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether ``put`` accepts another job."""
        return not self._stopping and len(self) < self._queue_limit

    async def start(self) -> None:
        """Start the thread and open its connection; raises the error of ``_open``."""
        self._loop = asyncio.get_running_loop()
        started: asyncio.Future[None] = self._loop.create_future()
        self._stopped = self._loop.create_future()
        self._stopping = False
        # A daemon: an immediate exit (second SIGTERM) must not wait for the disk, and an
        # unfinished transaction is rolled back at the next start.
        threading.Thread(
            target=self._main, args=(started, self._stopped), name=self._name, daemon=True
        ).start()
        try:
            await started
        except Exception:
            self._stopping = True
            raise

    def put(self, job: Job) -> None:
        """Queue a job; raises ``StorageUnavailable`` if the queue is full or closed."""
        with self._wakeup:
            if self._stopping:
                raise StorageUnavailable("the database is closed")
            if len(self._waiting) >= self._queue_limit:
                raise StorageUnavailable("too many requests are waiting for the database")
            self._waiting.append(job)
            self._wakeup.notify()

    async def stop(self) -> None:
        """Accept no more jobs, finish the queued ones, close the connection."""
        if self._stopped is None:
            return
        with self._wakeup:
            self._stopping = True
            self._wakeup.notify()
        await asyncio.shield(self._stopped)

    @abstractmethod
    def _open(self) -> C:
        """Open the connection (in the thread)."""

    @abstractmethod
    def _work(self, db: C, jobs: Sequence[Job]) -> list[Any] | None:
        """Execute the jobs (in the thread): one outcome each, a ``Failure`` for one that raised.

        None: the outcomes are not known yet and will be delivered by the worker itself.
        """

    @abstractmethod
    def _close(self, db: C) -> None:
        """Close the connection (in the thread)."""

    def _main(self, started: asyncio.Future[None], stopped: asyncio.Future[None]) -> None:
        try:
            try:
                db = self._open()
            except Exception as error:  # noqa: BLE001 - the edge: start() raises it
                self._post(settle, started, Failure(error))
                return
            self._post(settle, started, None)
            while (jobs := self._take()) != []:
                if jobs is None:
                    self._idle()
                    continue
                outcomes = self._attempt_work(db, jobs)
                if outcomes is not None:
                    self._post(self._deliver, jobs, outcomes)
            self._close(db)
        finally:
            self._post(settle, stopped, None)

    def _attempt_work(self, db: C, jobs: Sequence[Job]) -> list[Any] | None:
        try:
            return self._work(db, jobs)
        except Exception as error:  # without this thread all later jobs would wait for ever
            log.exception("storage thread failed name=%s jobs=%d", self._name, len(jobs))
            return [Failure(error)] * len(jobs)

    def _idle(self) -> None:
        """Called (in the thread) each ``_patience_s`` while there are no jobs."""

    def _take(self) -> list[Job] | None:
        """All queued jobs; waits for the first, None: for too long.

        Empty: stopping, and the queue is empty.
        """
        with self._wakeup:
            while not self._waiting and not self._stopping:
                if not self._wakeup.wait(self._patience_s):
                    return None
            jobs = list(self._waiting)
            self._waiting.clear()
            return jobs

    def _post(self, callback: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None  # noqa: S101 - set before the thread starts
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            # The loop was closed without stop(): nothing waits for the outcome.
            if not self._loop.is_closed():
                raise

    def _deliver(self, jobs: Sequence[Job], outcomes: Sequence[Any]) -> None:
        lost = 0
        reason: Exception | None = None
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.future is not None:
                settle(job.future, outcome)
            elif job.late is not None:
                _call_late(job.late, outcome)
            elif isinstance(outcome, Failure) and not (
                job.take_back is not None and job.take_back(outcome.error)
            ):
                lost += job.writes
                reason = outcome.error
        if reason is not None:
            self._on_lost(lost, reason)


def _call_late(late: Callable[[Any], None], outcome: Any) -> None:
    try:
        late(None if isinstance(outcome, Failure) else outcome)
    except Exception:  # the outcomes of the other jobs have to be delivered all the same
        log.exception("outcome that was found out late not handled")


def settle(future: asyncio.Future[Any], outcome: Any) -> None:
    """Set the result of a future, or the exception of a ``Failure``, unless it was cancelled."""
    if future.done():
        return
    if isinstance(outcome, Failure):
        future.set_exception(outcome.error)
    else:
        future.set_result(outcome)
