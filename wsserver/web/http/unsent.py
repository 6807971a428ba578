"""Bytes held for slow clients, answers not fetched and bodies not complete: a limit for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import NamedTuple

LIMIT_BYTES = 64 * 1024 * 1024
"""Of all answers together, and of all bodies; past it connections are closed."""
SLOW_READER_S = 30.0
"""How long a client may take to fetch a short answer."""
SLOWEST_BYTES_PER_S = 64 * 1024
"""How fast it has to fetch what is longer."""


def patience_s(size: int) -> float:
    """How long a client may take to fetch so many bytes."""
    return SLOW_READER_S + size / SLOWEST_BYTES_PER_S


class _Held(NamedTuple):
    size: int
    source: str
    close: Callable[[], None]


class HeldBytes:
    """Answers that did not fit into their sockets at once, or bodies not complete, by connection.

    Where they are too many bytes, the connections of the address with the most of them are closed,
    the one that has waited longest first: so whoever asks for much and fetches nothing loses it,
    and nobody else does. What has only just been added, or has grown, stays, whatever its size.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._held: dict[Hashable, _Held] = {}
        """The one that has waited longest first."""
        self._by_source: Counter[str] = Counter()
        """Bytes by address."""
        self.closed = 0
        """Connections that had to go, since the start."""

    def __len__(self) -> int:
        return len(self._held)

    @property
    def bytes(self) -> int:
        """Of all together; an answer counts whole until it is fetched."""
        return self._by_source.total()

    def add(self, connection: Hashable, size: int, source: str, close: Callable[[], None]) -> None:
        """A client has not fetched all of an answer, or not sent all of a body.

        ``source``: its address; ``size``: bytes held by now;
        ``close``: closes the connection; it has been removed here by then.
        """
        self.remove(connection)
        self._held[connection] = _Held(size, source, close)
        self._by_source[source] += size
        while self.bytes > self._limit_bytes and (victim := self._victim(connection)) is not None:
            close = self._held[victim].close
            self.remove(victim)
            self.closed += 1
            close()

    def remove(self, connection: Hashable) -> None:
        """It has fetched or sent everything, or has gone. Harmless for one that is not here."""
        held = self._held.pop(connection, None)
        if held is not None:
            self._by_source[held.source] -= held.size
            if not self._by_source[held.source]:
                del self._by_source[held.source]

    def _victim(self, newest: Hashable) -> Hashable | None:
        """Whose connection is closed; None: there is only the one that was just added."""
        for source, _ in self._by_source.most_common():
            for connection, held in self._held.items():
                if held.source == source and connection is not newest:
                    return connection
        return None
