"""Message contents in events: which events have any, and what is left without them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PERMISSION = "messages:read"
"""What a token needs to be shown the contents of messages."""


def has_content(event: Mapping[str, Any]) -> bool:
    """Does the event carry the content of a message, as ``message_received`` does?"""
    message = event.get("message")
    return isinstance(message, dict) and "content" in message


def without_content(event: dict[str, Any]) -> dict[str, Any]:
    """The event without the content of its message; ``content_omitted`` in the message says so."""
    if not has_content(event):
        return event
    message = {name: value for name, value in event["message"].items() if name != "content"}
    return {**event, "message": {**message, "content_omitted": True}}
