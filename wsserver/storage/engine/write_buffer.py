"""``WriteBuffer``: rows that are gathered and stored in groups, in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from wsserver.errors import StorageFull, StorageUnavailable
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database

GATHER_S = 0.2
"""Rows of this time are stored together: each commit delays fan-outs (GIL)."""
RETRY_S = 1.0
"""Delay before rows that could not be stored are retried."""
BUSY_JOBS = 1000
"""While more jobs than this wait for the database, rows are held back."""

T = TypeVar("T")


class WriteBuffer(Generic[T]):
    """A buffer of rows; a crash loses those still in it.

    While the database is locked, full or failing, up to ``limit`` rows wait. Further ones are
    refused, logged with ``full`` as the reason, and counted as lost. ``store``: writes up to
    ``batch`` rows in one job of the writing thread.
    """

    def __init__(
        self,
        database: Database,
        store: Callable[[Connection, list[T]], object],
        *,
        limit: int,
        batch: int,
        full: str,
    ) -> None:
        self._database = database
        self._store_rows = store
        self._limit = limit
        self._batch = batch
        self._full = full
        self._waiting: list[T] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, row: T) -> bool:
        """Buffer a row, without waiting; False: refused."""
        if self._is_closed or len(self._waiting) >= self._limit:
            self._database.refuse(self._full)
            return False
        self._waiting.append(row)
        if self._timer is None:
            self._arm(GATHER_S)
        return True

    def flush(self) -> None:
        """Queue all buffered rows for the database now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), self._batch):
            rows = waiting[start : start + self._batch]
            self._database.submit(
                partial(_store, self._store_rows, rows),
                writes=len(rows),
                take_back=partial(self._take_back, rows),
            )

    def close(self) -> None:
        """Flush, and refuse further rows; call before the database is closed."""
        self._is_closed = True
        self.flush()

    def _take_back(self, rows: list[T], error: Exception) -> bool:
        """Return unstored rows to the buffer; those beyond its limit are lost."""
        is_temporary = isinstance(error, StorageUnavailable | StorageFull)
        if self._is_closed or not is_temporary:
            return False
        kept = rows[: max(0, self._limit - len(self._waiting))]
        if len(kept) < len(rows):
            self._database.refuse(self._full, len(rows) - len(kept))
        self._waiting[:0] = kept
        if self._timer is None:
            self._arm(RETRY_S)
        return True

    def _arm(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._flush_if_idle)

    def _flush_if_idle(self) -> None:
        if self._database.queued > BUSY_JOBS:  # for example behind a lock: do not fill the queue
            self._arm(GATHER_S)
        else:
            self.flush()


def _store(store: Callable[[Connection, list[T]], object], rows: list[T], db: Connection) -> object:
    return store(db, rows)
