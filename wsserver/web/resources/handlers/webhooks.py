"""Webhooks: what has not been taken yet, and another try."""

from __future__ import annotations

from typing import Any

from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call


async def listing(context: WebContext, call: Call) -> dict[str, Any]:
    """Deliveries that wait or were given up, newest first."""
    query = call.query
    return await context.webhooks.listing(call.who, query.window, query.state, query.event)


async def one(context: WebContext, call: Call) -> dict[str, Any]:
    """One delivery with its body."""
    return await context.webhooks.one(call.who, call.path["delivery_id"])


async def retry(context: WebContext, call: Call) -> dict[str, Any]:
    """Try one again."""
    return await context.webhooks.retry(call.who, call.path["delivery_id"])


async def retry_all(context: WebContext, call: Call) -> dict[str, Any]:
    """Try all again that were given up."""
    return await context.webhooks.retry_all(call.who)
