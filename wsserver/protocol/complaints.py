"""What msgspec says of JSON of the wrong shape, taken apart into field and message."""

from __future__ import annotations

import re
from typing import NamedTuple

from msgspec import ValidationError

from wsserver.protocol.types import (
    ACTION_URL_PATTERN,
    ID_PATTERN,
    PHONE_PATTERN,
    PUSH_TYPE_PATTERN,
    STREAM_PATTERN,
    TIME_OF_DAY_PATTERN,
    USER_ID_PATTERN,
)

ID_FORM = "1-128 characters of A-Z a-z 0-9 . _ : @ -"
_PATTERNS = {
    ID_PATTERN: ID_FORM,
    USER_ID_PATTERN: "1-128 characters of A-Z a-z 0-9 . _ : @ | + -",
    PUSH_TYPE_PATTERN: "a-z first, then at most 63 of a-z 0-9 _ .",
    STREAM_PATTERN: "broadcast, session:ID or user:ID",
    ACTION_URL_PATTERN: "a path with one / at first, or http(s)://host…; no blanks, no backslashes",
    PHONE_PATTERN: "a number in international form like +8613800138000",
    TIME_OF_DAY_PATTERN: "a time of day from 00:00 to 23:59",
}


class Complaint(NamedTuple):
    """One fault of a JSON value."""

    field: str
    """Dotted path, empty for the value itself."""
    message: str
    unknown: bool
    """Is the fault that nobody knows this field?"""


_UNKNOWN_FIELD = re.compile(r"^Object contains unknown field `(.*?)`(?: - at `(.*)`)?$", re.DOTALL)
_MISSING_FIELD = re.compile(r"^Object missing required field `(.*?)`(?: - at `(.*)`)?$", re.DOTALL)
_AT_FIELD = re.compile(r"^(.*) - at (?:`key` in )?`\$\.?(.*)`$", re.DOTALL)


def describe(error: ValidationError) -> Complaint:
    """Take a msgspec complaint apart, so that an answer can name the field."""
    text = str(error)
    for pattern, message, unknown in (
        (_UNKNOWN_FIELD, "unknown field", True),
        (_MISSING_FIELD, "required", False),
    ):
        match = pattern.match(text)
        if match:
            parent = (match[2] or "$").removeprefix("$").removeprefix(".")
            field = f"{parent}.{match[1]}" if parent else match[1]
            return Complaint(field[:128], message, unknown)
    match = _AT_FIELD.match(text)
    if match:
        return Complaint(match[2][:128], _readable(match[1]), False)
    return Complaint("", _readable(text), False)


def _readable(message: str) -> str:
    for pattern, meaning in _PATTERNS.items():
        if repr(pattern) in message:
            return meaning
    return message.replace("`", "")
