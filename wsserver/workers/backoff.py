"""Exponential backoff between restarts of a process."""

from __future__ import annotations

FIRST_S = 0.25
LONGEST_S = 30.0
STABLE_S = 60.0
"""Time after which a process that ends counts as one that ended for the first time."""


class Backoff:
    """Counts the failures of one process; the first restart is immediate."""

    def __init__(self) -> None:
        self.failures = 0
        """Since the last run of at least ``STABLE_S``."""

    def delay_s(self, ran_s: float) -> float:
        """Time until the next start of a process that has ended after ``ran_s``."""
        self.failures = 1 if ran_s >= STABLE_S else self.failures + 1
        if self.failures == 1:
            return 0.0
        return float(min(LONGEST_S, FIRST_S * 2 ** min(self.failures - 2, 10)))
