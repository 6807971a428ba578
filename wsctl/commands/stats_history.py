"""Views of stored snapshots for ``wsctl stats``: one, two compared, steps, charts."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from typing import Any

from wsctl.formatting import plain, short
from wsctl.output.charts import Point, chart, nice_top
from wsctl.output.stats_fields import COUNTERS, TEN, as_live, in_order, label, people_rows, shown
from wsctl.output.writer import Column, Output
from wsctl.snapshots.analysis import (
    Change,
    Difference,
    Source,
    chart_columns,
    is_number,
    one_node,
    points_of,
    rates,
    step_for,
    time_of,
)
from wsctl.snapshots.history import Range, Snapshot
from wsctl.times import clock_time, local_time, readable, rfc3339

PIPE_COLUMNS, PIPE_LINES = 80, 24
_MARGIN = 12
"""Cells beside a chart: its labels and rule."""


def show_snapshot(output: Output, snapshot: Snapshot, moment: float) -> None:
    """One snapshot, and how much earlier than ``moment`` it is."""
    if not output.is_table:
        output.record(in_order(snapshot) if output.format == "csv" else snapshot)
        return
    at = time_of(snapshot)
    earlier = f", {readable(moment - at)} earlier" if moment - at >= 1 else ""
    output.note(f"as of {local_time(at)}{earlier}")
    columns = [
        Column("FIELD", "field"),
        Column(f"AT {clock_time(at)}", "value", right=True),
        Column("RATE", "rate", right=True),
    ]
    hidden = ("timestamp", "sequence", *(["samples"] if snapshot.get("samples") == 1 else []))
    stats = {name: v for name, v in as_live(snapshot).items() if name not in hidden}
    output.data(output.table(columns, people_rows(stats)))


def show_difference(output: Output, found: Difference) -> None:
    """Two snapshots side by side, with what has changed."""
    if output.format == "json":
        output.record(found.document())
        return
    if output.format == "csv":
        rows = [vars(change) for change in found.changes]
        output.rows([Column(name, name) for name in vars(found.changes[0])], rows, empty="")
        return
    before, after = time_of(found.before), time_of(found.after)
    output.note(f"from {local_time(before)} to {local_time(after)}: {readable(found.seconds)}")
    if found.has_restarted:
        output.note("the server restarted in between: counters started from zero (≥)")
    columns = [
        Column("FIELD", "field"),
        Column(_title(before, found.seconds), "before", right=True),
        Column(_title(after, found.seconds), "after", right=True),
        Column("CHANGE", "change", right=True),
        Column("RATE", "rate", right=True, is_detail=True),
    ]
    # Rates of single moments say nothing here: RATE is the mean between the two.
    rows = [
        _people_row(change, found.has_restarted)
        for change in found.changes
        if not change.field.endswith("_per_s") and not _is_empty(change)
    ]
    output.data(output.table(columns, rows))


def _is_empty(change: Change) -> bool:
    """Whether both values are missing, or belong to a channel that was never used."""
    values = (change.before, change.after)
    return values == (None, None) or (change.field.startswith("notifications_") and not any(values))


def _title(moment: float, seconds: float) -> str:
    return clock_time(moment) if seconds < 86_400 else local_time(moment)[5:16]


def _people_row(change: Change, has_restarted: bool) -> dict[str, Any]:
    text = ""
    if change.change is not None:
        text = shown(change.field, abs(change.change))
        if has_restarted and change.field in COUNTERS:
            text = f"≥ {text}"
        elif any(digit in text for digit in "123456789"):
            text = ("+" if change.change > 0 else "-") + text
    return {
        "field": label(change.field),
        "before": shown(change.field, change.before),
        "after": shown(change.field, change.after),
        "change": text,
        "rate": "" if change.per_s is None else shown("_per_s", change.per_s),
    }


def _numbers(value: Any) -> str:
    return plain(value) if is_number(value) else ""


_COURSE = [
    Column("TIME", "time"),
    Column("CONNECTIONS", "total_connections", _numbers, right=True),
    Column("USERS", "active_users", _numbers, right=True, is_detail=True),
    Column("SESSIONS", "active_sessions", _numbers, right=True, is_detail=True),
    Column("IN /S", "messages_received", _numbers, right=True),
    Column("OUT /S", "messages_sent", _numbers, right=True),
    Column("ERRORS /S", "errors", _numbers, right=True),
    Column("P99 MS", "deliver_ms_p99", _numbers, right=True),
]


def show_steps(output: Output, source: Source, wanted: Range, node: str | None) -> None:
    """One row per step: gauges as values, counters as rates."""
    step_s = wanted.step_s or 1
    # One step more, so that the first row has rates.
    before = Range(wanted.since - step_s, wanted.until, wanted.step_s)
    found = [(s, grown) for s, grown in rates(one_node(source(before), node))
             if time_of(s) >= wanted.since]  # fmt: skip
    if not output.is_table:
        columns = [Column(name, name) for name in ("timestamp", "node", *TEN)]
        output.rows(columns, [in_order(s) for s, _ in found], empty="")
        return
    is_long = wanted.until - wanted.since > 86_400
    rows = [
        {
            **{k: snapshot.get(k) for k in ("total_connections", "active_users",
                                            "active_sessions", "deliver_ms_p99")},
            **grown,
            "time": local_time(time_of(snapshot))[5 if is_long else 11 : 19],
        }
        for snapshot, grown in found
    ]  # fmt: skip
    output.rows(_COURSE, rows, empty="no snapshots in this range")


def show_charts(
    output: Output, source: Source, wanted: Range, fields: Sequence[str], node: str | None
) -> None:
    """A chart for each field; in JSON and CSV its points."""
    width, lines = shutil.get_terminal_size((PIPE_COLUMNS, PIPE_LINES))
    if not output.is_terminal:
        width, lines = PIPE_COLUMNS, PIPE_LINES
    span_s = wanted.until - wanted.since
    columns = max(10, width - _MARGIN)
    step_s = wanted.step_s or step_for(span_s, columns)
    before = Range(wanted.since - step_s, wanted.until, step_s)
    snapshots = one_node(source(before), node)
    series = {field: points_of(snapshots, field) for field in fields}
    if not output.is_table:
        _points(output, series, wanted.since)
        return
    if not any(series.values()):
        output.note("no snapshots in this range")
        return
    height = max(4, min(16, (lines - 1) // len(fields) - 4))
    for field, points in series.items():
        _chart(output, field, points, wanted, step_s, columns, height)


def _points(output: Output, series: dict[str, list[Point]], since: float) -> None:
    rows: dict[float, dict[str, Any]] = {}
    names = {field: f"{field}_per_s" if field in COUNTERS else field for field in series}
    for field, points in series.items():
        name = names[field]
        for at, value in points:
            if at >= since:
                rows.setdefault(at, {"timestamp": rfc3339(at)})[name] = round(value, 3)
    columns = [Column(name, name) for name in ("timestamp", *names.values())]
    output.rows(columns, [rows[at] for at in sorted(rows)], empty="")


def _chart(
    output: Output,
    field: str,
    points: Sequence[Point],
    wanted: Range,
    step_s: int,
    columns: int,
    height: int,
) -> None:
    """Draw one chart. Steps start at the epoch, as the server's; few steps are drawn wider."""
    first = math.floor(wanted.since / step_s)
    steps = max(1, min(columns, math.ceil(wanted.until / step_s) - first))
    values = chart_columns(points, first * step_s, step_s, steps)
    wide = [values[index * steps // columns] for index in range(columns)]
    name = f"{field}_per_s" if field in COUNTERS else field
    top = nice_top(values)
    labels = [short(value) for value in (top, top / 2, 0.0)]
    known = [value for at, value in points if wanted.since <= at < wanted.until]
    title = f"{label(field)}{_unit_of(name)}"
    if known:
        mean = sum(known) / len(known)
        title += f"  min {short(min(known))}  mean {short(mean)}  max {short(max(known))}"
    output.line(f"{title}  (step: {readable(step_s)})", bold=True)
    span_s = wanted.until - wanted.since
    part = slice(5, 16) if span_s > 86_400 else slice(11, 16 if span_s > 3600 else 19)
    times = (local_time(wanted.since)[part], local_time(wanted.until)[part])
    for line in chart(wide, height=height, labels=labels, times=times):
        output.line(line, fg="cyan")


def _unit_of(name: str) -> str:
    for ending, unit in (("_per_s", " /s"), ("_bytes", " bytes"), ("_s", " s")):
        if name.endswith(ending):
            return unit
    return " ms" if "_ms" in name else ""
