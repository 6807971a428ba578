"""Comparison of a drain with its forecast: who came back when, and who came too early."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from wsctl.times import epoch

TOLERANCE_MS = 250
"""A client that comes back earlier than its hint by more than this has ignored it: clocks of two
nodes differ, and timers of browsers are not exact."""
USERS_LISTED = 20


@dataclass(frozen=True)
class Early:
    """A client that came back before the time that it was given."""

    user_id: str
    user_agent: str
    hint_ms: int
    came_ms: int

    def as_dict(self) -> dict[str, Any]:
        """For output."""
        return {
            "user_id": self.user_id,
            "user_agent": self.user_agent,
            "reconnect_after_ms": self.hint_ms,
            "came_after_ms": self.came_ms,
        }


@dataclass
class Comparison:
    """What a drain did, beside what was forecast."""

    expected: int
    forecast_per_s: Sequence[int]
    users: frozenset[str] = frozenset()
    """Whose connections were closed."""
    per_s: list[int] = field(default_factory=list)
    early: list[Early] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Users with fewer connections than before, once for each that is missing."""

    @property
    def returned(self) -> int:
        """Number of connections that came back."""
        return self.expected - len(self.missing)

    def seconds(self) -> list[tuple[int, int, int]]:
        """Each second with its reconnects: forecast, and as they were."""
        pairs = zip_longest(self.forecast_per_s, self.per_s, fillvalue=0)
        return [(second, forecast, was) for second, (forecast, was) in enumerate(pairs)]

    def as_dict(self) -> dict[str, Any]:
        """For output; lists of users are cut."""
        return {
            "expected": self.expected,
            "returned": self.returned,
            "missing": len(self.missing),
            "missing_users": sorted(set(self.missing))[:USERS_LISTED],
            "ignored_hint": len(self.early),
            "ignored_hint_by": [each.as_dict() for each in self.early[:USERS_LISTED]],
            "reconnects_per_s": self.per_s,
            "peak_per_s": max(self.per_s, default=0),
            "forecast_per_s": list(self.forecast_per_s),
            "forecast_peak_per_s": max(self.forecast_per_s, default=0),
        }


def compare(
    forecast_per_s: Sequence[int],
    before: Sequence[Mapping[str, Any]],
    after: Iterable[Mapping[str, Any]],
    drained_at: float,
) -> Comparison:
    """Match the connections of a forecast with those that there are after the drain.

    ``before``: the connections of the forecast. ``after``: those of all nodes now, of which the
    ones opened since ``drained_at`` (seconds since the epoch) count. The first one of a user to
    come back is matched with the earliest hint that the user got.
    """
    former = {each["connection_id"] for each in before}
    came_ms: dict[str, list[int]] = defaultdict(list)
    for each in after:
        opened = epoch(each.get("connected_at"))
        if opened is None or each["connection_id"] in former:
            continue
        after_ms = round((opened - drained_at) * 1000)
        if after_ms >= -TOLERANCE_MS:
            came_ms[each["user_id"]].append(max(0, after_ms))
    for times in came_ms.values():
        times.sort()
    users = frozenset(each["user_id"] for each in before)
    comparison = Comparison(len(before), forecast_per_s, users)
    for each in sorted(before, key=lambda row: int(row["reconnect_after_ms"])):
        times = came_ms[each["user_id"]]
        if not times:
            comparison.missing.append(each["user_id"])
            continue
        came, hint = times.pop(0), int(each["reconnect_after_ms"])
        _count(comparison.per_s, came // 1000)
        if came < hint - TOLERANCE_MS:
            agent = str(each.get("user_agent") or "")
            comparison.early.append(Early(each["user_id"], agent, hint, came))
    return comparison


def _count(per_s: list[int], second: int) -> None:
    per_s.extend([0] * (second + 1 - len(per_s)))
    per_s[second] += 1
