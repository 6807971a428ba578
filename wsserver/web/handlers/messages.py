"""Messages: to everybody, to a target, many at once, only explained, or traced."""

from __future__ import annotations

from typing import Any

from wsserver.protocol.targets import session, user
from wsserver.web.context import WebContext
from wsserver.web.endpoint import Call


async def broadcast(context: WebContext, call: Call) -> dict[str, Any]:
    """Send to everybody, one organization or one role."""
    return await context.publishing.broadcast(call.who, call.body)


async def publish(context: WebContext, call: Call) -> dict[str, Any]:
    """Send to a target."""
    return await context.publishing.publish(call.who, call.body)


async def to_user(context: WebContext, call: Call) -> dict[str, Any]:
    """Send to a user."""
    target = user(call.path["user_id"])
    return await context.publishing.publish_to(call.who, target, call.body)


async def to_session(context: WebContext, call: Call) -> dict[str, Any]:
    """Send to a session."""
    target = session(call.path["session_id"])
    return await context.publishing.publish_to(call.who, target, call.body)


async def batch(context: WebContext, call: Call) -> dict[str, Any]:
    """Send many, each judged by itself."""
    return await context.publishing.batch(call.who, call.body)


async def trace(context: WebContext, call: Call) -> dict[str, Any]:
    """Say where a message went."""
    return await context.tracing.trace(call.who, call.path["message_id"], call.query.user_id)


async def explain(context: WebContext, call: Call) -> dict[str, Any]:
    """Say who would get a message."""
    return await context.publishing.explain(call.who, call.body)
