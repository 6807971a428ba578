"""Turns: a limit on how much is done at once, shared out fairly between callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wsserver.storage.engine.fair_queue import FairQueue


class Turns:
    """Like a semaphore of ``at_once``, but callers take turns, and each has one at a time.

    So one who asks for a hundred things holds up another one by no more than what is going on.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self, caller: str | None) -> AsyncIterator[None]:
        """Wait for a turn, and have it inside of the block; None: nobody in particular."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(caller, turn)
        self._give()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given in the same moment
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
