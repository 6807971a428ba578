"""Background tasks: referenced, named, failures logged, cancelled at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)

CANCEL_PATIENCE_S = 5.0
"""Longest wait for tasks that were cancelled."""
_AGAIN_S = 0.2


class Tasks:
    """The background tasks of one owner."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run a coroutine in the background; a failure is logged with its traceback."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._running.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._finished)
        return task

    async def cancel(self) -> None:
        """Cancel all running tasks, and wait until they have ended.

        Except the calling one, which may be one of them: it cannot wait for its own end. A task
        that ignores its cancellation, as a handler of a plugin may, is waited for
        ``CANCEL_PATIENCE_S`` and then left behind, with an error in the log.
        """
        running = self._running - {asyncio.current_task()}
        for task in running:
            task.cancel()
        if not running:
            return
        _, left = await asyncio.wait(running, timeout=CANCEL_PATIENCE_S)
        if left:
            names = ", ".join(sorted({task.get_name() for task in left}))
            log.error("tasks ignore their cancellation count=%d names=%s", len(left), names)

    async def end(self) -> None:
        """Cancel all running tasks, and wait until they have ended, however long that takes.

        Cancels again what goes on: a library may swallow a cancellation that comes while it waits.
        """
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running, timeout=_AGAIN_S)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("task failed name=%s", task.get_name(), exc_info=error)
