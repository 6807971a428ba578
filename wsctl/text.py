"""Text from elsewhere made safe to show: on a terminal, in one line, in a spreadsheet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Control characters could move the cursor or recolour the screen; the bidirectional marks and the
# deprecated format characters could make a line read as something else. The zero width joiner
# stays: emoji need it.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff]"
)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# Spreadsheets skip what is not seen before a formula, and take the full-width signs for the others.
_FORMULA = re.compile(
    "[\t\r\n]|[\\s\x00-\x1f\x7f\u200b-\u200f\u2060\ufeff]*[=+@\uff1d\uff0b\uff0d\uff20-]"
)


def without_mark(text: str) -> str:
    """``text`` without the byte order mark that editors on Windows put first."""
    return text.removeprefix("\ufeff")


def printable(text: str) -> str:
    """``text`` with everything that could steer a terminal written as an escape."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """``text`` as a single printable line; white space runs become one space."""
    return printable(" ".join(text.split()))


def csv_cell(value: Any) -> str:
    """One CSV cell that no spreadsheet takes for a formula.

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


def flatten(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as ``outer.inner`` columns; a list of plain values joined by spaces.

    Lists of objects become compact JSON, so that nothing is lost in a flat format.
    """
    flat: dict[str, Any] = {}
    for key, value in row.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}."))
        elif isinstance(value, list):
            if any(isinstance(item, Mapping | list) for item in value):
                from json import dumps

                flat[name] = dumps(value, ensure_ascii=False)
            else:
                flat[name] = " ".join(str(item) for item in value)
        else:
            flat[name] = value
    return flat
