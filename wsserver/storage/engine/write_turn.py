"""Turns of the processes that write to one SQLite file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol

from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.lock import ServerLock

_NEXT, _WRITING = 1, 2
"""Bytes that are locked: by the process that is next, and by the one that writes."""
_PAUSE_S = 0.0005


class WriteTurn(Protocol):
    """Admits one process at a time to a transaction with its checkpoint."""

    def taken(self, wait_s: float) -> contextlib.AbstractContextManager[object]:
        """Write within; raises ``StorageUnavailable`` if it is not this process's turn in time."""
        ...


class OnlyWriter:
    """The turn of a process that uses the database alone: always."""

    def taken(self, wait_s: float) -> contextlib.AbstractContextManager[object]:
        """Without effect."""
        return _ALWAYS


class SharedTurn:
    """Turns by two locks: who is next waits for the one who writes, the others to be next.

    SQLite's own lock would not do. A process that waits for it sleeps up to 100 ms between two
    attempts, so that another at full load would always be first. And SQLite before 3.51.3 can
    corrupt a file to which one process writes while another checkpoints it. Who has written must
    become next before it writes again, so with two processes each has every second turn. The system
    unlocks what a killed process had locked.
    """

    def __init__(self, lock: ServerLock) -> None:
        self._lock = lock

    @contextlib.contextmanager
    def taken(self, wait_s: float) -> Iterator[None]:
        """Write within; raises ``StorageUnavailable`` after ``wait_s``."""
        until = time.monotonic() + wait_s
        self._wait(_NEXT, until)
        try:
            self._wait(_WRITING, until)
        finally:
            self._lock.unlock_byte(_NEXT)
        try:
            yield
        finally:
            self._lock.unlock_byte(_WRITING)

    def _wait(self, byte: int, until: float) -> None:
        while not self._lock.lock_byte(byte):
            if time.monotonic() >= until:
                raise StorageUnavailable(
                    "the database is unavailable: another process has been writing to it for long"
                )
            time.sleep(_PAUSE_S)


_ALWAYS = contextlib.nullcontext()
