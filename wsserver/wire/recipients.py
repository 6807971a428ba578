"""Recipients: connections that get the same messages, with what writing to all of them needs."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from wsserver.wire.transport import Transport


class Recipients:
    """Connections that get one message after the other; which ones never changes.

    Their descriptors are kept between two messages: collecting them takes longer than the rest of
    a broadcast in Python, as the writes have displaced the connections from the processor's caches.
    """

    __slots__ = ("_changes", "_descriptors", "transports")

    def __init__(self, transports: Iterable[Transport]) -> None:
        self.transports = list(transports)
        self._changes = -1
        self._descriptors: array[int] | None = None

    def __len__(self) -> int:
        return len(self.transports)

    def __iter__(self) -> Iterator[Transport]:
        return iter(self.transports)

    def descriptors(self, changes: int) -> array[int] | None:
        """The descriptors, in order; None unless a frame may be written to each of them directly.

        ``changes`` (``Counters``): as long as it is the same, nothing is looked at again.
        """
        if changes != self._changes:
            self._changes = changes
            self._descriptors = None
            if all(transport.outbox is None for transport in self.transports):
                self._descriptors = array("i", [transport.fd for transport in self.transports])
        return self._descriptors
