"""Field types shared by commands, pushes and requests, with the contract's limits in them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from wsserver.identity.ids import ID_FORM, USER_ID_FORM

# `$` alone would let one trailing newline pass. Why not "." and "..": identity/ids.py.
ID_PATTERN = r"^(?!\.{1,2}$)[A-Za-z0-9._:@-]{1,128}(?!\n)$"
USER_ID_PATTERN = r"^(?!\.{1,2}$)[A-Za-z0-9._:@|+-]{1,128}(?!\n)$"
# Messages that were kept for the ids "." and "..", when they were allowed, can still be read.
STREAM_PATTERN = (
    r"^(broadcast|(session|organization):[A-Za-z0-9._:@-]{1,128}"
    r"|user:[A-Za-z0-9._:@|+-]{1,128})(?!\n)$"
)
NODE_PATTERN = r"^(?!\.{1,2}$)[A-Za-z0-9._:@-]{1,128}(/[0-9]{1,5})?(?!\n)$"
PUSH_TYPE_PATTERN = r"^[a-z][a-z0-9_.]{0,63}(?!\n)$"
# No scheme that a click would execute, no blanks, no control characters. A path that begins with
# two slashes is an address on another host to browsers, which take a backslash for a slash and
# leave out tabs and line breaks before they look.
ACTION_URL_PATTERN = r"^(/(?!/)|https?://(?=[^/?#]))[^\x00-\x20\x7f-\x9f\u2028\u2029\\]*(?!\n)$"
PHONE_PATTERN = r"^\+[1-9][0-9]{6,14}(?!\n)$"
TIME_OF_DAY_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9](?!\n)$"

# Texts that are stored as texts: PostgreSQL has no NUL, and a title is one line.
TITLE_PATTERN = r"^[^\x00-\x1f\x7f]{0,200}(?!\n)$"

_ACTION_URL = re.compile(ACTION_URL_PATTERN)


def is_action_url(text: str) -> bool:
    """Whether a text is a path of the frontend's site, or an http or https URL with a host."""
    return _ACTION_URL.match(text) is not None


Id = Annotated[
    str,
    Meta(
        pattern=ID_PATTERN,
        description=ID_FORM,
        examples=["session_11111"],
    ),
]
UserId = Annotated[
    str,
    Meta(
        pattern=USER_ID_PATTERN,
        description=USER_ID_FORM,
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
NodeName = Annotated[
    str,
    Meta(
        pattern=NODE_PATTERN,
        description="name of a node; that of a worker ends with / and its number",
        examples=["node-1"],
    ),
]
PushType = Annotated[str, Meta(pattern=PUSH_TYPE_PATTERN, examples=["order.shipped"])]
Offset = Annotated[int, Meta(ge=0, le=2**53)]
Reason = Annotated[str, Meta(max_length=123)]
Text = Annotated[str, Meta(max_length=65536)]
Title = Annotated[
    str,
    Meta(
        pattern=TITLE_PATTERN, description="at most 200 characters, on one line", examples=["Acme"]
    ),
]
Term = Annotated[int, Meta(ge=0, le=2**53, description="rises by 1 with each holder")]
SessionState = Literal["open", "pending", "closed"]
"""``pending``: a human is wanted."""
FILE_TYPE = "application/vnd.wsserver.file+json"
"""The content type of a message that is a file."""
MAX_FOUND = 50
"""Messages on one page of a search."""
SearchText = Annotated[
    str, Meta(min_length=2, max_length=200, description="2-200 characters", examples=["refund"])
]
Role = Literal["user", "manager", "admin", "service"]
"""The roles of a token."""
JsonObject = dict[str, Any]
Content = str | JsonObject


class HolderView(Struct, forbid_unknown_fields=True):
    """Who answers in a session."""

    type: Literal["user", "ai"]
    id: UserId


class Position(Struct, forbid_unknown_fields=True):
    """Position in a stream; offsets start at 1, 0 is before the first message."""

    epoch: Annotated[str, Meta(max_length=128)]
    offset: Offset


__all__ = [
    "ACTION_URL_PATTERN",
    "FILE_TYPE",
    "ID_PATTERN",
    "MAX_FOUND",
    "PHONE_PATTERN",
    "PUSH_TYPE_PATTERN",
    "STREAM_PATTERN",
    "TIME_OF_DAY_PATTERN",
    "TITLE_PATTERN",
    "UNSET",
    "USER_ID_PATTERN",
    "Content",
    "HolderView",
    "Id",
    "JsonObject",
    "Offset",
    "Position",
    "PushType",
    "Reason",
    "Role",
    "SearchText",
    "SessionState",
    "StreamName",
    "Term",
    "Text",
    "Title",
    "UnsetType",
    "UserId",
    "is_action_url",
]
