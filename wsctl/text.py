"""Escaping of untrusted text for terminals, and flattening of nested objects."""

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


def without_bom(text: str) -> str:
    """``text`` without the byte order mark that editors on Windows write."""
    return text.removeprefix("\ufeff")


def printable(text: str) -> str:
    """``text`` with characters that could control a terminal escaped."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """``text`` as a single printable line; white space runs become one space."""
    return printable(" ".join(text.split()))


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
