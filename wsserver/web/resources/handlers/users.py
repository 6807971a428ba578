"""Users: who is online, disconnect, ping."""

from __future__ import annotations

from typing import Any

from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call


async def online(context: WebContext, call: Call) -> dict[str, Any]:
    """Who is connected."""
    return context.admin_queries.online_users(call.who, call.query.window)


async def disconnect(context: WebContext, call: Call) -> dict[str, Any]:
    """Close a user's connections."""
    return await context.admin_actions.disconnect_user(call.who, call.body)


async def ping(context: WebContext, call: Call) -> dict[str, Any]:
    """Ping a user and wait for the answers."""
    return await context.admin_actions.ping_user(
        call.who, call.path["user_id"], call.body.timeout_s
    )
