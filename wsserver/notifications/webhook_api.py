"""Operations on deliveries of webhooks for REST: list, show, retry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from wsserver.clock import Clock, rfc3339
from wsserver.errors import Forbidden, NotFound
from wsserver.identity.permissions import Permissions
from wsserver.notifications.webhooks import Webhooks
from wsserver.paging import Window
from wsserver.realtime.access.actor import Actor, Audit, AuditRecorder
from wsserver.realtime.observability.events import CONTENT_PERMISSION, without_content
from wsserver.storage.tables.webhooks import StoredPosting, WebhookOutbox

PERMISSION = "monitor"
"""Webhooks carry the events that a monitor sees."""

State = Literal["pending", "failed"]
RETRY = "retry_webhooks"


@dataclass(eq=False, repr=False)
class WebhookApi:
    """Operations of ``/webhooks/deliveries``; forbidden to roles confined to an organization."""

    webhooks: Webhooks
    outbox: WebhookOutbox
    permissions: Permissions
    audit: Audit
    clock: Clock

    def __post_init__(self) -> None:
        self._trail = AuditRecorder(self.audit, self.clock)

    async def listing(
        self, actor: Actor, window: Window, state: State | None, event: str | None
    ) -> dict[str, Any]:
        """Deliveries that were not accepted yet, newest first, by state and event."""
        self._require(actor)
        is_given_up = None if state is None else state == "failed"
        page = await self.outbox.page(window.limit, window.cursor, is_given_up, event)
        return {
            "deliveries": [self._view(each) for each in page.items],
            "total": page.total,
            "next_cursor": page.next_cursor,
        }

    async def one(self, actor: Actor, delivery_id: str) -> dict[str, Any]:
        """A delivery with its ``body``; raises ``NotFound``, also for accepted ones.

        Contents of messages are included if the requester may read messages.
        """
        self._require(actor)
        found = await self.outbox.get(delivery_id)
        if found is None:
            raise NotFound("webhook delivery", delivery_id)
        stored, body = found
        if not self.permissions.allows(actor.claims, CONTENT_PERMISSION):
            event = msgspec.json.decode(body)
            body = msgspec.json.encode(without_content(event))
        return {**self._view(stored), "body": msgspec.Raw(body)}

    async def retry(self, actor: Actor, delivery_id: str) -> dict[str, Any]:
        """Retry a delivery that was given up; ``retried``: 1, or 0 if it was not given up."""
        with self._trail.denials(actor, RETRY, f"delivery:{delivery_id}"):
            self._require(actor)
        await self.one(actor, delivery_id)
        retried = await self.webhooks.retry(delivery_id)
        self._trail.record(actor, RETRY, f"delivery:{delivery_id}", retried=retried)
        return {"retried": retried}

    async def retry_all(self, actor: Actor) -> dict[str, Any]:
        """Retry all deliveries that were given up; ``retried``: their count."""
        with self._trail.denials(actor, RETRY, ""):
            self._require(actor)
        retried = await self.webhooks.retry()
        self._trail.record(actor, RETRY, "", retried=retried)
        return {"retried": retried}

    def _require(self, actor: Actor) -> None:
        self.permissions.require(actor.claims, PERMISSION)
        if self.permissions.confined_to(actor.claims) is not None:
            raise Forbidden("webhooks carry events of all organizations")

    def _view(self, posting: StoredPosting) -> dict[str, Any]:
        view: dict[str, Any] = {
            "delivery_id": posting.posting_id,
            "webhook": self.webhooks.number_of(posting.url),
            "host": urlsplit(posting.url).netloc,
            "event": posting.event,
            "state": "failed" if posting.due_at is None else "pending",
            "created_at": rfc3339(posting.at),
            "attempts": posting.attempts,
            "detail": posting.detail,
        }
        if posting.due_at is not None:
            view["next_attempt_at"] = rfc3339(posting.due_at)
        return view
