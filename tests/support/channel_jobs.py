"""Jobs for notification channels."""

from __future__ import annotations

from typing import Any

from wsserver.notifications.channels.base import Job
from wsserver.protocol.notifications import Contact
from wsserver.redaction import Redactor

CANARY = "canary-7d1f0c"
REDACT = Redactor([CANARY])
CREATED_AT = 1_700_000_000.0


def job(contact: Contact | None = None, **changes: Any) -> Job:
    """A job that is due, with Chinese text."""
    fields: dict[str, Any] = {
        "delivery_id": "delivery_01",
        "notification_id": "notify_01",
        "user_id": "u1",
        "attempt": 1,
        "title": "设备状态变化",
        "message": "设备 张三的微信 状态从 在线 变更为 离线",
        "type": "warning",
        "action_url": "/devices/7",
        "auto_close": False,
        "created_at": CREATED_AT,
        "expires_at": CREATED_AT + 3600,
        "locale": "zh-CN",
        "contact": contact or Contact(user_id="u1"),
    }
    return Job(**fields | changes)
