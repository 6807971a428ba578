"""WebSocket channel: the inbox of the user, also while the user is offline."""

from __future__ import annotations

from wsserver.clock import Clock, rfc3339
from wsserver.errors import WsServerError
from wsserver.notifications.channels.base import Job, Limits, Outcome, retry, sent
from wsserver.protocol.notifications import ChannelName, Contact
from wsserver.protocol.targets import user
from wsserver.protocol.types import JsonObject
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.messages.message import Message

# High, since concurrent appends are one transaction.
LIMITS = Limits(concurrency=500, rate_per_s=100_000.0, timeout_s=30.0)


class WebSocketChannel:
    """Stores ``notification`` in the user's inbox, where it is acknowledged.

    The delivery id is the message id, so that a second attempt stores no second message.
    """

    name: ChannelName = "websocket"
    limits = LIMITS
    is_configured = True

    def __init__(self, router: Router, clock: Clock) -> None:
        self._router = router
        self._clock = clock

    def has_address(self, contact: Contact) -> bool:
        """True: every user has an inbox."""
        return True

    async def send(self, job: Job) -> Outcome:
        """Store the push in the inbox, and send it to the user's connections."""
        message = Message(
            "notification",
            {"notification": notification_of(job)},
            user(job.user_id),
            message_id=job.delivery_id,
            keep=True,
            ttl_s=max(job.expires_at - self._clock.wall(), 0.001),
        )
        try:
            (outcome,) = await self._router.keep([message])
        except WsServerError as error:
            return retry(error.message)
        online = outcome.receipt.sent
        return sent(f"in the inbox at offset {outcome.offset}; connections: {online}")

    async def close(self) -> None:
        """Nothing to close."""


def notification_of(job: Job) -> JsonObject:
    """The member ``notification`` of the push."""
    return {
        "id": job.notification_id,
        "title": job.title,
        "message": job.message,
        "type": job.type,
        "action_url": job.action_url,
        "auto_close": job.auto_close,
        "timestamp": rfc3339(job.created_at),
    }
