"""The route table: every REST endpoint of the server, one module for each resource.

An endpoint is added in the module of its resource; a new resource is added to ``_RESOURCES``.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

from tornado.routing import Rule

from wsserver.web.api.endpoint import Endpoint
from wsserver.web.api.handlers import ApiHandler, rule_for
from wsserver.web.resources import (
    audit,
    connections,
    diagnostics,
    docs,
    exports,
    health,
    messages,
    metrics,
    nodes,
    notifications,
    sessions,
    stats,
    tokens,
    users,
    webhooks,
)
from wsserver.web.sockets.sockets import SOCKETS, SocketHandler

_RESOURCES: tuple[ModuleType, ...] = (
    stats,
    connections,
    users,
    sessions,
    messages,
    notifications,
    diagnostics,
    nodes,
    webhooks,
    exports,
    tokens,
    audit,
    health,
    metrics,
    docs,
)
"""In the order of the API description."""

ENDPOINTS: tuple[Endpoint, ...] = tuple(
    endpoint for module in _RESOURCES for endpoint in module.RESOURCE.endpoints
)
"""All endpoints; other paths are answered with 404."""

TAGS = {
    "Statistics": "Current and past statistics: connections, users, rates, latencies.",
    "Connections": "Open WebSocket connections: list with filters, get, close.",
    "Users": "Connected users: list, ping, disconnect.",
    "Sessions": "Chat sessions: connections, member lists, kept messages.",
    "Messages": "Publish to users, sessions, organizations, roles, connections or everybody; trace"
    " and explain messages.",
    "Notifications": "Notifications by WebSocket, Web Push, SMS and e-mail, with their deliveries"
    " and attempts, and contact addresses of users.",
    "Tokens": "Tickets for the handshake, revocation, identity and permissions of a token.",
    "Server": "Health, metrics, diagnostics, audit trail, API description.",
    "Webhooks": "Events posted to other servers: pending and failed deliveries.",
    "Exports": "Stored rows in commit order, for programs that fetch new rows regularly.",
}
"""Descriptions of the tags in the API description."""


def by_path(endpoints: Iterable[Endpoint] = ENDPOINTS) -> dict[str, dict[str, Endpoint]]:
    """Endpoints by path and method."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return paths


def rules() -> list[Rule]:
    """Tornado's routes: fixed paths first, so that ``/users/disconnect`` is not taken for an id."""
    paths = by_path()
    ordered = sorted(paths, key=lambda path: path.count("{"))
    return [rule_for(path, ApiHandler, route=path, endpoints=paths[path]) for path in ordered] + [
        rule_for(socket.path, SocketHandler, socket=socket) for socket in SOCKETS
    ]
