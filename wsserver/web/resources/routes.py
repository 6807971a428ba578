"""The one table of all paths: who may call them, what they take, what they answer."""

from __future__ import annotations

from collections.abc import Iterable

from tornado.routing import Rule

from wsserver.protocol import requests
from wsserver.realtime.operations.admin_actions import revoke_faults
from wsserver.web.api.api import ApiHandler, rule_for
from wsserver.web.api.endpoint import PREFIX, PUBLIC, SIGNED_IN, Endpoint
from wsserver.web.api.queries import (
    AuditQuery,
    ConnectionsQuery,
    HistoryQuery,
    MessagesQuery,
    PageQuery,
)
from wsserver.web.resources.diagnosis_routes import DIAGNOSIS_ENDPOINTS
from wsserver.web.resources.export_routes import EXPORT_ENDPOINTS
from wsserver.web.resources.handlers import (
    audit,
    connections,
    docs,
    health,
    metrics,
    sessions,
    stats,
    tokens,
    users,
)
from wsserver.web.resources.message_routes import MESSAGE_ENDPOINTS
from wsserver.web.resources.notification_routes import NOTIFICATION_ENDPOINTS
from wsserver.web.resources.webhook_routes import WEBHOOK_ENDPOINTS
from wsserver.web.schemas import core as answers
from wsserver.web.sockets.sockets import SOCKETS, SocketHandler

HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path=f"{PREFIX}/stats",
        access="stats:read",
        handle=stats.stats,
        answer=answers.Stats,
        summary="The statistics of now",
        tag="Statistics",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/stats/history",
        access="stats:read",
        handle=stats.history,
        query=HistoryQuery,
        answer=answers.Snapshots,
        summary="Snapshots of a time range, oldest first",
        tag="Statistics",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/connections",
        access="connections:read",
        handle=connections.listing,
        query=ConnectionsQuery,
        answer=answers.Connections,
        summary="The connections that pass every filter",
        tag="Connections",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/connections/{{connection_id}}",
        access="connections:read",
        handle=connections.one,
        answer=answers.Connection,
        summary="One connection",
        tag="Connections",
        errors=("not_found",),
    ),
    Endpoint(
        method="DELETE",
        path=f"{PREFIX}/connections/{{connection_id}}",
        access="connections:disconnect",
        handle=connections.close,
        action="disconnect",
        answer=answers.Disconnected,
        summary="Close a connection (4502)",
        tag="Connections",
        errors=("not_found",),
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/users/{{user_id}}/connections",
        access="connections:read",
        handle=connections.of_user,
        query=PageQuery,
        answer=answers.Connections,
        summary="A user's connections; none for one who is offline or unknown",
        tag="Users",
        errors=("not_found",),
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/online-users",
        access="connections:read",
        handle=users.online,
        query=PageQuery,
        answer=answers.OnlineUsers,
        summary="Who is connected",
        tag="Users",
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/users/disconnect",
        access="connections:disconnect",
        handle=users.disconnect,
        action="disconnect",
        request=requests.DisconnectRequest,
        answer=answers.Disconnected,
        summary="Close a user's connections, or one of them (4502)",
        tag="Users",
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/ping/{{user_id}}",
        access="connections:read",
        handle=users.ping,
        request=requests.PingRequest,
        is_body_optional=True,
        answer=answers.PingResult,
        summary="Ping all connections of a user and wait for the answers",
        tag="Users",
        errors=("not_found",),
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/sessions",
        access="connections:read",
        handle=sessions.listing,
        query=PageQuery,
        answer=answers.Sessions,
        summary="The sessions that somebody has joined",
        tag="Sessions",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/sessions/{{session_id}}",
        access="connections:read",
        handle=sessions.one,
        answer=answers.Session,
        summary="One session; 404 if it was never used",
        tag="Sessions",
        errors=("not_found",),
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/sessions/{{session_id}}/connections",
        access="connections:read",
        handle=connections.of_session,
        query=PageQuery,
        answer=answers.Connections,
        summary="The connections that have joined a session",
        tag="Sessions",
        errors=("not_found",),
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/sessions/{{session_id}}/history",
        access="messages:read",
        handle=sessions.history,
        query=MessagesQuery,
        answer=answers.SessionHistory,
        summary="The messages kept of a session, page by page in both directions",
        tag="Sessions",
        errors=("not_found",),
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/sessions/{{session_id}}/members",
        access="sessions:manage",
        handle=sessions.members,
        answer=answers.SessionMembers,
        summary="Who may enter a session without being named in a token",
        tag="Sessions",
        errors=("not_found",),
    ),
    Endpoint(
        method="PUT",
        path=f"{PREFIX}/sessions/{{session_id}}/members",
        access="sessions:manage",
        handle=sessions.replace_members,
        action="members",
        request=requests.MembersRequest,
        answer=answers.SessionMembers,
        summary="Replace the member list; who is removed is put out at once",
        tag="Sessions",
        errors=("not_found",),
    ),
    *MESSAGE_ENDPOINTS,
    *NOTIFICATION_ENDPOINTS,
    *DIAGNOSIS_ENDPOINTS,
    *WEBHOOK_ENDPOINTS,
    *EXPORT_ENDPOINTS,
    Endpoint(
        method="POST",
        path=f"{PREFIX}/tickets",
        access=SIGNED_IN,
        handle=tokens.ticket,
        is_secret=True,
        request=requests.TicketRequest,
        is_body_optional=True,
        answer=answers.Ticket,
        summary="A ticket for one WebSocket handshake",
        tag="Tokens",
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/tokens/revoke",
        access="tokens:revoke",
        handle=tokens.revoke,
        action="revoke",
        request=requests.RevokeRequest,
        rules=revoke_faults,
        answer=answers.Revoked,
        summary="Refuse a token by jti, or all that a user has; closes their connections (4505)",
        tag="Tokens",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/audit",
        access="audit:read",
        handle=audit.listing,
        query=AuditQuery,
        answer=answers.AuditTrail,
        summary="Who did what, newest first",
        tag="Server",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/health",
        access=PUBLIC,
        handle=health.health,
        answer=answers.Health,
        summary="Whether the server should get traffic; 503: not now",
        tag="Server",
        takes_any_host=True,
        is_served_at_start=True,
        errors=("draining",),
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        access="stats:read",
        handle=metrics.metrics,
        answer="text/plain, application/openmetrics-text",
        summary="The figures for Prometheus; without a token from this machine itself",
        tag="Server",
        is_open_to_loopback=True,
        takes_any_host=True,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/openapi.json",
        access=PUBLIC,
        handle=docs.document,
        answer=dict,
        summary="This description, as OpenAPI 3.1",
        tag="Server",
    ),
    Endpoint(
        method="GET",
        path="/api/v1/docs",
        access=PUBLIC,
        handle=docs.page,
        answer=HTML,
        summary="This description, to read",
        tag="Server",
        is_page=True,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/docs.css",
        access=PUBLIC,
        handle=docs.stylesheet,
        answer=CSS,
        summary="The page's looks",
        tag="Server",
        is_page=True,
    ),
    Endpoint(
        method="GET",
        path="/",
        access=PUBLIC,
        handle=docs.index,
        answer=HTML,
        summary="Where to go from here",
        tag="Server",
        is_page=True,
    ),
)
"""Every row; what is not in it is answered with 404."""


def by_path(endpoints: Iterable[Endpoint] = ENDPOINTS) -> dict[str, dict[str, Endpoint]]:
    """The rows by path and method."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return paths


def rules() -> list[Rule]:
    """Tornado's routes: fixed paths first, as ``/users/disconnect`` is no user's."""
    paths = by_path()
    ordered = sorted(paths, key=lambda path: path.count("{"))
    return [rule_for(path, ApiHandler, route=path, endpoints=paths[path]) for path in ordered] + [
        rule_for(socket.path, SocketHandler, socket=socket) for socket in SOCKETS
    ]
