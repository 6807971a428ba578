"""Webhook deliveries: ``/webhooks/deliveries``, and retries."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from wsserver.notifications.webhook_api import PERMISSION, RETRY, State
from wsserver.web.api.answers import Answer, Listing, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource
from wsserver.web.api.queries import PageQuery

RESOURCE = Resource("Webhooks")


class WebhookDelivery(Answer):
    """An event that waits for a webhook or failed; delivered ones are deleted."""

    delivery_id: str
    webhook: Annotated[
        int | None, Meta(description="index in webhook_urls, from 1; null: no longer configured")
    ]
    host: str
    event: Annotated[str, Meta(description="event name")]
    state: State
    created_at: Time
    attempts: int
    detail: Annotated[str, Meta(description="result of the latest attempt")]
    next_attempt_at: Time | None = None


class WholeWebhookDelivery(WebhookDelivery, kw_only=True):
    """A webhook delivery with the posted body."""

    body: dict[str, Any]


class WebhookDeliveries(Listing):
    """Webhook deliveries, newest first."""

    deliveries: list[WebhookDelivery]


class RetriedWebhooks(Answer):
    """Number of deliveries that are tried again."""

    retried: int


class WebhooksQuery(PageQuery, kw_only=True):
    """Filters of webhook deliveries; a delivery has to match all of them."""

    state: Literal["pending", "failed"] | None = None
    event: Annotated[str, Meta(min_length=1, max_length=128)] | None = None


@RESOURCE.endpoint("GET /webhooks/deliveries", PERMISSION, WebhookDeliveries, query=WebhooksQuery)
async def _list_deliveries(context: WebContext, call: Call) -> dict[str, Any]:
    """List pending and failed webhook deliveries, newest first."""
    query = call.query
    return await context.webhooks.listing(call.caller, query.window, query.state, query.event)


@RESOURCE.endpoint("POST /webhooks/deliveries/retry", PERMISSION, RetriedWebhooks, action=RETRY)
async def _retry_all(context: WebContext, call: Call) -> dict[str, Any]:
    """Retry all failed webhook deliveries."""
    return await context.webhooks.retry_all(call.caller)


@RESOURCE.endpoint(
    "GET /webhooks/deliveries/{delivery_id}",
    PERMISSION,
    WholeWebhookDelivery,
    errors=("not_found",),
)
async def _get_delivery(context: WebContext, call: Call) -> dict[str, Any]:
    """Get a webhook delivery with the posted body."""
    return await context.webhooks.one(call.caller, call.path["delivery_id"])


@RESOURCE.endpoint(
    "POST /webhooks/deliveries/{delivery_id}/retry",
    PERMISSION,
    RetriedWebhooks,
    action=RETRY,
    errors=("not_found",),
)
async def _retry(context: WebContext, call: Call) -> dict[str, Any]:
    """Retry a failed webhook delivery."""
    return await context.webhooks.retry(call.caller, call.path["delivery_id"])
