"""Sweeps out kept messages whose time is over, or whose stream is too long."""

from __future__ import annotations

from typing import Protocol

from wsserver.clock import Clock
from wsserver.realtime.inbox.inboxes import Inboxes
from wsserver.storage.messages.streams import Expired


class Store(Protocol):
    """What is needed of the storage of streams."""

    async def expire(self, now: float, limit: int = 300) -> list[Expired]:
        """Delete some of what has expired."""
        ...

    async def trim(self, limit: int, batch: int = 300) -> list[Expired]:
        """Delete some of what exceeds ``limit`` messages a stream."""
        ...


class Expirer:
    """Deletes in small batches, so that storing never waits long, and tells of what was pending.

    What ran out of time is ``expired``. What had to make room, in an inbox of more than
    ``stream_limit`` messages, is ``failed`` with the reason ``inbox_full``: the one way in which a
    kept message is given up before its time.
    """

    def __init__(self, store: Store, inboxes: Inboxes, clock: Clock, stream_limit: int) -> None:
        self._store = store
        self._inboxes = inboxes
        self._clock = clock
        self._stream_limit = stream_limit

    async def sweep(self) -> None:
        """Delete all there is to delete. Raises ``StorageUnavailable``, ``StorageFull``."""
        while expired := await self._store.expire(self._clock.wall()):
            self._inboxes.ended(expired, "expired")
        while trimmed := await self._store.trim(self._stream_limit):
            self._inboxes.ended(trimmed, "failed", "inbox_full")
