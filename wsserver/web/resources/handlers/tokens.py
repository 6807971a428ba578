"""Tokens: tickets that stand for one, and the end of one."""

from __future__ import annotations

from typing import Any

from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call


async def ticket(context: WebContext, call: Call) -> dict[str, Any]:
    """A ticket for one handshake."""
    return context.admin_actions.ticket(call.who)


async def revoke(context: WebContext, call: Call) -> dict[str, Any]:
    """Refuse a token, or all that a user has."""
    return await context.admin_actions.revoke(call.who, call.body)
