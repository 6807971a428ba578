"""Sums over an hour of snapshots: a pure function of the rows, from which the means follow.

Sums and counts add up exactly however the rows are cut into batches; means of means would not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

FIELDS = (
    "total_connections",
    "active_connections",
    "messages_sent",
    "messages_received",
    "disconnections",
    "errors",
    "active_users",
    "active_sessions",
    "total_user_connections",
    "total_session_connections",
)
"""The ten numbers of a snapshot, in the order of the report and of the columns."""

HOUR_S = 3600


@dataclass(slots=True)
class HourSums:
    """What the snapshots of one node in one hour add up to."""

    samples: int = 0
    totals: list[int] = field(default_factory=lambda: [0] * len(FIELDS))
    """One sum for each of ``FIELDS``."""
    extra: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Sum and count of each further number; not every snapshot has every one."""
    last_id: int = 0
    """The highest id that is in it."""

    def add(self, id: int, values: Iterable[int], extra: Mapping[str, Any]) -> None:
        """Take in one snapshot: its id, the values of ``FIELDS`` and the further entries.

        Of these only numbers have a mean; texts, booleans, nulls and nested values are left out.
        """
        self.samples += 1
        self.last_id = max(self.last_id, id)
        self.totals = [total + value for total, value in zip(self.totals, values, strict=True)]
        for name, value in extra.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                total, count = self.extra.get(name, (0, 0))
                self.extra[name] = (total + value, count + 1)

    def merge(self, other: HourSums) -> None:
        """Take in the sums of other snapshots of the same hour and node."""
        self.samples += other.samples
        self.last_id = max(self.last_id, other.last_id)
        self.totals = [mine + its for mine, its in zip(self.totals, other.totals, strict=True)]
        for name, (its_total, its_count) in other.extra.items():
            total, count = self.extra.get(name, (0, 0))
            self.extra[name] = (total + its_total, count + its_count)


def hour_of(at: float) -> int:
    """Start of the hour (UTC) that a moment belongs to; seconds since the epoch."""
    return int(at // HOUR_S) * HOUR_S


def sum_by_hour(
    rows: Iterable[tuple[int, float, str, Iterable[int], Mapping[str, Any]]],
) -> dict[tuple[int, str], HourSums]:
    """Add up rows of (id, moment, node, values of ``FIELDS``, extra) by hour and node."""
    sums: dict[tuple[int, str], HourSums] = {}
    for id, at, node, values, extra in rows:
        sums.setdefault((hour_of(at), node), HourSums()).add(id, values, extra)
    return sums
