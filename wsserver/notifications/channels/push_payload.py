"""Payload, TTL and urgency of a Web Push message."""

from __future__ import annotations

from typing import Any

import msgspec

from wsserver.clock import rfc3339
from wsserver.notifications.channels.base import Job
from wsserver.protocol.notifications import NotificationType

PAYLOAD_LIMIT_BYTES = 3800
"""Push services accept 4096 bytes including the encryption overhead (RFC 8030 §7.2)."""
LONGEST_TTL_S = 28 * 86_400
"""Longest TTL that push services accept."""

URGENCY: dict[NotificationType, str] = {
    "info": "low",
    "success": "low",
    "warning": "normal",
    "error": "high",
    "urgent": "high",
}
"""Urgency by type (RFC 8030 §5.3): devices low on battery delay the lower ones."""


def payload_of(job: Job) -> bytes:
    """The notification with the members of the WebSocket push; a long message is truncated."""
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
    for member in ("message", "action_url", "title"):  # the least important first
        notification[member] = _cut(notification, member)
        encoded = msgspec.json.encode(notification)
        if len(encoded) <= PAYLOAD_LIMIT_BYTES:
            break
    return encoded


def ttl_s(job: Job, now: float) -> int:
    """Seconds that the push service keeps the message for an offline browser."""
    return max(0, min(int(job.expires_at - now), LONGEST_TTL_S))


def _cut(notification: dict[str, Any], member: str) -> str | None:
    """A member truncated to fit; None for a link, which is useless when truncated."""
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
