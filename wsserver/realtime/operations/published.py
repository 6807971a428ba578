"""The event ``message_published``: what backends and operators publish, without its content."""

from __future__ import annotations

from wsserver.realtime.messages.message import Message, Sent
from wsserver.realtime.observability.events import MESSAGE_PUBLISHED, EventBus


def tell_published(events: EventBus, message: Message, sent: Sent) -> None:
    """Emit the event of a message that was sent, unless it had been sent before.

    On the path of every publish: without a handler for it, it costs one look-up.
    """
    if not events.hears(MESSAGE_PUBLISHED) or not sent.is_new:
        return
    fields = {
        "message_id": sent.message_id,
        "type": message.type,
        "class": "kept" if sent.stream else "live",
        "target": message.target.view(),
        "organization_id": message.organization_id,
        "session_id": message.members.get("session_id"),
        "sender": message.sender,
    }
    events.emit(
        MESSAGE_PUBLISHED,
        **{name: value for name, value in fields.items() if value is not None},
        bytes=message.size_bytes,
        matched=sent.receipt.matched,
        sent=sent.receipt.sent,
    )
