"""Output of commands: data to stdout as table, JSON or CSV, notes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import click

from wsctl.formatting import plain
from wsctl.output.wrapping import DEFAULT_WIDTH, fold, fold_parts, width_of
from wsctl.text import flatten, printable

FORMATS = ("table", "json", "csv")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a table for people."""

    title: str
    key: str
    """Name of the field, ``outer.inner`` for nested ones."""
    show: Callable[[Any], str] | None = None
    """Turns the value into text; None: plain text, booleans as yes and no."""
    right: bool = False
    """Right-aligned."""
    is_detail: bool = False
    """Left out if the terminal is too narrow for the whole table."""
    is_id: bool = False
    """Never wrapped, so that it can be copied."""


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON text with non-ASCII characters unescaped."""
    import json

    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


def say(text: str, *, indent: int = 0) -> None:
    """Print a line on stderr; on a terminal, wrapped to its width."""
    for line in fold(printable(text), width_of(sys.stderr), indent):
        click.echo(line, err=True)


class Output:
    """Output of one call: format, terminal, stdout and stderr."""

    def __init__(self) -> None:
        self.format: str | None = None
        """Value of ``-o``; None if it was not given."""
        self.quiet = False

    @property
    def stream(self) -> TextIO:
        """Current stdout; looked up each time because tests replace it."""
        return sys.stdout

    @property
    def is_terminal(self) -> bool:
        """Whether stdout is a terminal."""
        return self.stream is not None and self.stream.isatty()

    @property
    def is_live(self) -> bool:
        """Whether stdout is a terminal that can redraw, showing tables."""
        return self.is_table and self.is_terminal and os.environ.get("TERM") != "dumb"

    @property
    def has_colour(self) -> bool:
        """Whether colours may be used (https://no-color.org, ``TERM=dumb``)."""
        return self.is_live and not os.environ.get("NO_COLOR")

    @property
    def is_table(self) -> bool:
        """Whether the output is for people rather than programs."""
        return self.format in (None, "table")

    def data(self, text: str) -> None:
        """Write ``text`` to stdout unchanged and flush."""
        if self.stream is not None:
            self.stream.write(text)
            self.stream.flush()

    def line(self, text: str, *, indent: int = 0, **style: Any) -> None:
        """One line for people on stdout; ``style`` as ``click.style`` has it, if colours may be.

        On a terminal, longer lines wrap and continue after ``indent`` blanks.
        """
        self.line_of([(text, style)], indent=indent)

    def line_of(self, parts: Iterable[tuple[str, Mapping[str, Any]]], *, indent: int = 0) -> None:
        """One line for people of parts, each with a style as in ``line``."""
        texts = [(printable(text), dict(style)) for text, style in parts]
        for folded in fold_parts(texts, width_of(self.stream), indent):
            styled = (click.style(t, **s) if s and self.has_colour else t for t, s in folded)
            self.data("".join(styled).rstrip() + "\n")

    def note(self, text: str) -> None:
        """One line on stderr; nothing with ``--quiet``."""
        if not self.quiet:
            say(text)

    def document(self, document: Row, sentence: str) -> None:
        """Result of an action: ``sentence`` in a table (unless quiet), else ``document``."""
        if not self.is_table:
            self.record(document)
        elif not self.quiet:
            self.line(sentence)

    def record(self, document: Row) -> None:
        """One object as JSON or as a CSV header with one line."""
        if self.format == "csv":
            from wsctl.output.csv_rows import csv_line

            flat = flatten(document)
            self.data(csv_line(flat) + csv_line(flat.values()))
        else:
            self.data(to_json(document, indent=2) + "\n")

    def rows(self, columns: Sequence[Column], rows: Sequence[Row], *, empty: str) -> None:
        """A list: table for people, array of the whole objects in JSON, every field in CSV.

        ``empty`` is printed on stderr if a table has no rows.
        """
        if self.format == "json":
            self.data(to_json(rows, indent=2) + "\n")
        elif self.format == "csv":
            self._csv_rows([column.key for column in columns], rows)
        elif rows:
            self.data(self.table(columns, rows))
        else:
            self.note(empty)

    def _csv_rows(self, first: Sequence[str], rows: Sequence[Row]) -> None:
        from wsctl.output.csv_rows import csv_line

        flat_rows = [flatten(row) for row in rows]
        names = dict.fromkeys(name for row in flat_rows for name in row)
        # Declared columns come first, also in an empty list, so that scripts can rely on them.
        declared = [name for name in first if name in names or not rows]
        header = list(dict.fromkeys([*declared, *names]))
        self.data(csv_line(header))
        for row in flat_rows:
            self.data(csv_line(row.get(name) for name in header))

    def table(self, columns: Sequence[Column], rows: Sequence[Row]) -> str:
        """A table as text; not wrapped and without colours in a pipe.

        On a narrow terminal, detail columns are left out until the rest is readable.
        """
        from wsctl.output.tables import align, draw, folded_width

        width = self.width if self.is_terminal else None
        flat_rows = [flatten(row) for row in rows]
        chosen = list(columns)
        while True:
            titles = [(column.title, column.right) for column in chosen]
            whole = [column.right or column.is_id for column in chosen]
            cells = [
                [printable((c.show or plain)(flat.get(c.key))) for c in chosen]
                for flat in flat_rows
            ]
            details = [column for column in chosen if column.is_detail]
            if width is None:
                return align(titles, cells)
            if not details or folded_width(titles, cells, whole) <= width:
                return draw(titles, cells, whole, width=width, colour=self.has_colour)
            chosen.remove(details[-1])

    @property
    def width(self) -> int:
        """Columns of the terminal; 80 where there is none."""
        return width_of(self.stream) or DEFAULT_WIDTH

    def reader_is_gone(self) -> bool:
        """Whether the reader of the pipe has ended, so that a quiet monitor ends too."""
        import select

        try:
            descriptor = self.stream.fileno()
        except (AttributeError, OSError, ValueError):
            return False
        poll = select.poll()
        poll.register(descriptor, 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
