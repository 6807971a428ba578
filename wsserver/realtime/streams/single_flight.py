"""One call for everybody who asks for the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from wsserver.storage.engine.fair_queue import reading_for
from wsserver.tasks import Tasks

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Calls by key: who asks while one is under way waits for it and shares its outcome.

    A failure is shared, too: after a restart many ask at once, and trying one after the other
    would make each wait for the timeouts of all before it.
    """

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._running: dict[str, asyncio.Future[T]] = {}

    async def do(self, key: str, call: Callable[[], Awaitable[T]]) -> T:
        """The outcome of the call that is under way, or of a new one; raises what it raises.

        The call goes on when those who asked are cancelled.
        """
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = asyncio.get_running_loop().create_future()
            with reading_for(None):  # several wait for it, not only the one who asked first
                self._tasks.spawn(self._run(key, call, running), name=f"read {key}")
        return await asyncio.shield(running)

    async def _run(
        self, key: str, call: Callable[[], Awaitable[T]], outcome: asyncio.Future[Any]
    ) -> None:
        try:
            result = await call()
        except Exception as error:  # noqa: BLE001 - handed on to whoever awaits
            outcome.set_exception(error)
            outcome.exception()  # seen, should nobody be waiting any more
        else:
            outcome.set_result(result)
        finally:
            outcome.cancel()  # only where the call was cancelled
            del self._running[key]
