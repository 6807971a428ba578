"""Layout of the screen as lines of text: a pure function of state, view, size and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from wsctl.text import printable
from wsctl.times import readable
from wsctl.top.figures import figure_lines, trend_lines
from wsctl.top.model import State
from wsctl.top.panes import pane_lines
from wsctl.top.view import KEYS, PANES, View

WIDE = 120
"""From this width on, panes are side by side."""
_LIST_WIDTH = 35
"""Minimum width of a list, for a usual id and its numbers."""
SMALLEST = (40, 12)


@dataclass(frozen=True)
class Moment:
    """Time of a frame."""

    now: float
    """Seconds of the monotonic clock, as the state's times are."""
    clock: str
    """The time of day."""


def frame(state: State, view: View, width: int, height: int, moment: Moment) -> list[Text]:
    """Exactly ``height`` lines of exactly ``width`` cells."""
    if width < SMALLEST[0] or height < SMALLEST[1]:
        need = f"too small: {SMALLEST[0]} x {SMALLEST[1]} needed"
        lines = [Text(need), Text("q quits")]
        return _fitted(lines, width, height)
    shown = view.shown(state)
    lines = [_header(state, shown, view, width, moment)]
    if not state.link.is_live:
        lines.append(_banner(state, moment))
    if view.has_help:
        lines += _help(shown)
    elif not view.is_zoomed:
        lines += figure_lines(shown, width)
        lines += trend_lines(shown, width, _trend_height(width, height), moment.now)
    left = height - len(lines) - 1
    if not view.has_help:
        lines += _panes(shown, view, width, left)
    lines = _fitted(lines, width, height - 1)
    return [*lines, *_fitted([_footer(view)], width, 1)]


def _fitted(lines: Sequence[Text], width: int, height: int) -> list[Text]:
    """Lines cut or padded to the size of the screen."""
    fitted = []
    for line in [*lines[:height], *(Text() for _ in range(height - len(lines)))]:
        copied = line.copy()
        copied.truncate(width, overflow="ellipsis", pad=True)
        fitted.append(copied)
    return fitted


def _trend_height(width: int, height: int) -> int:
    """Lines of each chart, about a quarter of the screen for all of them."""
    rows = 2 if width >= WIDE else 4
    return max(1, min(6, (height - 12) // 3 // rows))


def _header(state: State, shown: State, view: View, width: int, moment: Moment) -> Text:
    status = "PAUSED" if view.frozen else "live" if state.link.is_live else "NOT CONNECTED"
    left = Text()
    left.append(" wsctl top ", style="bold reverse")
    left.append(f" {shown.url}")
    if shown.node:
        left.append(f" · {printable(shown.node)}")
    uptime = shown.stats.get("uptime_s")
    if isinstance(uptime, int | float):
        left.append(f" · up {readable(uptime)}")
    health = str(shown.health.get("status") or "")
    if health:
        left.append(" · ")
        left.append(health, style="green" if health == "ok" else "bold red")
    right = Text()
    right.append(f" {status} ", style="green" if status == "live" else "bold reverse")
    right.append(f" {moment.clock}")
    left.truncate(max(0, width - right.cell_len), overflow="ellipsis", pad=True)
    return left.append_text(right)


def _banner(state: State, moment: Moment) -> Text:
    since = readable(max(0.0, moment.now - state.link.since))
    # The header has the address already.
    why = state.link.text.removeprefix(f"cannot reach {state.url}: ").replace(f" {state.url}", "")
    return Text(f" ! no connection for {since}: {why} ", style="bold red reverse")


def _panes(shown: State, view: View, width: int, height: int) -> list[Text]:
    """The three panes, or the zoomed one."""
    if view.is_zoomed or width < 60 or height < 8:
        return pane_lines(shown, view, view.pane, width, height)
    sessions, users, events = PANES
    if width >= WIDE:
        narrow = max((width - 2) // 4, _LIST_WIDTH)
        rest = width - 2 * (narrow + 1)
        return _beside(
            [
                (narrow, pane_lines(shown, view, sessions, narrow, height)),
                (narrow, pane_lines(shown, view, users, narrow, height)),
                (rest, pane_lines(shown, view, events, rest, height)),
            ]
        )
    upper = (height + 1) // 2
    half = (width - 1) // 2
    lists = _beside(
        [
            (half, pane_lines(shown, view, sessions, half, upper)),
            (width - half - 1, pane_lines(shown, view, users, width - half - 1, upper)),
        ]
    )
    return lists + pane_lines(shown, view, events, width, height - upper)


def _beside(blocks: Sequence[tuple[int, Sequence[Text]]]) -> list[Text]:
    """Blocks of equal height side by side, with a rule between them."""
    lines = []
    fitted = [_fitted(block, width, len(block)) for width, block in blocks]
    for parts in zip(*fitted, strict=True):
        line = Text()
        for number, part in enumerate(parts):
            if number:
                line.append("│", style="dim")
            line.append_text(part)
        lines.append(line)
    return lines


def _help(state: State) -> list[Text]:
    lines = [Text(), Text(" Keys", style="bold"), Text()]
    for keys, what in KEYS:
        lines.append(Text.assemble((f"  {keys:<15}", "bold"), what))
    lines += [
        Text(),
        Text(f"  A column of a chart is the mean of {state.column_s:g} s; a gap: no data."),
    ]
    return lines


def _footer(view: View) -> Text:
    if view.is_typing:
        return Text(f" filter: {view.filter}█  Enter applies it, Esc clears it", style="bold")
    line = Text()
    for key, what in (
        ("q", "quit"), ("p", "resume" if view.frozen else "pause"), ("s", f"sort: {view.sort}"),
        ("/", f"filter: {view.filter}" if view.filter else "filter"), ("Tab", "pane"),
        ("z", "back" if view.is_zoomed else "zoom"), ("?", "help"),
    ):  # fmt: skip
        line.append(" ")
        line.append(key, style="bold reverse")
        line.append(f" {what} ")
    return line
