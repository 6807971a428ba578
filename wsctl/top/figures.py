"""Upper part of the screen: counts, queues, latencies and charts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from wsctl.formatting import byte_size, plain, short
from wsctl.output.charts import bars, latest_columns, nice_top
from wsctl.output.stats_fields import label
from wsctl.output.stats_fields import shown as shown_value
from wsctl.times import readable
from wsctl.top.model import State

_LABEL = 24
_TRENDS = (
    ("received", "messages in", "/s"),
    ("delivered", "deliveries out", "/s"),
    ("connections", "connections", ""),
    ("errors", "errors", "/s"),
)


def figure_lines(state: State, width: int) -> list[Text]:
    """Three lines of counts, queues and latencies."""
    stats = state.stats
    counts = [
        ("connections", f"{_count(stats, 'total_connections')}"
         f" ({_count(stats, 'active_connections')} active)"),
        ("errors", _count(stats, "errors")),
        ("users", _count(stats, "active_users")),
        ("sessions", f"{_count(stats, 'active_sessions')}"
         f" ({_count(stats, 'total_session_connections')} joined)"),
        ("disconnections", _count(stats, "disconnections")),
    ]  # fmt: skip
    latencies = [
        (f"{label(name)} {'/'.join(stats[name])}" if number == 0 else label(name),
         _percentiles(stats[name]))
        for number, name in enumerate(
            name for name in ("deliver_ms", "rtt_ms") if isinstance(stats.get(name), dict)
        )
    ]  # fmt: skip
    return [_pairs(counts, width), _pairs(latencies, width), _queues(state, width)]


def _pairs(pairs: list[tuple[str, str]], width: int) -> Text:
    """Names and values; the last ones are left out if there is no room."""
    line = Text()
    for name, value in pairs:
        if line.cell_len + cell_len(name) + cell_len(value) + 2 > width and line:
            break
        line.append(f" {name} ", style="dim")
        line.append(f"{value} ", style="bold")
    return line


def _count(stats: Mapping[str, Any], name: str) -> str:
    return plain(stats[name]) if stats.get(name) is not None else "-"


def _percentiles(figures: Mapping[str, Any]) -> str:
    if all(value is None for value in figures.values()):
        return "-"
    values = ("-" if value is None else short(value) for value in figures.values())
    return f"{'/'.join(values)} ms"


def _queues(state: State, width: int) -> Text:
    """Queues and health checks: failed checks first, with details."""
    line = Text()
    found = state.health.get("checks")
    checks = {n: c for n, c in found.items() if isinstance(c, dict)} if found else {}
    for name, check in checks.items():
        if check.get("ok") is not True:
            line.append(f" {name} NOT OK {_details(check)} ", style="bold red")
    queued = state.stats.get("queued_bytes")
    pairs = [("queued to clients", byte_size(queued))] if isinstance(queued, int) else []
    if "database" in checks and checks["database"].get("queued") is not None:
        pairs.append(("database writes waiting", plain(checks["database"]["queued"])))
    if checks.get("loop", {}).get("lag_ms") is not None:
        pairs.append(("loop lag ms", plain(checks["loop"]["lag_ms"])))
    line.append_text(_pairs(pairs, width - line.cell_len))
    good = [name for name, check in checks.items() if check.get("ok") is True]
    if good and line.cell_len + cell_len(", ".join(good)) + 4 < width:
        line.append(f" ok: {', '.join(good)}", style="green")
    return line


def _details(check: Mapping[str, Any]) -> str:
    details = (
        f"{label(key)} {shown_value(key, value)}"
        for key, value in check.items()
        if key != "ok" and value is not None
    )
    return ", ".join(details)


def trend_lines(state: State, width: int, height: int, now: float) -> list[Text]:
    """Charts: one below the other, or in two columns on a wide screen."""
    columns = 2 if width >= 120 else 1
    each = width // columns
    blocks = [_trend(state, name, title, unit, each, height, now) for name, title, unit in _TRENDS]
    lines = []
    for start in range(0, len(blocks), columns):
        for parts in zip(*blocks[start : start + columns], strict=True):
            line = Text()
            for part in parts:
                part.truncate(each, pad=True)
                line.append_text(part)
            lines.append(line)
    return lines


def _trend(
    state: State, name: str, title: str, unit: str, width: int, height: int, now: float
) -> list[Text]:
    """``height`` lines: title, current value and bars, with the scale beside them."""
    trend = state.trends[name]
    columns = max(1, width - _LABEL - 11)
    values = latest_columns(trend.points, now, state.column_s, columns)
    top = nice_top(values)
    latest = "-" if trend.latest is None else f"{short(trend.latest)} {unit}".rstrip()
    notes = [f" {title:<14} {latest:>8}"] + [""] * (height - 1)
    if height > 1:
        notes[1] = f" {'over ' + readable(columns * state.column_s):>{_LABEL - 2}}"
    lines = []
    for number, (note, bar) in enumerate(zip(notes, bars(values, height, top), strict=True)):
        line = Text()
        line.append(f"{note:<{_LABEL}}", style="bold" if number == 0 else "dim")
        line.append(bar, style="red" if name == "errors" else "cyan")
        if number == 0:
            line.append(f" ≤ {short(top)}", style="dim")
        lines.append(line)
    return lines
