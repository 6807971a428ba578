"""``Leases``: periodic work that only one node of a cluster does at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Leases(Protocol):
    """Grants named leases to nodes, each with a fencing number.

    A holder whose event loop stood still may believe in a lease that has passed on meanwhile.
    Writes that must not happen twice therefore carry the number, and a lower one than the latest
    is refused by whoever stores it.
    """

    async def start(self) -> None:
        """Begin to acquire and renew. Raises ``StorageUnavailable`` if that is not possible."""

    async def stop(self) -> None:
        """Release all, so that another node need not wait for their end."""

    def holds(self, name: str) -> bool:
        """Whether this node holds a lease now.

        The first call for a name makes the node a candidate for it; it may hold it later then.
        """
        ...

    def fence(self, name: str) -> int:
        """The fencing number of a held lease, grows with each change of the holder; 0: not held."""
        ...

    def add_lost_listener(self, listener: Callable[[], None]) -> None:
        """Call ``listener``, on all others, when a node has left or is lost: its work can go on."""
