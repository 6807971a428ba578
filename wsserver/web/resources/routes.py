"""The route table: every REST endpoint of the server, one module for each resource.

An endpoint is added in the module of its resource; a new resource is added to ``_RESOURCES``. Those
of extensions are in their packages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType, ModuleType

from tornado.routing import Rule

from wsserver.errors import MEANINGS, Meaning
from wsserver.web.api.endpoint import Endpoint, Resource
from wsserver.web.api.handlers import ApiHandler, rule_for
from wsserver.web.resources import (
    answers,
    audit,
    chaos,
    connections,
    diagnostics,
    docs,
    event_streams,
    exports,
    health,
    messages,
    metrics,
    nodes,
    notification_feed,
    notification_preferences,
    notifications,
    recordings,
    search,
    sessions,
    stats,
    tokens,
    users,
    webhooks,
)

_RESOURCES: tuple[ModuleType, ...] = (
    stats,
    connections,
    users,
    sessions,
    messages,
    search,
    answers,
    notifications,
    notification_feed,
    notification_preferences,
    diagnostics,
    nodes,
    recordings,
    chaos,
    webhooks,
    exports,
    event_streams,
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
"""All endpoints of the server itself."""

TAGS = {
    "Statistics": "Current and past statistics: connections, users, rates, latencies.",
    "Connections": "Open WebSocket connections: list with filters, get, close.",
    "Users": "Connected users: list, ping, disconnect.",
    "Sessions": "Chat sessions: connections, member lists, kept messages.",
    "Messages": "Publish to users, sessions, organizations, roles, connections or everybody; trace"
    " and explain messages.",
    "Answers": "Answers that grow: begin, append, finish, cancel, get.",
    "Notifications": "Notifications by WebSocket, Web Push, SMS and e-mail, with their deliveries"
    " and attempts, and contact addresses of users.",
    "Event streams": "Server-Sent Events instead of a WebSocket: the commands of their clients.",
    "Tokens": "Tickets for the handshake, revocation, identity and permissions of a token.",
    "Server": "Health, metrics, diagnostics, audit trail, API description.",
    "Recordings": "What goes over the wires of a user or a session, for a while.",
    "Chaos": "Bad networks for named users, in development.",
    "Webhooks": "Events posted to other servers: pending and failed deliveries.",
    "Exports": "Stored rows in commit order, for programs that fetch new rows regularly.",
}
"""Descriptions of the tags in the API description."""


class RouteTable:
    """All endpoints of a server, those of its extensions included.

    Other paths are answered with 404. ``errors``: the codes that extensions add.
    """

    def __init__(
        self, more: Iterable[Resource] = (), errors: Mapping[str, Meaning] = MappingProxyType({})
    ) -> None:
        more = tuple(more)
        self.endpoints = ENDPOINTS + tuple(each for one in more for each in one.endpoints)
        self.tags = {**TAGS, **{one.tag: one.description for one in more}}
        self.errors = {**MEANINGS, **errors}

    def rules(self) -> list[Rule]:
        """Tornado's routes: fixed paths first, so that ``/users/disconnect`` is no id."""
        paths = by_path(self.endpoints)
        ordered = sorted(paths, key=lambda path: path.count("{"))
        return [rule_for(path, ApiHandler, route=path, endpoints=paths[path]) for path in ordered]


def by_path(endpoints: Iterable[Endpoint] = ENDPOINTS) -> dict[str, dict[str, Endpoint]]:
    """Endpoints by path and method."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return paths
