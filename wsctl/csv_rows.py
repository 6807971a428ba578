"""CSV rows (RFC 4180, ended by LF) that every reader takes for as many rows as were written."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import IO, Any

from wsctl.text import csv_cell


class CsvRows:
    """Writes rows into a text file; cells are quoted where needed, and safe against formulas.

    A carriage return alone ends a row to many readers. Python's writer quotes it only where it is
    part of the line's end, so lines are made with CR LF and written with LF.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._writer = csv.writer(self, lineterminator="\r\n")

    def row(self, cells: Iterable[Any]) -> int:
        """Write one row; returns the number of characters."""
        written: int = self._writer.writerow([csv_cell(cell) for cell in cells])
        return written

    def write(self, line: str) -> int:
        """Take a finished line (the writer's hook)."""
        return self._file.write(line[:-2] + "\n")
