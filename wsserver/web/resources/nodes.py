"""Nodes: ``/nodes`` lists the server's processes, ``/nodes/{node}/drain`` ends one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from wsserver.web.api.answers import Answer, ClusterAnswer, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource

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


@RESOURCE.endpoint("GET /nodes", "connections:read", Nodes, answer_example=_NODES)
async def _list_nodes(context: WebContext, call: Call) -> dict[str, Any]:
    """List the nodes: the processes that serve together."""
    return await context.admin_queries.nodes(call.caller)


@RESOURCE.endpoint(
    "POST /nodes/{node}/drain",
    "connections:disconnect",
    Drained,
    action="drain",
    answer_example={"node": "node-1", "draining": True},
    errors=("not_found",),
)
async def _drain_node(context: WebContext, call: Call) -> dict[str, Any]:
    """Drain a node as SIGTERM does: its clients reconnect elsewhere, its process ends."""
    return await context.admin_actions.drain_node(call.caller, call.path["node"])
