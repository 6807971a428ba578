"""Nodes: ``/nodes`` lists the processes, ``/nodes/{node}/drain`` ends one or forecasts that."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from wsserver.web.api.answers import Answer, ClusterAnswer, Listing, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource
from wsserver.web.api.queries import PageQuery

RESOURCE = Resource("Server")


class Node(Answer):
    """One process of the server."""

    node: str
    since: Annotated[Time, Meta(description="when it started")]
    connections: Annotated[
        int, Meta(description="for a role confined to an organization: of that organization")
    ]
    version: str
    state: Annotated[
        Literal["up", "draining", "lost"],
        Meta(description="lost nodes are listed for a minute after they were last seen"),
    ]


class Nodes(ClusterAnswer):
    """The nodes, ordered by name."""

    nodes: list[Node]


class Drained(ClusterAnswer):
    """Whether the node has begun to drain."""

    node: str
    draining: Annotated[bool, Meta(description="false: it did not answer")]
    at: Annotated[Time, Meta(description="when it was asked to")]


class IgnoringClients(Answer):
    """Clients of one kind that do not know the hint when to reconnect."""

    user_agent: str
    connections: int


class Unacknowledged(Answer):
    """Messages in inboxes of connected users; they are sent again after the reconnect."""

    messages: int
    users: int


class ForecastConnection(Answer):
    """A connection that the drain would close."""

    connection_id: str
    user_id: str
    protocol: Literal["wsserver.v1", "plain"]
    transport: Literal["websocket", "sse"]
    user_agent: str
    reconnect_after_ms: Annotated[int, Meta(description="when it would be asked to reconnect")]
    follows_hint: Annotated[
        bool, Meta(description="false: a plain client, which may reconnect at once")
    ]
    unacknowledged: Annotated[int, Meta(description="messages in the inbox of its user")]
    queued_bytes: int


class Forecast(Listing):
    """What a drain of the node would do now; its connections by id, the oldest first."""

    node: str
    users: int
    window_ms: Annotated[int, Meta(description="when the last client is asked to reconnect")]
    reconnects_per_s: Annotated[
        list[int],
        Meta(
            description="expected reconnects in each second from the drain on; clients that do not"
            " know the hint are in the first one"
        ),
    ]
    peak_per_s: int
    ignore_hint: Annotated[int, Meta(description="connections of clients that do not know it")]
    ignoring_clients: Annotated[
        list[IgnoringClients], Meta(description="the 20 most frequent kinds")
    ]
    unacknowledged: Unacknowledged
    queued_bytes: Annotated[int, Meta(description="accepted and not yet written to sockets")]
    growing_answers: Annotated[int, Meta(description="answers that another node would take over")]
    connections: list[ForecastConnection]


_NODES = {
    "nodes": [
        {
            "node": "node-1",
            "since": "2024-01-15T14:30:00.000Z",
            "connections": 156,
            "version": "1.0.0",
            "state": "up",
        }
    ]
}


_FORECAST = {
    "node": "node-1",
    "total": 2,
    "users": 2,
    "window_ms": 3500,
    "reconnects_per_s": [1, 1, 0, 0],
    "peak_per_s": 1,
    "ignore_hint": 1,
    "ignoring_clients": [{"user_agent": "python-websockets/17.0", "connections": 1}],
    "unacknowledged": {"messages": 3, "users": 1},
    "queued_bytes": 0,
    "growing_answers": 0,
    "connections": [
        {
            "connection_id": "conn_12345",
            "user_id": "user_67890",
            "protocol": "wsserver.v1",
            "transport": "websocket",
            "user_agent": "Mozilla/5.0",
            "reconnect_after_ms": 1000,
            "follows_hint": True,
            "unacknowledged": 3,
            "queued_bytes": 0,
        }
    ],
    "next_cursor": "ImNvbm5fMTIzNDUi",
}


@RESOURCE.endpoint("GET /nodes", "connections:read", Nodes, answer_example=_NODES)
async def _list_nodes(context: WebContext, call: Call) -> dict[str, Any]:
    """List the nodes: the processes that serve together."""
    return await context.admin_queries.nodes(call.caller)


@RESOURCE.endpoint(
    "GET /nodes/{node}/drain",
    "connections:disconnect",
    Forecast,
    query=PageQuery,
    answer_example=_FORECAST,
    errors=("not_found", "node_unreachable"),
)
async def _forecast_drain(context: WebContext, call: Call) -> dict[str, Any]:
    """Forecast the drain of a node: reconnects a second, what is unacknowledged."""
    return await context.admin_queries.drain_forecast(
        call.caller, call.path["node"], call.query.window
    )


@RESOURCE.endpoint(
    "POST /nodes/{node}/drain",
    "connections:disconnect",
    Drained,
    action="drain",
    answer_example={"node": "node-1", "draining": True, "at": "2024-01-15T14:30:00.000Z"},
    errors=("not_found",),
)
async def _drain_node(context: WebContext, call: Call) -> dict[str, Any]:
    """Drain a node as SIGTERM does: its clients reconnect elsewhere, its process ends."""
    return await context.admin_actions.drain_node(call.caller, call.path["node"])
