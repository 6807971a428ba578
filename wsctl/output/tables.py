"""Tables: drawn by rich on a terminal, plain aligned columns in a pipe."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

if TYPE_CHECKING:
    from rich.table import Table

_GAP = 3
"""Cells between two columns of the box and padding used here."""
_READABLE = 20
"""Narrowest column in which wrapped text is readable."""
_NARROWEST = 8


def make(
    titles: Sequence[tuple[str, bool]],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int] | None = None,
) -> Table:
    """A table of ``(title, right aligned)`` columns; longer cells wrap."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for index, (title, right) in enumerate(titles):
        table.add_column(
            title,
            justify="right" if right else "left",
            overflow="fold",
            width=None if widths is None else widths[index],
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def folded_width(
    titles: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]], whole: Sequence[bool]
) -> int:
    """Width of the table when long texts wrap to a still readable width."""
    widths = [
        width if keep else min(width, max(_READABLE, cell_len(title)))
        for index, ((title, _), keep) in enumerate(zip(titles, whole, strict=True))
        for width in [_width(title, index, rows)]
    ]
    return sum(widths) + _GAP * (len(widths) - 1)


def _widths(
    titles: Sequence[tuple[str, bool]],
    rows: Sequence[Sequence[str]],
    whole: Sequence[bool],
    width: int,
) -> list[int]:
    """Width of each column: the widest shrink first, those of ``whole`` last."""
    widths = [_width(title, index, rows) for index, (title, _) in enumerate(titles)]
    room = width - _GAP * (len(widths) - 1)
    while sum(widths) > room:
        foldable = [i for i, keep in enumerate(whole) if not keep and widths[i] > _NARROWEST]
        widest = max(foldable or range(len(widths)), key=widths.__getitem__)
        if widths[widest] <= 1:
            break
        widths[widest] -= 1
    return widths


def _width(title: str, index: int, rows: Sequence[Sequence[str]]) -> int:
    return max(cell_len(title), *(cell_len(row[index]) for row in rows), 0)


def align(titles: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> str:
    """Plain columns for a pipe: one line per row; fast enough for 50,000 rows."""
    lines = [[title for title, _ in titles], *rows]
    widths = [max(cell_len(line[index]) for line in lines) for index in range(len(titles))]
    text = []
    for line in lines:
        cells = []
        for cell, width, (_, right) in zip(line, widths, titles, strict=True):
            blank = " " * (width - cell_len(cell))
            cells.append(blank + cell if right else cell + blank)
        text.append("  ".join(cells).rstrip() + "\n")
    return "".join(text)


def draw(
    titles: Sequence[tuple[str, bool]],
    rows: Sequence[Sequence[str]],
    whole: Sequence[bool] | None = None,
    *,
    width: int,
    colour: bool,
) -> str:
    """The table for a terminal, at most ``width`` cells wide; columns of ``whole`` wrap last."""
    from rich.console import Console

    target = io.StringIO()
    console = Console(
        file=target,
        width=width,
        force_terminal=colour,
        no_color=not colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
    )
    widths = _widths(titles, rows, whole or [False] * len(titles), width)
    console.print(make(titles, rows, widths))
    return "".join(line.rstrip() + "\n" for line in target.getvalue().splitlines())
