"""``Histogram``: counts of durations by bucket, as Prometheus has them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

SHORT_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Bounds for work of this process: a fan-out, a commit."""
NETWORK_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for round trips."""
HUMAN_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
"""Bounds for what people do."""


class Histogram:
    """Number and sum of values since the start, and how many are not above each bound.

    One thread writes; what another reads may be one value behind.
    """

    __slots__ = ("_counts", "bounds", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        """Upper bounds, ascending, without infinity."""
        self.sum = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self._counts)

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Each bound as the label ``le`` has it, with the number of values not above it."""
        total = 0
        for bound, count in zip(self.bounds, self._counts, strict=False):
            total += count
            yield str(bound), total
        yield "+Inf", total + self._counts[-1]
