"""Lower part of the screen: panes of sessions, users and events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from wsctl.formatting import plain
from wsctl.output.monitor_pushes import Push, colour_of, fields_of, name_of
from wsctl.text import printable
from wsctl.times import clock_time
from wsctl.top.model import Row, State
from wsctl.top.view import View, events_of, rows_of

_LONG = ("connection_id", "message_id")


@dataclass(frozen=True)
class _Column:
    """A column of a pane."""

    title: str
    value: Callable[[Row], str]
    width: int
    """Width in cells; of a flexible column the minimum."""
    share: int = 0
    """Share of the spare width; 0: fixed width, right-aligned."""


def _rate(row: Row) -> str:
    return plain(row.messages_per_s) if row.messages_per_s else "-"


def _connections(row: Row) -> str:
    return "-" if row.connections is None else plain(row.connections)


_COLUMNS = {
    "sessions": (
        _Column("SESSION", lambda row: row.id, 10, 2),
        _Column("WHO", lambda row: row.name, 14, 3),
        _Column("MSG/S", _rate, 7),
        _Column("CONN", _connections, 5),
    ),
    "users": (
        _Column("USER", lambda row: row.id, 8, 1),
        _Column("NAME", lambda row: row.name, 8, 1),
        _Column("MSG/S", _rate, 7),
        _Column("CONN", _connections, 5),
    ),
}


def pane_lines(state: State, view: View, pane: str, width: int, height: int) -> list[Text]:
    """Title and rows, ``height`` lines in all; a ▶ marks the pane with the focus."""
    make = _events if pane == "events" else _table
    title, lines = make(state, view, pane, width)
    first = 1 if pane != "events" else 0  # the heads of the columns stay
    room = max(0, height - 1 - first)
    rows = lines[first:]
    start = min(view.scroll[pane], max(0, len(rows) - room))
    hidden = len(rows) - room
    if hidden > 0:
        title += f" · {start + 1}-{start + room} of {len(rows)}"
    has_keys = view.pane == pane
    head = Text(f"{'▶' if has_keys else ' '}{title}", style="bold reverse" if has_keys else "bold")
    found = [head, *lines[:first], *rows[start : start + room]]
    return [*found, *(Text() for _ in range(height - len(found)))][:height]


def _events(state: State, view: View, _: str, __: int) -> tuple[str, list[Text]]:
    missed = f" · {state.missed_events:,} dropped" if state.missed_events else ""
    return f"events{missed}", [_event(push) for push in events_of(state, view)] or [
        Text(" none so far", style="dim")
    ]


def _event(push: Push) -> Text:
    event = push.get("event")
    moment = push.get("timestamp") or (event.get("timestamp") if isinstance(event, dict) else "")
    line = Text()
    line.append(f" {clock_time(moment)} ", style="dim")
    line.append(f"{printable(name_of(push)):<22}", style=colour_of(push) or "default")
    # Long ids last: a line has room for the others.
    for name, value in sorted(fields_of(push), key=lambda field: field[0] in _LONG):
        line.append(f" {printable(name)}=", style="dim")
        line.append(printable(value))
    return line


def _table(state: State, view: View, pane: str, width: int) -> tuple[str, list[Text]]:
    rows = rows_of(state, view, pane)
    cells = {
        column.title: [printable(column.value(row)) for row in rows] for column in _COLUMNS[pane]
    }
    widths = _widths(_COLUMNS[pane], width - 1, cells)
    total = state.stats.get("active_sessions" if pane == "sessions" else "active_users")
    known = len(state.sessions if pane == "sessions" else state.users)
    is_part = isinstance(total, int) and total > known
    title = pane
    if is_part and view.filter:
        title += f" · {len(rows)} match; searched {known} of {total:,}"
    elif is_part:
        title += f" · {known} of {total:,}"
    lines = [_line([column.title for column, _ in widths], widths, "dim")]
    texts = [cells[column.title] for column, _ in widths]
    lines += [_line(parts, widths) for parts in zip(*texts, strict=True)]
    if not rows:
        none = f"none among these {known}" if is_part and view.filter else "none"
        lines.append(Text(f" {state.refusal or none}", style="dim"))
    return title, lines


def _line(cells: Sequence[str], widths: Sequence[tuple[_Column, int]], style: str = "") -> Text:
    line = Text(" ", style=style)
    for cell, (column, width) in zip(cells, widths, strict=True):
        part = Text(cell)
        part.truncate(width - 1, overflow="ellipsis", pad=column.share > 0)
        if column.share == 0:
            part.pad_left(width - 1 - part.cell_len)
        line.append_text(part)
        line.append(" ")
    return line


def _widths(
    columns: Sequence[_Column], width: int, cells: Mapping[str, Sequence[str]]
) -> list[tuple[_Column, int]]:
    """The columns that fit, with their widths; the last flexible ones are dropped first.

    ``cells``: texts by column title. The first column has the ids: it gets the width of the
    longest id before other columns get more than they need.
    """
    chosen = list(columns)
    while True:
        spare = width - sum(column.width for column in chosen)
        stretching = [column for column in chosen if column.share]
        if spare >= 0 or len(stretching) < 2:
            break
        chosen.remove(stretching[-1])
    wanted = {c: 1 + max(map(cell_len, (c.title, *cells[c.title]))) for c in stretching}
    room = max(0, spare) + sum(column.width for column in stretching)
    ids, *others = stretching
    # Every column keeps the part of its minimum that it fills; the ids keep their minimum.
    reserved = sum(min(wanted[column], column.width) for column in others)
    widths = {ids: max(ids.width, min(wanted[ids], room - reserved))}
    room -= widths[ids]
    for column in others:
        widths[column] = min(wanted[column], room)
        room -= widths[column]
    shares = sum(column.share for column in stretching)
    return [
        (column, widths[column] + max(0, room) * column.share // shares)
        if column.share
        else (column, column.width)
        for column in chosen
    ]
