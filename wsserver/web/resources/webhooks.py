"""Webhook deliveries: ``/webhooks/deliveries``, and retries."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from wsserver.notifications.webhook_api import PERMISSION, RETRY, State
from wsserver.web.api.answers import Answer, Listing, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import PREFIX, Call, Endpoint
from wsserver.web.api.queries import PageQuery


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


class WebhooksQuery(PageQuery, kw_only=True):
    """Which deliveries of webhooks; every filter given has to fit."""

    state: Literal["pending", "failed"] | None = None
    event: Annotated[str, Meta(min_length=1, max_length=128)] | None = None


async def _list_deliveries(context: WebContext, call: Call) -> dict[str, Any]:
    query = call.query
    return await context.webhooks.listing(call.who, query.window, query.state, query.event)


async def _retry_all(context: WebContext, call: Call) -> dict[str, Any]:
    return await context.webhooks.retry_all(call.who)


async def _get_delivery(context: WebContext, call: Call) -> dict[str, Any]:
    return await context.webhooks.one(call.who, call.path["delivery_id"])


async def _retry(context: WebContext, call: Call) -> dict[str, Any]:
    return await context.webhooks.retry(call.who, call.path["delivery_id"])


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path=f"{PREFIX}/webhooks/deliveries",
        access=PERMISSION,
        handle=_list_deliveries,
        query=WebhooksQuery,
        answer=WebhookDeliveries,
        summary="Events that wait to be posted or were given up, newest first",
        tag="Webhooks",
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/webhooks/deliveries/retry",
        access=PERMISSION,
        handle=_retry_all,
        action=RETRY,
        answer=RetriedWebhooks,
        summary="Try all again that were given up",
        tag="Webhooks",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/webhooks/deliveries/{{delivery_id}}",
        access=PERMISSION,
        handle=_get_delivery,
        answer=WholeWebhookDelivery,
        summary="One of them, with what is posted",
        tag="Webhooks",
        errors=("not_found",),
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/webhooks/deliveries/{{delivery_id}}/retry",
        access=PERMISSION,
        handle=_retry,
        action=RETRY,
        answer=RetriedWebhooks,
        summary="Try one again that was given up",
        tag="Webhooks",
        errors=("not_found",),
    ),
)
