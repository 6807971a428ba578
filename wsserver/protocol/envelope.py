"""Lenient reading of a command's ``type`` and ``ref``, for texts that are refused unparsed."""

from __future__ import annotations

import json
import re
from typing import Any

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder

Ref = str | int
MAX_REF_LENGTH = 64
LEADING_MEMBERS = 16
"""Members read from a text that no decoder accepts."""


class _Envelope(Struct):
    type: Raw = Raw(b"null")
    ref: Raw = Raw(b"null")


_decode_envelope = Decoder(_Envelope).decode
_decode_value = Decoder().decode
_STRING = rb'"(?:[^"\\]|\\.)*+"'
_OPENING = re.compile(rb"\s*+\{")
_SCALAR_MEMBER = re.compile(
    rb"\s*+(" + _STRING + rb")\s*+:\s*+(" + _STRING + rb"|[-+.\w]++)\s*+[,}]", re.DOTALL
)


def is_ref(ref: object) -> bool:
    """Whether a value is a valid ``ref``: a short string or an integer."""
    if isinstance(ref, str):
        return len(ref) <= MAX_REF_LENGTH
    return type(ref) is int  # a bool is not an integer in JSON


def peek(raw: bytes) -> tuple[str | None, Ref | None]:
    """``type`` and ``ref`` of a command, as far as they can be read; never raises.

    Reads what strict decoding refuses: lone surrogates, NaN, repeated keys (the last one counts),
    deep nests. Of a text that is not JSON, or too deep for any decoder, only the members before the
    first nested value. Linear in the text's length.
    """
    type_, ref = _read(raw)
    return type_ if isinstance(type_, str) else None, ref if _can_be_echoed(ref) else None


def _read(raw: bytes) -> tuple[Any, Any]:
    try:
        envelope = _decode_envelope(raw)
        return _decode_value(envelope.type), _decode_value(envelope.ref)
    except (MsgspecError, ValueError, RecursionError):
        pass
    try:
        members = json.loads(raw)
    except (ValueError, RecursionError):
        members = _leading_members(raw)
    return (members.get("type"), members.get("ref")) if isinstance(members, dict) else (None, None)


def _leading_members(raw: bytes) -> dict[str, Any]:
    members: dict[str, Any] = {}
    match = _OPENING.match(raw)
    for _ in range(LEADING_MEMBERS):
        match = _SCALAR_MEMBER.match(raw, match.end()) if match else None
        if match is None:
            break
        try:
            members[json.loads(match[1])] = json.loads(match[2])
        except (ValueError, RecursionError):
            break
    return members


def _can_be_echoed(ref: object) -> bool:
    if not is_ref(ref):
        return False
    return not isinstance(ref, str) or ref.isascii() or not re.search("[\ud800-\udfff]", ref)
