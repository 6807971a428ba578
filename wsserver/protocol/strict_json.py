"""Strict JSON: no NaN, no duplicate keys, no lone surrogates, limited depth."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn, TypeVar

import msgspec

from wsserver.errors import BadJson, BadUnicode, TooDeep

MAX_DEPTH = 32
"""The deepest nesting allowed; the outermost value counts as 1."""

T = TypeVar("T")

encode = msgspec.json.encode
_decode = msgspec.json.Decoder().decode
_BROKEN_UTF8 = "Invalid UTF-8"
"""How msgspec's error begins from 0.23 on; before, it was a ``UnicodeDecodeError``."""
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ARRAYS = bytes.maketrans(b"{}", b"[]")
_NO_STRUCTURE = bytes(set(_NO_BRACKETS) - set(b'"'))


def decode(raw: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Decode one JSON text (RFC 8259).

    Raises ``BadJson`` (syntax, NaN, number out of range, duplicate key), ``BadUnicode`` (broken
    UTF-8, lone surrogate) or ``TooDeep``.
    """
    if (
        len(raw) > max_depth  # fewer bytes cannot open so many brackets
        and raw.count(b"{") + raw.count(b"[") > max_depth
        and _depth_exceeds(raw, max_depth)
    ):
        raise TooDeep(f"nested deeper than {max_depth}")
    try:
        value = _decode(raw)
    except UnicodeDecodeError:
        raise BadUnicode("not valid UTF-8") from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if str(error).startswith(_BROKEN_UTF8):
            raise BadUnicode("not valid UTF-8") from None
        _explain(raw, error)
    if not _surely_unique(raw, value):
        _refuse_duplicates(raw)
    return value


def decode_as(raw: bytes, decoder: msgspec.json.Decoder[T], max_depth: int = MAX_DEPTH) -> T | None:
    """Decode one JSON text as a type, in one pass; None: ``decode`` says what is wrong with it.

    Or only it can tell whether a key is repeated. Structs of the type have ``omit_defaults``, so
    that nothing is in what is written again but what was read.
    """
    if raw.count(b"{") + raw.count(b"[") > max_depth and _depth_exceeds(raw, max_depth):
        return None
    try:
        value = decoder.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return value if _surely_unique(raw, value) else None


def _depth_exceeds(raw: bytes, limit: int) -> bool:
    if b"\\" not in raw:
        # Less to scan. Two adjacent quotes, of one string or of neighbours, do not change whether
        # what follows is inside a string.
        raw = raw.translate(None, _NO_STRUCTURE).replace(b'""', b"")
    if b'"' in raw:
        raw = _STRING.sub(b"", raw)
    # Objects and arrays count alike. What does not match is for the decoder to find.
    brackets = left = raw.translate(_ARRAYS, _NO_BRACKETS)
    # Each round removes the innermost pairs, so the number of rounds is the depth.
    for _ in range(limit):
        outer = left.replace(b"[]", b"")
        if len(outer) == len(left):
            return _unbalanced_depth_exceeds(brackets, limit)
        left = outer
    return bool(left)


def _unbalanced_depth_exceeds(brackets: bytes, limit: int) -> bool:
    """Count the depth of brackets that need not match, one by one: pairs and unclosed ones."""
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket == 0x5B else -1  # [
        if depth > limit:
            return True
    return False


def _surely_unique(raw: bytes, value: Any) -> bool:
    """Prove, without looking at each member, that no object repeats a key.

    A text that is written again as it was read, as most compact ones are, repeats none. Otherwise a
    repeated key leaves more strings in the text than in what was decoded from it, and every string
    takes two quotes besides those that are escaped; unless there are escaped backslashes, which
    make it unclear what is.
    """
    written = encode(value)
    if written == raw:
        return True
    if b"\\" not in raw:
        return raw.count(b'"') == written.count(b'"')
    if b"\\\\" in raw or b"\\u005" in raw:
        return False
    return _quotes(raw) == _quotes(written)


def _quotes(text: bytes) -> int:
    """Number of those that begin or end a string, in a text without escaped backslashes."""
    return text.count(b'"') - text.count(b'\\"')


def _refuse_duplicates(raw: bytes) -> None:
    json.loads(raw, object_pairs_hook=_unique_members)


def _unique_members(pairs: list[tuple[str, Any]]) -> None:
    seen = {key for key, _ in pairs}
    if len(seen) != len(pairs):
        raise BadJson("duplicate key in an object")


def _explain(raw: bytes, error: Exception) -> NoReturn:
    """Raise ``BadUnicode`` for lone surrogates, which msgspec reports as broken syntax."""
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
