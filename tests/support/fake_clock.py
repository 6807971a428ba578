"""A clock that the test moves."""

from __future__ import annotations

from wsserver.clock import Clock


class FakeClock(Clock):
    """A clock that only a test moves."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now_monotonic = 1000.0
        self.now_wall = now

    def monotonic(self) -> float:
        return self.now_monotonic

    def wall(self) -> float:
        return self.now_wall

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.now_monotonic += seconds
        self.now_wall += seconds
