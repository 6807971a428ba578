"""The requests under way, and counts of those answered."""

from __future__ import annotations

import asyncio
from collections import Counter

BUCKETS_S = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
"""Upper bounds of the durations counted apart; longer ones are in no bucket but the total."""


class Traffic:
    """What the HTTP side has done since the start, and is doing."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, str, int]] = Counter()
        """By method, path template and status."""
        self.refused: Counter[str] = Counter()
        """Handshakes that were refused, by code."""
        self.durations: Counter[float] = Counter()
        """By bucket: requests that took at most that long, and longer than the bucket before."""
        self.seconds = 0.0
        """All durations together."""
        self._under_way: set[int] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def under_way(self) -> int:
        """Requests begun and not answered yet."""
        return len(self._under_way)

    def begin(self, request: object) -> None:
        """A request has come in."""
        self._under_way.add(id(request))
        self._idle.clear()

    def end(self, request: object) -> None:
        """It was answered, given up, or became a WebSocket; harmless when repeated."""
        self._under_way.discard(id(request))
        if not self._under_way:
            self._idle.set()

    def answer(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer; ``route`` is a path template, so that there are few of them."""
        self.answered[method, route, status] += 1
        self.seconds += seconds
        for bound in BUCKETS_S:
            if seconds <= bound:
                self.durations[bound] += 1
                break

    async def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no request is under way; False: after ``timeout_s`` some still are."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True
