"""Concurrency of reads.

``SingleFlight`` shares a running call, ``FairSemaphore`` limits calls, ``Readings`` finds those
that a change has overtaken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from wsserver.storage.engine.fair_queue import FairQueue, reading_for
from wsserver.tasks import Tasks

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Calls by key: callers with the key of a running call wait for it and share its outcome.

    A failure is shared, too: after a restart many ask for the same, and one attempt after the other
    would add up their timeouts.
    """

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._running: dict[str, asyncio.Future[T]] = {}

    async def do(self, key: str, call: Callable[[], Awaitable[T]]) -> T:
        """Return the result of the running call, or of a new one; raises what it raises.

        The call continues when its callers are cancelled.
        """
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = asyncio.get_running_loop().create_future()
            with reading_for(None):  # it is shared: not charged to its first caller
                self._tasks.spawn(self._run(key, call, running), name=f"read {key}")
        return await asyncio.shield(running)

    async def _run(
        self, key: str, call: Callable[[], Awaitable[T]], outcome: asyncio.Future[Any]
    ) -> None:
        try:
            result = await call()
        except Exception as error:  # noqa: BLE001 - raised in the callers
            outcome.set_exception(error)
            outcome.exception()  # marks it as retrieved, should all callers be cancelled
        else:
            outcome.set_result(result)
        finally:
            outcome.cancel()  # only where the call was cancelled
            del self._running[key]


class Reading:
    """A read of a stream that is running, or whose result is still to be used."""

    __slots__ = ("is_outdated", "stream")

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.is_outdated = False
        """Whether a message of the stream was changed since the read began."""


class Readings:
    """Running reads by stream: what was read before a change may not be used after it.

    Otherwise a reader who has been sent a change would then get the version before it.
    """

    def __init__(self) -> None:
        self._running: dict[str, set[Reading]] = {}

    def begin(self, stream: str) -> Reading:
        """A read of the stream begins; it lasts until ``end``."""
        reading = Reading(stream)
        self._running.setdefault(stream, set()).add(reading)
        return reading

    def end(self, reading: Reading) -> None:
        """The result of a read was used, or is not needed."""
        running = self._running.get(reading.stream, set())
        running.discard(reading)
        if not running:
            self._running.pop(reading.stream, None)

    def outdate(self, stream: str) -> None:
        """A message of the stream was changed."""
        for reading in self._running.get(stream, ()):
            reading.is_outdated = True

    def outdate_all(self) -> None:
        """Messages of any stream may have been changed."""
        for stream in self._running:
            self.outdate(stream)


class FairSemaphore:
    """A semaphore that serves callers round-robin and gives each one slot at a time.

    So a caller with a hundred requests delays another one by no more than the running calls.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    def __len__(self) -> int:
        """Number of waiting calls."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self, caller: str | None) -> AsyncIterator[None]:
        """Hold a slot inside of the block. ``caller`` None: not counted as a caller."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(caller, turn)
        self._give()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was assigned in the same moment
                self._end(caller)
            raise
        try:
            yield
        finally:
            self._end(caller)

    def _end(self, caller: str | None) -> None:
        self._free += 1
        self._waiting.finished(caller)
        self._give()

    def _give(self) -> None:
        while self._free and (next_ := self._waiting.take()) is not None:
            if next_.job.cancelled():
                self._waiting.finished(next_.caller)
            else:
                self._free -= 1
                next_.job.set_result(None)
