"""``Hold``: streams whose positions a reader relies on."""

from __future__ import annotations

from typing import Protocol


class Hold(Protocol):
    """Streams whose positions are exact from ``settle`` on, until ``release``."""

    async def settle(self) -> None:
        """Deliver all that was stored before this call; raises ``StorageUnavailable``."""

    async def reach(self, name: str, epoch: str, offset: int) -> None:
        """Deliver a held stream up to a position that was read from the database."""

    def release(self) -> None:
        """Let go of the streams at the end of this iteration of the event loop."""
