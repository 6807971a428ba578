"""The rows of the route table that have to do with webhooks, and what they answer."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from wsserver.notifications.webhook_api import PERMISSION, RETRY, State
from wsserver.web.api.endpoint import PREFIX, Endpoint
from wsserver.web.api.queries import WebhooksQuery
from wsserver.web.resources.handlers import webhooks
from wsserver.web.schemas.core import Answer, Listing, Time


class WebhookDelivery(Answer):
    """An event on its way to a webhook, or given up; what was taken is forgotten."""

    delivery_id: str
    webhook: Annotated[
        int | None, Meta(description="which of webhook_urls, from 1 on; null: no longer one")
    ]
    host: str
    event: Annotated[str, Meta(description="its name")]
    state: State
    created_at: Time
    attempts: int
    detail: Annotated[str, Meta(description="what came of the latest attempt")]
    next_attempt_at: Time | None = None


class WholeWebhookDelivery(WebhookDelivery, kw_only=True):
    """The same with what is posted."""

    body: dict[str, Any]


class WebhookDeliveries(Listing):
    """Deliveries, newest first."""

    deliveries: list[WebhookDelivery]


class RetriedWebhooks(Answer):
    """How many are tried again."""

    retried: int


WEBHOOK_ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path=f"{PREFIX}/webhooks/deliveries",
        access=PERMISSION,
        handle=webhooks.listing,
        query=WebhooksQuery,
        answer=WebhookDeliveries,
        summary="Events that wait to be posted or were given up, newest first",
        tag="Webhooks",
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/webhooks/deliveries/retry",
        access=PERMISSION,
        handle=webhooks.retry_all,
        action=RETRY,
        answer=RetriedWebhooks,
        summary="Try all again that were given up",
        tag="Webhooks",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/webhooks/deliveries/{{delivery_id}}",
        access=PERMISSION,
        handle=webhooks.one,
        answer=WholeWebhookDelivery,
        summary="One of them, with what is posted",
        tag="Webhooks",
        errors=("not_found",),
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/webhooks/deliveries/{{delivery_id}}/retry",
        access=PERMISSION,
        handle=webhooks.retry,
        action=RETRY,
        answer=RetriedWebhooks,
        summary="Try one again that was given up",
        tag="Webhooks",
        errors=("not_found",),
    ),
)
