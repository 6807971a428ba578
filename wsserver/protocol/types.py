"""Field types shared by commands, pushes and requests, with the contract's limits in them."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

ID_PATTERN = r"^[A-Za-z0-9._:@-]{1,128}(?!\n)$"  # `$` alone would let one trailing newline pass
STREAM_PATTERN = r"^(broadcast|(session|user|organization):[A-Za-z0-9._:@-]{1,128})(?!\n)$"
PUSH_TYPE_PATTERN = r"^[a-z][a-z0-9_.]{0,63}(?!\n)$"
# No scheme that a click would execute, no blanks, no control characters.
ACTION_URL_PATTERN = r"^(/|https?://)[^\x00-\x20\x7f\\]*(?!\n)$"
PHONE_PATTERN = r"^\+[1-9][0-9]{6,14}(?!\n)$"
TIME_OF_DAY_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9](?!\n)$"

Id = Annotated[
    str,
    Meta(
        pattern=ID_PATTERN,
        description="1-128 characters of A-Z a-z 0-9 . _ : @ -",
        examples=["user_67890"],
    ),
]
StreamName = Annotated[
    str,
    Meta(
        pattern=STREAM_PATTERN,
        description="broadcast, session:ID, user:ID or organization:ID",
        examples=["session:session_11111"],
    ),
]
PushType = Annotated[str, Meta(pattern=PUSH_TYPE_PATTERN, examples=["order.shipped"])]
Offset = Annotated[int, Meta(ge=0, le=2**53)]
Reason = Annotated[str, Meta(max_length=123)]
Text = Annotated[str, Meta(max_length=65536)]
JsonObject = dict[str, Any]
Content = str | JsonObject


class Position(Struct, forbid_unknown_fields=True):
    """A place in a stream; offsets start at 1, 0 is before the first message."""

    epoch: Annotated[str, Meta(max_length=128)]
    offset: Offset


__all__ = [
    "ACTION_URL_PATTERN",
    "ID_PATTERN",
    "PHONE_PATTERN",
    "PUSH_TYPE_PATTERN",
    "STREAM_PATTERN",
    "TIME_OF_DAY_PATTERN",
    "UNSET",
    "Content",
    "Id",
    "JsonObject",
    "Offset",
    "Position",
    "PushType",
    "Reason",
    "StreamName",
    "Text",
    "UnsetType",
]
