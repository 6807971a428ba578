"""Messages: to everybody, to a target, many at once, only explained, or traced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsserver.protocol.targets import session, user
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call
from wsserver.web.http.replies import Reply, json_reply

ROUTINE_TYPES = frozenset({"ai_processing_status", "typing"})
"""Backends send these once a word, or once a key; the log would have a line for each."""


async def broadcast(context: WebContext, call: Call) -> Reply:
    """Send to everybody, one organization or one role."""
    return _reply(call, await context.publishing.broadcast(call.who, call.body))


async def publish(context: WebContext, call: Call) -> Reply:
    """Send to a target."""
    return _reply(call, await context.publishing.publish(call.who, call.body))


async def to_user(context: WebContext, call: Call) -> Reply:
    """Send to a user."""
    target = user(call.path["user_id"])
    return _reply(call, await context.publishing.publish_to(call.who, target, call.body))


async def to_session(context: WebContext, call: Call) -> Reply:
    """Send to a session."""
    target = session(call.path["session_id"])
    return _reply(call, await context.publishing.publish_to(call.who, target, call.body))


async def batch(context: WebContext, call: Call) -> Reply:
    """Send many, each judged by itself."""
    answer = await context.publishing.batch(call.who, call.body)
    return json_reply(answer, is_routine=all(map(_is_routine, call.body.messages)))


def _reply(call: Call, answer: dict[str, Any]) -> Reply:
    return json_reply(answer, is_routine=call.body.type in ROUTINE_TYPES)


def _is_routine(message: Mapping[str, Any]) -> bool:
    kind = message.get("type")
    return isinstance(kind, str) and kind in ROUTINE_TYPES


async def trace(context: WebContext, call: Call) -> dict[str, Any]:
    """Say where a message went."""
    return await context.tracing.trace(call.who, call.path["message_id"], call.query.user_id)


async def explain(context: WebContext, call: Call) -> dict[str, Any]:
    """Say who would get a message."""
    return await context.publishing.explain(call.who, call.body)
