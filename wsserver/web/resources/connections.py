"""Connections: ``/connections``, ``/connections/{connection_id}``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from wsserver.protocol.types import Id, UserId
from wsserver.web.api.answers import Answer, ClusterAnswer, ClusterListing, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource
from wsserver.web.api.queries import SearchedPageQuery

RESOURCE = Resource("Connections")


class Metadata(Answer):
    """User data from the token."""

    username: str | None
    role: str
    organization_id: str | None


class Connection(Answer):
    """One connection."""

    connection_id: str
    user_id: str
    session_id: str | None
    sessions: list[str]
    connected_at: Time
    last_ping: Time
    last_pong: Time
    is_alive: bool
    metadata: Metadata
    remote_ip: str
    user_agent: str
    endpoint: Literal["chat", "session", "monitor"]
    transport: Annotated[Literal["websocket", "sse"], Meta(description="`sse`: Server-Sent Events")]
    protocol: Literal["wsserver.v1", "plain"]
    rtt_ms: float | None
    queued_bytes: int
    node: Annotated[str, Meta(description="the node that has it")]


class Connections(ClusterListing):
    """Connections, ordered by id: the oldest first."""

    connections: list[Connection]


class Disconnected(ClusterAnswer):
    """How many connections were closed."""

    disconnected: int


class ConnectionsQuery(SearchedPageQuery, kw_only=True):
    """Filters of connections; a connection has to match all of them."""

    user_id: UserId | None = None
    session_id: Id | None = None
    organization_id: Id | None = None
    endpoint: Literal["chat", "session", "monitor"] | None = None


_CONNECTION = {
    "connection_id": "conn_12345",
    "user_id": "user_67890",
    "session_id": "session_abc123",
    "sessions": ["session_abc123"],
    "connected_at": "2024-01-15T14:30:00.000Z",
    "last_ping": "2024-01-15T14:35:20.000Z",
    "last_pong": "2024-01-15T14:35:21.000Z",
    "is_alive": True,
    "metadata": {"username": "sales_manager", "role": "manager", "organization_id": "org_123"},
    "remote_ip": "192.0.2.7",
    "user_agent": "Mozilla/5.0",
    "endpoint": "session",
    "transport": "websocket",
    "protocol": "wsserver.v1",
    "rtt_ms": 12.5,
    "queued_bytes": 0,
    "node": "node-1",
}
CONNECTIONS_EXAMPLE = {"connections": [_CONNECTION], "total": 1, "next_cursor": None}
DISCONNECTED_EXAMPLE = {"disconnected": 1}


@RESOURCE.endpoint(
    "GET /connections",
    "connections:read",
    Connections,
    query=ConnectionsQuery,
    answer_example=CONNECTIONS_EXAMPLE,
    errors=("not_found",),
)
async def _list_connections(context: WebContext, call: Call) -> dict[str, Any]:
    """List connections that match all filters."""
    query = call.query
    return await context.admin_queries.connections(
        call.caller,
        query.window,
        user_id=query.user_id,
        session_id=query.session_id,
        organization_id=query.organization_id,
        endpoint=query.endpoint,
        node=query.node,
        search=query.search,
    )


@RESOURCE.endpoint(
    "GET /connections/{connection_id}",
    "connections:read",
    Connection,
    answer_example=_CONNECTION,
    errors=("not_found",),
)
async def _get_connection(context: WebContext, call: Call) -> dict[str, Any]:
    """Get a connection."""
    return await context.admin_queries.connection(call.caller, call.path["connection_id"])


@RESOURCE.endpoint(
    "DELETE /connections/{connection_id}",
    "connections:disconnect",
    Disconnected,
    action="disconnect",
    answer_example=DISCONNECTED_EXAMPLE,
    errors=("not_found",),
)
async def _close_connection(context: WebContext, call: Call) -> dict[str, Any]:
    """Close a connection (4502)."""
    return await context.admin_actions.disconnect_connection(
        call.caller, call.path["connection_id"]
    )
