"""The error rate alert: a pure function of counters and time."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

MIN_ERRORS = 5
"""Fewer errors than this within the window raise no alert, whatever their share."""


class AlertState(NamedTuple):
    """State of the alert after an observation."""

    rate: float
    """Errors as a share of operations within the window, 0-1."""
    is_raised: bool
    has_changed: bool


class ErrorRateAlert:
    """Raised while errors make up more than ``threshold`` of the operations in ``window_s``."""

    def __init__(self, threshold: float, window_s: float) -> None:
        self.threshold = threshold
        self.window_s = window_s
        self.is_raised = False
        # Counts from 0: errors before the first observation are included.
        self._samples: deque[tuple[float, int, int]] = deque([(float("-inf"), 0, 0)])

    @property
    def period_s(self) -> float:
        """Interval between observations."""
        return max(0.05, min(1.0, self.window_s / 10))

    def observe(self, now: float, errors: int, operations: int) -> AlertState:
        """Update the alert with counters (since start, never decreasing) at a monotonic time."""
        samples = self._samples
        samples.append((now, errors, operations))
        while len(samples) > 1 and samples[1][0] <= now - self.window_s:
            samples.popleft()
        _, errors_then, operations_then = samples[0]
        failed = errors - errors_then
        rate = failed / max(1, operations - operations_then, failed)
        is_raised = rate > self.threshold and (failed >= MIN_ERRORS or self.is_raised)
        has_changed = is_raised != self.is_raised
        self.is_raised = is_raised
        return AlertState(rate, is_raised, has_changed)
