"""Tables drawn by rich, loaded only when one is shown."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNFOLDED = 100_000
"""Width of a pipe: wide enough that no line is folded."""


def make(titles: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> Table:
    """A table of ``(title, right aligned)`` columns; long cells fold, so that ids stay whole."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for title, right in titles:
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def draw(
    titles: Sequence[tuple[str, bool]],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None,
    colour: bool,
) -> str:
    """The table as text of at most ``width`` cells a line; None: a pipe, one line a row."""
    table = make(titles, rows)
    if width is None:
        table.box = None
        table.padding = (0, 2, 0, 0)
    target = io.StringIO()
    console = Console(
        file=target,
        width=width or _UNFOLDED,
        force_terminal=colour,
        no_color=not colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
    )
    console.print(table)
    return "".join(line.rstrip() + "\n" for line in target.getvalue().splitlines())
