"""The form of this package's log messages: an event in words, then fields, ``name=%s`` each."""

from __future__ import annotations

import logging
import math
import re
from functools import lru_cache
from typing import Any, NamedTuple

PACKAGE = "wsserver"
RESERVED = frozenset({"timestamp", "level", "logger", "event", "message", "exception"})

_CONVERSION = r"%[-+ #0]*[0-9]*(?:\.[0-9]+)?[srdfg]"
_TEMPLATE = re.compile(rf"([A-Za-z][^=%:]*?)((?: [a-z][a-z0-9_]*={_CONVERSION})*)")
_FIELD = re.compile(rf" ([a-z][a-z0-9_]*)=({_CONVERSION})")


class Structure(NamedTuple):
    """An event with its fields."""

    event: str
    fields: dict[str, Any]
    """Text, numbers, booleans or None: what JSON can hold."""


class Template(NamedTuple):
    """A message before its arguments are filled in."""

    event: str
    fields: tuple[tuple[str, str], ...]
    """Names, each with its conversion (``%s``)."""


@lru_cache(maxsize=500)
def parse_template(text: str) -> Template | None:
    """Take a message apart; None: it does not have the form."""
    match = _TEMPLATE.fullmatch(text)
    if match is None:
        return None
    fields = tuple(_FIELD.findall(match[2]))
    names = {name for name, _ in fields}
    if len(names) < len(fields) or not RESERVED.isdisjoint(names):
        return None
    return Template(match[1], fields)


def structure_of(record: logging.LogRecord) -> Structure | None:
    """The event and fields of one of this package's records; None: it has none."""
    if not (record.name == PACKAGE or record.name.startswith(f"{PACKAGE}.")):
        return None
    template = parse_template(record.msg) if isinstance(record.msg, str) else None
    args = record.args or ()
    if template is None or not isinstance(args, tuple) or len(args) != len(template.fields):
        return None
    try:
        values = [
            _value(conversion, arg)
            for (_, conversion), arg in zip(template.fields, args, strict=True)
        ]
    except (TypeError, ValueError):
        return None
    names = [name for name, _ in template.fields]
    return Structure(template.event, dict(zip(names, values, strict=True)))


def _value(conversion: str, arg: Any) -> Any:
    """An argument as JSON holds it: rounded and cut as the conversion says."""
    kind = conversion[-1]
    if kind == "s" and (arg is None or isinstance(arg, bool | int)):
        return arg
    text = conversion % arg
    if kind == "d" or (kind == "s" and isinstance(arg, float)):
        return int(text) if kind == "d" else arg if math.isfinite(arg) else text
    if kind in "fg":
        number = float(text)
        return number if math.isfinite(number) else text
    return text
