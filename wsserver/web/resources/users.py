"""Users: ``/online-users``; a user's connections: list, ping, close."""

from __future__ import annotations

from typing import Any

from wsserver.protocol.requests import DisconnectRequest, PingRequest
from wsserver.web.api.answers import Answer, Listing, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import PREFIX, Call, Endpoint
from wsserver.web.api.queries import PageQuery
from wsserver.web.resources.connections import (
    CONNECTIONS_EXAMPLE,
    DISCONNECTED_EXAMPLE,
    Connections,
    Disconnected,
    Metadata,
)


class OnlineUser(Answer):
    """A user with at least one connection."""

    user_id: str
    connections: int
    online_since: Time
    metadata: Metadata


class OnlineUsers(Listing):
    """Connected users, ordered by id."""

    users: list[OnlineUser]


class Pinged(Answer):
    """Round-trip time of one connection; null without an answer in time."""

    connection_id: str
    alive: bool
    rtt_ms: float | None


class PingResult(Answer):
    """Round-trip times of a user's connections."""

    user_id: str
    online: bool
    connections: list[Pinged]


async def _list_connections(context: WebContext, call: Call) -> dict[str, Any]:
    return await context.admin_queries.user_connections(
        call.caller, call.path["user_id"], call.query.window
    )


async def _list_online(context: WebContext, call: Call) -> dict[str, Any]:
    return context.admin_queries.online_users(call.caller, call.query.window)


async def _disconnect(context: WebContext, call: Call) -> dict[str, Any]:
    return await context.admin_actions.disconnect_user(call.caller, call.body)


async def _ping(context: WebContext, call: Call) -> dict[str, Any]:
    return await context.admin_actions.ping_user(
        call.caller, call.path["user_id"], call.body.timeout_s
    )


_PING_RESULT = {
    "user_id": "user_67890",
    "online": True,
    "connections": [{"connection_id": "conn_12345", "alive": True, "rtt_ms": 12.5}],
}


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path=f"{PREFIX}/users/{{user_id}}/connections",
        access="connections:read",
        handle=_list_connections,
        query=PageQuery,
        answer=Connections,
        answer_example=CONNECTIONS_EXAMPLE,
        summary="List a user's connections; empty for an offline or unknown user",
        tag="Users",
        errors=("not_found",),
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/online-users",
        access="connections:read",
        handle=_list_online,
        query=PageQuery,
        answer=OnlineUsers,
        summary="List connected users",
        tag="Users",
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/users/disconnect",
        access="connections:disconnect",
        handle=_disconnect,
        action="disconnect",
        request=DisconnectRequest,
        request_example={"user_id": "user_67890", "reason": "signed out elsewhere"},
        answer=Disconnected,
        answer_example=DISCONNECTED_EXAMPLE,
        summary="Close a user's connections, or one of them (4502)",
        tag="Users",
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/ping/{{user_id}}",
        access="connections:read",
        handle=_ping,
        request=PingRequest,
        request_example={"timeout_s": 5},
        is_body_optional=True,
        answer=PingResult,
        answer_example=_PING_RESULT,
        summary="Ping all connections of a user and wait for the answers",
        tag="Users",
        errors=("not_found",),
    ),
)
