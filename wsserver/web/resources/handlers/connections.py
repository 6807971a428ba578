"""Connections: list, one, close; also by user and by session."""

from __future__ import annotations

from typing import Any

from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call


async def listing(context: WebContext, call: Call) -> dict[str, Any]:
    """All connections that pass the filters."""
    query = call.query
    return await context.admin_queries.connections(
        call.who,
        query.window,
        user_id=query.user_id,
        session_id=query.session_id,
        organization_id=query.organization_id,
        endpoint=query.endpoint,
    )


async def one(context: WebContext, call: Call) -> dict[str, Any]:
    """One connection."""
    return context.admin_queries.connection(call.who, call.path["connection_id"])


async def close(context: WebContext, call: Call) -> dict[str, Any]:
    """Close one connection."""
    return await context.admin_actions.disconnect_connection(call.who, call.path["connection_id"])


async def of_user(context: WebContext, call: Call) -> dict[str, Any]:
    """A user's connections."""
    return await context.admin_queries.user_connections(
        call.who, call.path["user_id"], call.query.window
    )


async def of_session(context: WebContext, call: Call) -> dict[str, Any]:
    """The connections in a session."""
    return await context.admin_queries.session_connections(
        call.who, call.path["session_id"], call.query.window
    )
