"""Limit on the bytes held in memory for slow clients: unsent responses, incomplete bodies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from typing import NamedTuple

LIMIT_BYTES = 64 * 1024 * 1024
"""Of all responses together, and of all bodies; above it connections are closed."""
SLOW_READER_S = 30.0
"""Time that a client has to read a short response."""
SLOWEST_BYTES_PER_S = 64 * 1024
"""Rate at which it has to read a longer one."""


def patience_s(size: int) -> float:
    """Seconds that a client has to read so many bytes."""
    return SLOW_READER_S + size / SLOWEST_BYTES_PER_S


class _Held(NamedTuple):
    size: int
    source: str
    close: Callable[[], None]


class HeldBytes:
    """Responses that did not fit into their sockets, or incomplete bodies, by connection.

    Above the limit, connections of the client address with the most bytes are closed, the one that
    has waited longest first: a client that requests much and reads nothing affects no other one.
    The one that was just added, or has grown, is kept, whatever its size.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._held: dict[Hashable, _Held] = {}
        """In the order of their waiting, the longest first."""
        self._by_source: Counter[str] = Counter()
        """Bytes by address."""
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self.closed = 0
        """Connections closed, since the start."""

    def __len__(self) -> int:
        return len(self._held)

    @property
    def bytes(self) -> int:
        """Total; a response counts in full until it is sent."""
        return self._by_source.total()

    def add(self, connection: Hashable, size: int, source: str, close: Callable[[], None]) -> None:
        """Add a client that has not read all of a response, or not sent all of a body.

        ``source``: its address; ``size``: bytes held so far; ``close`` closes the connection, which
        has been removed here before.
        """
        self.remove(connection)
        self._held[connection] = _Held(size, source, close)
        self._by_source[source] += size
        self._is_empty.clear()
        while self.bytes > self._limit_bytes and (victim := self._victim(connection)) is not None:
            close = self._held[victim].close
            self.remove(victim)
            self.closed += 1
            close()

    def remove(self, connection: Hashable) -> None:
        """Remove a client that is done, or gone; no effect on an unknown one."""
        held = self._held.pop(connection, None)
        if held is not None:
            self._by_source[held.source] -= held.size
            if not self._by_source[held.source]:
                del self._by_source[held.source]
        if not self._held:
            self._is_empty.set()

    async def wait_empty(self, timeout_s: float) -> bool:
        """Wait until no bytes are held; False if some are after ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_empty.wait()
        except TimeoutError:
            return False
        return True

    def _victim(self, newest: Hashable) -> Hashable | None:
        """The connection to close; None: there is only the one that was just added."""
        for source, _ in self._by_source.most_common():
            for connection, held in self._held.items():
                if held.source == source and connection is not newest:
                    return connection
        return None
