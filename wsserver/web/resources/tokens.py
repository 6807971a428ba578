"""Tokens: ``/tickets`` for WebSocket handshakes, ``/tokens/revoke``."""

from __future__ import annotations

from typing import Any

from wsserver.protocol.requests import RevokeRequest, TicketRequest
from wsserver.realtime.operations.admin_actions import revoke_faults
from wsserver.web.api.answers import Answer, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import PREFIX, SIGNED_IN, Call, Endpoint


class Ticket(Answer):
    """Single-use ticket for a WebSocket handshake, valid for 30 seconds."""

    ticket: str
    expires_at: Time


class Revoked(Answer):
    """The revoked token or user, and the number of closed connections."""

    disconnected: int
    jti: str | None = None
    user_id: str | None = None


async def _create_ticket(context: WebContext, call: Call) -> dict[str, Any]:
    return context.admin_actions.ticket(call.caller)


async def _revoke(context: WebContext, call: Call) -> dict[str, Any]:
    return await context.admin_actions.revoke(call.caller, call.body)


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path=f"{PREFIX}/tickets",
        access=SIGNED_IN,
        handle=_create_ticket,
        is_secret=True,
        request=TicketRequest,
        request_example={},
        is_body_optional=True,
        answer=Ticket,
        answer_example={"ticket": "…", "expires_at": "2024-01-15T14:30:30.000Z"},
        summary="Create a single-use ticket for a WebSocket handshake",
        tag="Tokens",
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/tokens/revoke",
        access="tokens:revoke",
        handle=_revoke,
        action="revoke",
        request=RevokeRequest,
        request_example={"user_id": "user_67890"},
        rules=revoke_faults,
        answer=Revoked,
        answer_example={"user_id": "user_67890", "disconnected": 2},
        summary="Revoke a token by jti, or all tokens of a user; closes their connections (4505)",
        tag="Tokens",
    ),
)
