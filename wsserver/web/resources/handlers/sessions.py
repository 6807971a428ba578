"""Sessions: which there are, who is in them, who belongs to them."""

from __future__ import annotations

from typing import Any

from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call


async def listing(context: WebContext, call: Call) -> dict[str, Any]:
    """The sessions that somebody has joined."""
    return await context.admin_queries.sessions(call.who, call.query.window)


async def one(context: WebContext, call: Call) -> dict[str, Any]:
    """One session."""
    return await context.admin_queries.session(call.who, call.path["session_id"])


async def history(context: WebContext, call: Call) -> dict[str, Any]:
    """A session's kept messages."""
    query = call.query
    return await context.admin_queries.history(
        call.who, call.path["session_id"], query.before, query.after, query.limit
    )


async def members(context: WebContext, call: Call) -> dict[str, Any]:
    """A session's member list."""
    return await context.admin_actions.members(call.who, call.path["session_id"])


async def replace_members(context: WebContext, call: Call) -> dict[str, Any]:
    """Put another member list in place."""
    return await context.admin_actions.replace_members(call.who, call.path["session_id"], call.body)
