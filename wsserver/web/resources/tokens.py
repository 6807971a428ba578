"""Tokens: ``/tickets`` for WebSocket handshakes, ``/tokens/revoke``."""

from __future__ import annotations

from typing import Any

from wsserver.protocol.requests import RevokeRequest, TicketRequest
from wsserver.realtime.operations.admin_actions import revoke_faults
from wsserver.web.api.answers import Answer, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import SIGNED_IN, Call, Resource

RESOURCE = Resource("Tokens")


class Ticket(Answer):
    """Single-use ticket for a WebSocket handshake, valid for 30 seconds."""

    ticket: str
    expires_at: Time


class Revoked(Answer):
    """The revoked token or user, and the number of closed connections."""

    disconnected: int
    jti: str | None = None
    user_id: str | None = None


@RESOURCE.endpoint(
    "POST /tickets",
    SIGNED_IN,
    Ticket,
    is_secret=True,
    request=TicketRequest,
    request_example={},
    is_body_optional=True,
    answer_example={"ticket": "…", "expires_at": "2024-01-15T14:30:30.000Z"},
)
async def _create_ticket(context: WebContext, call: Call) -> dict[str, Any]:
    """Create a single-use ticket for a WebSocket handshake."""
    return await context.admin_actions.ticket(call.caller)


@RESOURCE.endpoint(
    "POST /tokens/revoke",
    "tokens:revoke",
    Revoked,
    action="revoke",
    request=RevokeRequest,
    request_example={"user_id": "user_67890"},
    rules=revoke_faults,
    answer_example={"user_id": "user_67890", "disconnected": 2},
)
async def _revoke(context: WebContext, call: Call) -> dict[str, Any]:
    """Revoke a token by jti, or all tokens of a user; closes their connections (4505)."""
    return await context.admin_actions.revoke(call.caller, call.body)
