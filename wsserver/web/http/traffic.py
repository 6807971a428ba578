"""Counters of HTTP requests: under way, answered, refused, and their durations."""

from __future__ import annotations

import asyncio
from collections import Counter

from wsserver.histogram import Histogram

BUCKETS_S = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
"""Upper bounds of the histogram."""


class Traffic:
    """Counts of requests and refused handshakes since the start, and the requests under way."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, str, int]] = Counter()
        """By method, path template and status."""
        self.refused: Counter[str] = Counter()
        """Refused handshakes, by error code."""
        self.durations = Histogram(BUCKETS_S)
        """From the headers of requests to their answers, in seconds."""
        self._under_way: set[int] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def under_way(self) -> int:
        """Requests begun and not answered yet."""
        return len(self._under_way)

    def begin(self, request: object) -> None:
        """Count a request as under way."""
        self._under_way.add(id(request))
        self._idle.clear()

    def end(self, request: object) -> None:
        """A request was answered, aborted, or became a WebSocket; idempotent."""
        self._under_way.discard(id(request))
        if not self._under_way:
            self._idle.set()

    def answer(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer; ``route`` is a path template, so that there are few of them."""
        self.answered[method, route, status] += 1
        self.durations.observe(seconds)

    async def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no request is under way; False if some are after ``timeout_s``."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True
