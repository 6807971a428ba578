"""Notifications, deliveries and contacts as the API shows them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import asdict

from wsserver.clock import rfc3339
from wsserver.errors import ValidationFailed
from wsserver.notifications.content import Content
from wsserver.protocol.notifications import Contact
from wsserver.storage.notifications.notification_rows import Delivery, Notification


def notification_view(content: Content, notification: Notification) -> dict[str, Any]:
    """A notification with its deliveries; its texts in the server's own language."""
    template = notification.template
    view: dict[str, Any] = {
        "notification_id": notification.notification_id,
        "created_at": rfc3339(notification.at),
        "expires_at": rfc3339(notification.expires_at),
        "type": notification.type,
        "template": template,
        "params": None if template is None else msgspec.json.decode(notification.content),
        **_text(content, notification),
        "recipients": msgspec.json.decode(notification.recipients),
        "sender": notification.sender,
        "states": dict(notification.states),
        "deliveries": [delivery_view(each) for each in notification.deliveries],
    }
    view["truncated"] = len(notification.deliveries) < sum(notification.states.values())
    return view


def delivery_view(delivery: Delivery) -> dict[str, Any]:
    """A delivery with its attempts."""
    view: dict[str, Any] = {
        "delivery_id": delivery.delivery_id,
        "channel": delivery.channel,
        "user_id": delivery.user_id,
        "state": delivery.state,
        "attempts": [
            {"at": rfc3339(each.at), "outcome": each.outcome, "detail": each.detail}
            for each in delivery.attempts
        ],
    }
    if delivery.state == "pending" and delivery.due_at is not None:
        view["next_attempt_at"] = rfc3339(delivery.due_at)
    for name in ("sent_at", "acknowledged_at"):
        at = getattr(delivery, name)
        if at is not None:
            view[name] = rfc3339(at)
    if delivery.unless_acknowledged:
        view["is_escalation"] = True
    return view


def contact_view(contact: Contact, organization_id: str | None) -> dict[str, Any]:
    """A contact, with everything that it could have, and where its user belongs."""
    view = asdict(contact)
    view["organization_id"] = organization_id
    view["push"] = [msgspec.to_builtins(each) for each in contact.push]
    view["quiet_hours"] = msgspec.to_builtins(contact.quiet_hours)
    return view


def _text(content: Content, notification: Notification) -> dict[str, Any]:
    try:
        rendered = content.render(notification.type, notification.template, notification.content)
    except ValidationFailed as error:  # its template does not take these parameters any more
        return {"title": error.message, "message": "", "action_url": None, "auto_close": False}
    return {
        "title": rendered.title,
        "message": rendered.message,
        "action_url": rendered.action_url,
        "auto_close": rendered.auto_close,
    }
