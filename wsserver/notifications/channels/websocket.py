"""The inbox as a channel: it is there for everybody, and waits for who is not connected."""

from __future__ import annotations

from wsserver.clock import Clock, rfc3339
from wsserver.errors import WsServerError
from wsserver.notifications.channels.base import Job, Limits, Outcome, retry, sent
from wsserver.protocol.notifications import ChannelName, Contact
from wsserver.protocol.targets import user
from wsserver.protocol.types import JsonObject
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.messages.message import Message

# Stored in groups: many at once are one transaction.
LIMITS = Limits(concurrency=500, rate_per_s=100_000.0, timeout_s=30.0)


class WebSocketChannel:
    """Pushes ``notification`` into the user's inbox; acknowledgements tell what became of it.

    The delivery's id is the message's: stored twice it is still one message.
    """

    name: ChannelName = "websocket"
    limits = LIMITS
    is_configured = True

    def __init__(self, router: Router, clock: Clock) -> None:
        self._router = router
        self._clock = clock

    def has_address(self, contact: Contact) -> bool:
        """Everybody has an inbox."""
        return True

    async def send(self, job: Job) -> Outcome:
        """Store the push in the inbox, and give it to whoever is connected."""
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
        """Nothing is open here."""


def notification_of(job: Job) -> JsonObject:
    """``notification`` of the push, as frontends know it."""
    return {
        "id": job.notification_id,
        "title": job.title,
        "message": job.message,
        "type": job.type,
        "action_url": job.action_url,
        "auto_close": job.auto_close,
        "timestamp": rfc3339(job.created_at),
    }
