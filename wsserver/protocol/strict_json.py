"""JSON as the contract wants it: no NaN, no duplicate keys, no lone surrogates, no deep nests."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import msgspec

from wsserver.errors import BadJson, BadUnicode, TooDeep

MAX_DEPTH = 32
"""The deepest nesting allowed; the outermost value counts as 1."""

encode = msgspec.json.encode
_decode = msgspec.json.Decoder().decode
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


def decode(raw: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Decode one JSON text (RFC 8259).

    Raises ``BadJson`` (syntax, NaN, number out of range, duplicate key), ``BadUnicode`` (broken
    UTF-8, lone surrogate) or ``TooDeep``.
    """
    if raw.count(b"{") + raw.count(b"[") > max_depth and _depth_exceeds(raw, max_depth):
        raise TooDeep(f"nested deeper than {max_depth}")
    try:
        value = _decode(raw)
    except UnicodeDecodeError:
        raise BadUnicode("not valid UTF-8") from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        _explain(raw, error)
    if not _surely_unique(raw, value):
        _refuse_duplicates(raw)
    return value


def _depth_exceeds(raw: bytes, limit: int) -> bool:
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", raw)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > limit:
            return True
    return False


def _surely_unique(raw: bytes, value: Any) -> bool:
    """Prove in one pass that no object repeats a key.

    Without escapes every string takes two quotes; a repeated key leaves more strings in the text
    than the decoded value has.
    """
    if b"\\" in raw:
        return False
    strings = 0
    parts = [value]
    for part in parts:  # grows on the way
        kind = type(part)
        if kind is str:
            strings += 1
        elif kind is dict:
            strings += len(part)
            parts += part.values()
        elif kind is list:
            parts += part
    return raw.count(b'"') == 2 * strings


def _refuse_duplicates(raw: bytes) -> None:
    json.loads(raw, object_pairs_hook=_unique_members)


def _unique_members(pairs: list[tuple[str, Any]]) -> None:
    seen = {key for key, _ in pairs}
    if len(seen) != len(pairs):
        raise BadJson("duplicate key in an object")


def _explain(raw: bytes, error: Exception) -> NoReturn:
    """Tell lone surrogates, which msgspec reports as broken syntax, from other faults."""
    try:
        lenient = json.loads(raw, parse_constant=_refuse_constant, parse_int=str)
        json.dumps(lenient, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadUnicode("lone surrogate in a string") from None
    except (ValueError, RecursionError):
        pass
    text = str(error).removeprefix("JSON is malformed: ")
    raise BadJson(f"not valid JSON: {text}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
