"""Formatting of the monitor's pushes for people: name, colour, fields."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from wsctl.formatting import plain
from wsctl.output.stats_fields import TEN
from wsctl.output.writer import to_json

Push = dict[str, Any]

# Colours only repeat what the words say.
COLOURS = {
    "user_status_update": "cyan",
    "event": "green",
    "alert_raised": "red",
    "notification_failed": "red",
    "alert_cleared": "green",
    "server_draining": "yellow",
    "message_status_update": "blue",
}
_SKIPPED = frozenset({"type", "timestamp"})
_SKIPPED_OF_EVENTS = frozenset({"name", "timestamp"})


def name_of(push: Push) -> str:
    """An event's own name, else the push's type."""
    event = push.get("event")
    if push.get("type") == "event" and isinstance(event, dict):
        return str(event.get("name", "event"))
    return str(push.get("type"))


def colour_of(push: Push) -> str | None:
    """The colour of a push's name; None: the default."""
    return COLOURS.get(name_of(push)) or COLOURS.get(str(push.get("type")))


def is_wanted(push: Push, globs: tuple[str, ...]) -> bool:
    """Does a push's type, or the name of the event in it, match one of the globs?

    The server filters events only; it sends statistics and user status in any case.
    """
    names = {str(push.get("type")), name_of(push)}
    return any(fnmatchcase(name, glob) for name in names for glob in globs)


def fields_of(push: Push) -> list[tuple[str, str]]:
    """Fields of a push besides name and time, as pairs of name and text."""
    fields, skipped = push, _SKIPPED
    if push.get("type") == "stats_update" and isinstance(push.get("stats"), dict):
        fields = {key: push["stats"].get(key) for key in TEN}
    elif push.get("type") == "event" and isinstance(push.get("event"), dict):
        fields, skipped = push["event"], _SKIPPED_OF_EVENTS
    if isinstance(fields.get("message"), dict):  # of a chat; -o json has all of it
        fields = {**fields, "message": fields["message"].get("content")}
    return [
        (key, target if key == "target" and (target := _target(value)) else _shown(value))
        for key, value in fields.items()
        if key not in skipped and value is not None
    ]


def describe(push: Push) -> str:
    """The line for people, without the time."""
    fields = " ".join(f"{key}={value}" for key, value in fields_of(push))
    return f"{name_of(push):<24} {fields}".rstrip()


def _target(value: Any) -> str:
    """The target of a message as ``type:id``; empty: it is none."""
    if not isinstance(value, dict) or "type" not in value or not value.keys() <= {"type", "id"}:
        return ""
    return ":".join(str(part) for part in (value["type"], value.get("id", "")) if part != "")


def _shown(value: Any) -> str:
    """A value as text; integers without thousands separators, as they may be ports or codes."""
    if isinstance(value, dict | list):
        return to_json(value)
    return str(value) if type(value) is int else plain(value)
