"""What of a text on the wire is recorded: no credentials, and contents only where wanted."""

from __future__ import annotations

import unicodedata
from typing import Any, Final

import msgspec

from wsserver.redaction import REMOVED, Redactor

SECRETS: Final = frozenset(
    {
        *("token", "ticket", "channel", "secret", "password", "authorization"),
        *("credential", "ice_servers", "api_key"),
    }
)
"""Members that are removed in any case, at any depth; ``url`` only where it is signed."""
FREE: Final = frozenset({"content", "data", "metadata", "args"})
"""Members whose form is their sender's: everything in them is masked unless contents are wanted."""
STRUCTURE: Final = frozenset(
    {
        *("type", "ref", "id", "ids", "code", "field", "expected", "seq", "at", "state", "status"),
        *("stream", "epoch", "offset", "timestamp", "created_at", "edited_at", "deleted_at"),
        *("server_time", "expires_at", "since", "until", "started_at", "ended_at", "updated_at"),
        *("message_id", "session_id", "user_id", "connection_id", "notification_id", "call_id"),
        *("client_message_id", "reply_to", "organization_id", "task_id", "file_id", "user_ids"),
        *("protocol", "role", "by", "edited_by", "deleted_by", "from", "members", "active"),
        *("content_type", "changed", "media", "cursor", "next_cursor", "events", "endpoint"),
    }
)
"""Members whose texts stay as they are; all others are masked unless contents are wanted."""

_REDACT: Final = Redactor()


def read_text(payload: bytes) -> dict[str, Any] | None:
    """The object in a text; None: it has none."""
    try:
        found = msgspec.json.decode(payload)
    except (msgspec.DecodeError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def redacted(frame: dict[str, Any], *, with_contents: bool) -> dict[str, Any]:
    """A copy without credentials; texts of people are masked unless ``with_contents``."""
    return {key: _member(key, value, with_contents) for key, value in frame.items()}


def _member(key: str, value: Any, with_contents: bool) -> Any:
    if key in SECRETS or (key == "url" and isinstance(value, str) and "?" in value):
        return REMOVED if value is not None else None
    if isinstance(value, dict):
        if key in FREE and not with_contents:
            return _masked_object(value)
        return {name: _member(name, each, with_contents) for name, each in value.items()}
    if isinstance(value, list):
        return [_member(key, each, with_contents) for each in value]
    if with_contents or key in STRUCTURE:
        return _REDACT(value) if isinstance(value, str) else value
    return masked(value) if isinstance(value, str) or key in FREE else value


def _masked_object(value: Any) -> Any:
    """An object of the same form: its members keep their names, not what they hold."""
    if isinstance(value, dict):
        return {
            name: REMOVED if name in SECRETS else _masked_object(each)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_masked_object(each) for each in value]
    return masked(value)


def masked(value: Any) -> Any:
    """A value of the same type and length that says nothing; white space stays."""
    if isinstance(value, str):
        return "".join(map(_mask, value))
    if isinstance(value, bool) or value is None:
        return value
    return type(value)(0)


def _mask(character: str) -> str:
    if character.isspace():
        return character
    kind = unicodedata.category(character)
    if kind[0] == "N":
        return "0"
    if unicodedata.east_asian_width(character) in "WF":
        return "文"  # as wide as it
    return "X" if kind == "Lu" else "x"
