"""Translation of the common subset of SQL (``engine.connection``) to PostgreSQL."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

_RULES = (
    (re.compile(r"NOT IN \(SELECT value FROM json_each\(([^()]+)\)\)"), r"<> ALL(\1)"),
    (re.compile(r"IN \(SELECT value FROM json_each\(([^()]+)\)\)"), r"= ANY(\1)"),
    (
        re.compile(r"json_extract\(CAST\(([\w.]+) AS TEXT\), '\$\.(\w+)'\)"),
        r"(convert_from(\1, 'UTF8')::json ->> '\2')",
    ),
    (re.compile(r"json_extract\(([\w.]+), '\$\.(\w+)'\)"), r"(\1::json ->> '\2')"),
    (re.compile(r"CAST\(([^()]+) AS INTEGER\)"), r"trunc(\1)"),
)
_PLACEHOLDER = re.compile(
    r"""
    '(?:[^']|'')*' | "[^"]*"            # quoted: left as it is
    | \?(?P<number>\d*)
    | (?<![:\w]):(?P<name>[a-z]\w*)     # not the cast ::name
    """,
    re.VERBOSE,
)


class Translated(NamedTuple):
    """A statement with PostgreSQL's placeholders."""

    sql: str
    names: tuple[str, ...] | None
    """Of the parameters, in the order of their placeholders; None: they come as a sequence."""


@cache
def translate(sql: str) -> Translated:
    """Translate a statement. The statements of the program are few, so each is kept."""
    for pattern, replacement in _RULES:
        sql = pattern.sub(replacement, sql)
    names: list[str] = []
    count = 0

    def number(found: re.Match[str]) -> str:
        nonlocal count
        if (name := found["name"]) is not None:
            if name not in names:
                names.append(name)
            return f"${names.index(name) + 1}"
        if found["number"] is None:
            return found[0]
        count += 1
        return f"${found['number'] or count}"

    text = _PLACEHOLDER.sub(number, sql)
    return Translated(text, tuple(names) if names else None)
