"""Analysis of stored snapshots: one moment, two compared, rates and charts over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeGuard

from wsctl.errors import BadUsage, Failed
from wsctl.output.charts import Point, columns_of
from wsctl.output.stats_fields import COUNTERS, TEN
from wsctl.snapshots.history import Range, Snapshot, seconds_of
from wsctl.times import local_time, milliseconds

Source = Callable[[Range], Iterable[Snapshot]]
"""Reads the snapshots of a range, oldest first, from the API or the database file."""

_SPANS_S = (3600, 86_400, 31 * 86_400, 367 * 86_400)
_NO_FIGURES = frozenset({"timestamp", "node", "sequence", "samples"})
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400)


def snapshot_at(source: Source, moment: float, node: str | None) -> Snapshot:
    """The last snapshot that was stored at ``moment`` or before.

    Raises ``Failed`` if there is none within a year, ``BadUsage`` if there are several nodes.
    """
    # Times are shown cut to milliseconds: include the whole millisecond of ``moment``.
    until = (milliseconds(moment) + 1) / 1000
    for span_s in _SPANS_S:
        # With a step as long as the span: only the last snapshot of each node.
        wanted = Range(moment - span_s, until, span_s)
        if found := list(source(wanted)):
            return one_node(found, node)[-1]
    raise Failed(f"no snapshot was stored before {local_time(moment)}")


def one_node(snapshots: Iterable[Snapshot], node: str | None) -> list[Snapshot]:
    """The snapshots of ``node``, or of the only node there is; raises ``BadUsage`` otherwise."""
    found = list(snapshots)
    nodes = sorted({str(snapshot.get("node")) for snapshot in found})
    if node is None and len(nodes) > 1:
        raise BadUsage(f"there are snapshots of several nodes: give --node {' or '.join(nodes)}")
    if node is not None and found and node not in nodes:
        raise BadUsage(f"there are no snapshots of {node}, only of {', '.join(nodes)}")
    return [snapshot for snapshot in found if node in (None, snapshot.get("node"))]


def time_of(snapshot: Snapshot) -> float:
    """Seconds since the epoch; raises ``Failed`` if the snapshot has no time."""
    seconds = seconds_of(snapshot.get("timestamp"))
    if seconds is None:
        raise Failed("the server's history has a snapshot without a time")
    return seconds


@dataclass(frozen=True)
class Change:
    """A field at two moments."""

    field: str
    before: Any
    after: Any
    change: float | None
    """None if one of the two is missing or not a number."""
    per_s: float | None
    """Growth rate of a counter; None for other fields and across a restart."""


@dataclass(frozen=True)
class Difference:
    """Two snapshots compared."""

    before: Snapshot
    after: Snapshot
    seconds: float
    has_restarted: bool
    """The server restarted in between: its counters grew by at least their current value."""
    changes: list[Change]

    def document(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "before": self.before,
            "after": self.after,
            "seconds": round(self.seconds, 3),
            "has_restarted": self.has_restarted,
            "change": {one.field: one.change for one in self.changes if one.change is not None},
            "per_s": {one.field: one.per_s for one in self.changes if one.per_s is not None},
        }


def compare(before: Snapshot, after: Snapshot) -> Difference:
    """Compare a snapshot with a later one."""
    seconds = time_of(after) - time_of(before)
    has_restarted = is_new_start(after, seconds)
    names = [n for n in (*TEN, *after, *before) if n not in _NO_FIGURES]
    changes = [
        _change(name, before.get(name), after.get(name), seconds, has_restarted)
        for name in dict.fromkeys(names)
    ]
    return Difference(before, after, seconds, has_restarted, changes)


def is_new_start(after: Mapping[str, Any], seconds: float) -> bool:
    """Whether the server started less than ``seconds`` before a snapshot."""
    uptime_s = after.get("uptime_s")
    return is_number(uptime_s) and uptime_s < seconds - 0.5


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _change(name: str, before: Any, after: Any, seconds: float, has_restarted: bool) -> Change:
    if not (is_number(before) and is_number(after)):
        return Change(name, before, after, None, None)
    is_counter = name in COUNTERS
    grown = after if has_restarted and is_counter else after - before
    has_rate = is_counter and not has_restarted and seconds > 0
    rate = round(grown / seconds, 3) if has_rate else None
    return Change(name, before, after, round(grown, 3), rate)


def rates(snapshots: Iterable[Snapshot]) -> Iterator[tuple[Snapshot, dict[str, float]]]:
    """Each snapshot with the rates of its counters since the previous one; the first without.

    After a restart, rates count from the start of the server.
    """
    before: Snapshot | None = None
    for snapshot in snapshots:
        seconds = 0.0 if before is None else time_of(snapshot) - time_of(before)
        grown: dict[str, float] = {}
        if before is not None and seconds > 0:
            has_restarted = is_new_start(snapshot, seconds)
            since = snapshot["uptime_s"] if has_restarted else seconds
            for name in COUNTERS:
                old, new = before.get(name), snapshot.get(name)
                if is_number(old) and is_number(new) and since > 0:
                    grown[name] = max(0.0, (new if has_restarted else new - old) / since)
        yield snapshot, grown
        before = snapshot


def points_of(snapshots: Iterable[Snapshot], field: str) -> list[Point]:
    """Points of a field over time: the rate of a counter, the value of any other field.

    Raises ``BadUsage`` for a field that no snapshot has.
    """
    found, known = [], set[str]()
    for snapshot, grown in rates(snapshots):
        known |= {name for name, value in snapshot.items() if is_number(value)} - _NO_FIGURES
        value = grown.get(field) if field in COUNTERS else snapshot.get(field)
        if value is not None and is_number(value):
            found.append((time_of(snapshot), float(value)))
    if known and field not in known:
        from difflib import get_close_matches

        near = get_close_matches(field, known, n=3) or sorted(known)
        raise BadUsage(f"no stored field {field!r}; available: {', '.join(near)}")
    return found


def step_for(seconds: float, columns: int) -> int:
    """A step in whole seconds that divides ``seconds`` into at most ``columns`` steps."""
    fewest = seconds / max(1, columns)
    return next((step for step in _STEPS_S if step >= fewest), math.ceil(fewest / 86_400) * 86_400)


def chart_columns(
    points: Sequence[Point], since: float, step_s: float, columns: int
) -> list[float | None]:
    """``columns_of``, where a point also fills the columns since the previous one.

    So columns between two snapshots are not empty; a gap of more than one and a half times the
    median distance stays a gap.
    """
    values = columns_of(points, since, step_s, columns)
    distances = sorted(b - a for (a, _), (b, _) in pairwise(points))
    reach_s = distances[len(distances) // 2] * 1.5 if distances else 0.0
    following = iter(points)
    point = next(following, None)
    for index in range(columns):
        end = since + (index + 1) * step_s
        while point is not None and point[0] < end:
            point = next(following, None)
        if point is not None and values[index] is None and point[0] - end < reach_s - step_s / 2:
            values[index] = point[1]
    return values
