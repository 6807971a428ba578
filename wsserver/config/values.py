"""Conversion of values to the type of their key, within its bounds."""

from __future__ import annotations

import json
import math
import re
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from wsserver.config.faults import Faulty
from wsserver.config.settings import FIELDS, UNQUOTED

_BOOLEANS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(
    ("false", "0", "no", "off"), False
)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf)")


def kind_of(key: str) -> tuple[Any, Meta]:
    """The key's bare type (``int``, ``float``, ``tuple``, ``dict``, …) with its bounds."""
    declared, bounds = FIELDS[key], Meta()
    if get_origin(declared) in (Union, types.UnionType):
        declared = next(one for one in get_args(declared) if one is not types.NoneType)
    if get_origin(declared) is Annotated:
        declared, bounds = get_args(declared)
    if get_origin(declared) in (tuple, dict):
        declared = get_origin(declared)
    return declared, bounds


def from_text(key: str, text: str) -> Any:
    """Read an environment variable's text as the key's type. Raises ``Faulty``."""
    kind, _ = kind_of(key)
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise Faulty(f"must be {expected(key)}{_quoted(key, text)}")
        return _BOOLEANS[text.lower()]
    # Python's own int() and float() also take "1_0" and the digits of every script.
    if kind is int:
        if not _INTEGER.fullmatch(text) or len(text) > 20:
            raise Faulty(f"must be {expected(key)}{_quoted(key, text)}")
        return int(text)
    if kind is float:
        if not _NUMBER.fullmatch(text):
            raise Faulty(f"must be {expected(key)}{_quoted(key, text)}")
        return float(text)
    if kind is tuple:
        return list_from_text(text)
    if kind is dict:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise Faulty(f"must be {expected(key)}, written as JSON") from None
    return text


def list_from_text(text: str) -> list[str]:
    """Split at commas; blanks around an entry, and empty entries, do not count."""
    return [entry for part in text.split(",") if (entry := part.strip())]


def convert(key: str, value: Any) -> Any:
    """Bring a value to the key's type, within its bounds. Raises ``Faulty``."""
    kind, _ = kind_of(key)
    if key == "jwt_algorithm" and isinstance(value, str):
        value = [value]  # the contract takes one name or a list
    if key == "log_level" and isinstance(value, str):
        value = value.lower()
    wrong = isinstance(value, float) and (not math.isfinite(value) or kind is int)
    empty = kind in (str, Path) and value == ""
    try:
        if wrong or empty or _holds_nul(value):
            raise ValueError
        return msgspec.convert(value, FIELDS[key], dec_hook=_decode)
    except (msgspec.ValidationError, ValueError, OverflowError):
        raise Faulty(f"must be {expected(key)}{_quoted(key, value)}") from None


def expected(key: str) -> str:
    """The accepted values of a key in words."""
    kind, bounds = kind_of(key)
    if get_origin(kind) is Literal:
        return " or ".join(f'"{one}"' for one in get_args(kind))
    if kind in (int, float):
        noun = "a whole number" if kind is int else "a number"
        if bounds.le is not None:
            return f"{noun} from {bounds.ge} to {bounds.le}"
        if bounds.gt is not None:
            return f"{noun} above {bounds.gt}"
        return f"{noun} of at least {bounds.ge}"
    return {
        bool: "true or false",
        tuple: "a list of strings",
        dict: "a table of strings" if FIELDS[key] == dict[str, str] else "a table of lists",
        Path: "a path",
    }.get(kind, "a string that is not empty")


def _decode(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError


def _holds_nul(value: Any) -> bool:
    return isinstance(value, str) and "\0" in value


def _quoted(key: str, value: Any) -> str:
    if key in UNQUOTED or isinstance(value, (dict, list, tuple)):
        return ""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return f", not {text[:40]!r}" if isinstance(value, str) else f", not {text[:40]}"
