"""CSV (RFC 4180, rows end with LF), safe against spreadsheet formulas."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import IO, Any

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# Spreadsheets skip invisible characters before a formula, and accept full-width signs.
_FORMULA = re.compile(
    "[\t\r\n]|[\\s\x00-\x1f\x7f\u200b-\u200f\u2060\ufeff]*[=+@\uff1d\uff0b\uff0d\uff20-]"
)


def csv_cell(value: Any) -> str:
    """One CSV cell that no spreadsheet reads as a formula.

    Text starting with ``= + - @``, their full-width forms, TAB, CR or LF gets a leading apostrophe
    unless it is a number; blanks and invisible characters before these do not count.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


class CsvRows:
    """Writes rows into a text file; cells are quoted where needed, and safe against formulas.

    Many readers end a row at a lone carriage return. Python's writer quotes it only if it is part
    of the line terminator, so rows are made with CR LF and written with LF.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._writer = csv.writer(self, lineterminator="\r\n")

    def row(self, cells: Iterable[Any]) -> int:
        """Write one row; returns the number of characters."""
        written: int = self._writer.writerow([csv_cell(cell) for cell in cells])
        return written

    def write(self, line: str) -> int:
        """Write a finished line; called by ``csv.writer``."""
        return self._file.write(line[:-2] + "\n")


def csv_line(cells: Iterable[Any]) -> str:
    """One CSV line (RFC 4180, ``\\n``), safe against formulas."""
    line = io.StringIO()
    CsvRows(line).row(cells)
    return line.getvalue()
