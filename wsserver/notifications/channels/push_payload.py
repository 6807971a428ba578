"""A notification as a service worker gets it, and how urgent it is to the push service."""

from __future__ import annotations

from typing import Any

import msgspec

from wsserver.clock import rfc3339
from wsserver.notifications.channels.base import Job
from wsserver.protocol.notifications import NotificationType

PAYLOAD_LIMIT_BYTES = 3800
"""Push services take 4096 with what encryption adds (RFC 8030 §7.2); this leaves room."""
LONGEST_TTL_S = 28 * 86_400
"""What push services take at most."""

URGENCY: dict[NotificationType, str] = {
    "info": "low",
    "success": "low",
    "warning": "normal",
    "error": "high",
    "urgent": "high",
}
"""RFC 8030 §5.3: whether a battery that runs low is reason enough to wait."""


def payload_of(job: Job) -> bytes:
    """The notification in the members of the WebSocket push; a long message is cut to fit."""
    notification: dict[str, Any] = {
        "id": job.notification_id,
        "title": job.title,
        "message": job.message,
        "type": job.type,
        "action_url": job.action_url,
        "auto_close": job.auto_close,
        "timestamp": rfc3339(job.created_at),
    }
    encoded = msgspec.json.encode(notification)
    if len(encoded) <= PAYLOAD_LIMIT_BYTES:
        return encoded
    for member in ("message", "action_url", "title"):  # what can be done without, first
        notification[member] = _cut(notification, member)
        encoded = msgspec.json.encode(notification)
        if len(encoded) <= PAYLOAD_LIMIT_BYTES:
            break
    return encoded


def ttl_s(job: Job, now: float) -> int:
    """Seconds that the push service keeps it for a browser that is away."""
    return max(0, min(int(job.expires_at - now), LONGEST_TTL_S))


def _cut(notification: dict[str, Any], member: str) -> str | None:
    """As much of a member as there is room for; of a link, which is whole or useless, nothing."""
    if member == "action_url":
        return None
    text: str = notification[member]
    low, high = 0, len(text)
    while low < high:  # by characters, since one may take 1 to 6 bytes
        middle = (low + high + 1) // 2
        notification[member] = text[:middle] + "…"
        if len(msgspec.json.encode(notification)) <= PAYLOAD_LIMIT_BYTES:
            low = middle
        else:
            high = middle - 1
    return text[:low] + "…"
