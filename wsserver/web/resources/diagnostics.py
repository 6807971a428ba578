"""Diagnostics: ``/whoami`` (the caller) and ``/diagnostics`` (the server)."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from wsserver.clock import rfc3339, rfc3339_or_none
from wsserver.cluster.control import Request
from wsserver.cluster.nodes import unreachable_in
from wsserver.config import Settings
from wsserver.errors import StorageUnavailable
from wsserver.event_loop import name_of
from wsserver.fd_limits import KEPT_BACK, descriptor_limit, lowest_free
from wsserver.protocol.notifications import CHANNELS
from wsserver.protocol.types import NodeName
from wsserver.storage.maintenance.storage_statistics import ChannelBacklog, StorageCounts
from wsserver.version import __version__
from wsserver.web.api.answers import Answer, ClusterAnswer, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import SIGNED_IN, Call, Resource
from wsserver.web.http.proxies import FORWARDING_HEADERS
from wsserver.wire import IS_COMPILED

RESOURCE = Resource("Server")


class Heartbeat(Answer):
    """Heartbeat settings: ping interval and timeout without any frame, in seconds."""

    interval_s: float
    timeout_s: float


class Allowance(Answer):
    """Limits of a user and of a connection."""

    connections: Annotated[int, Meta(description="per user")]
    connection_limit_policy: Literal["reject", "evict_oldest"]
    messages_per_s: Annotated[float, Meta(description="per connection, sustained")]
    message_burst: Annotated[float, Meta(description="per connection, after a pause")]
    message_bytes: int


class Identity(Answer):
    """The caller's identity and permissions, and how the request reached the server."""

    user_id: str
    username: str | None
    role: str
    organization_id: str | None
    permissions: Annotated[list[str], Meta(description="effective permissions, sorted")]
    all_sessions: Annotated[bool, Meta(description="may enter any session")]
    expires_at: Time
    connections: Annotated[int, Meta(description="open connections of this user")]
    limits: Allowance
    heartbeat: Heartbeat
    remote_ip: Annotated[str, Meta(description="client address, according to trusted proxies")]
    proxy: Annotated[
        Literal["none", "trusted", "untrusted"],
        Meta(description="whether the request has proxy headers, and whether they are trusted"),
    ]
    scheme: Annotated[Literal["http", "https"], Meta(description="of the client's URL")]
    version: str
    server_time: Time


class Descriptors(Answer):
    """File descriptors of the process; every connection uses one."""

    open: Annotated[int, Meta(description="at least")]
    limit: int
    kept_back: Annotated[int, Meta(description="reserved, not used for clients")]


class Disk(Answer):
    """Size of the database and space on the disk of its file."""

    kind: Annotated[Literal["sqlite", "postgresql"], Meta(description="which database it is")]
    file_bytes: Annotated[
        int, Meta(description="with the write-ahead log; PostgreSQL: measured once a minute")
    ]
    free_bytes: Annotated[int | None, Meta(description="null: not known, or PostgreSQL")]
    total_bytes: int | None


class KeptStreams(Answer):
    """Streams and kept messages."""

    streams: int
    messages: int
    late: Annotated[int, Meta(description="not pruned although due for over an hour")]


class KeptConversations(Answer):
    """What is kept of conversations besides their messages."""

    participants: Annotated[int, Meta(description="read positions: of each user in each session")]
    changes: Annotated[int, Meta(description="of the last 90 days, with the visits of users")]


class ChannelState(Answer):
    """A channel of notifications and its queue."""

    configured: bool
    waiting: int
    due_since: Annotated[Time | None, Meta(description="of the longest overdue one, or null")]
    failed: Annotated[int, Meta(description="failed for good, within 24 hours")]
    not_configured: Annotated[int, Meta(description="not tried without settings, within 24 hours")]


class DiagnosticsQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """The node."""

    node: Annotated[NodeName, Meta(description="default: the one that answers")] | None = None


class ReadDiagnostics(Request[dict[str, Any]], frozen=True):
    """The diagnostics of a node."""


class ClockDifferences(Answer):
    """Seconds by which other clocks are ahead of this node's."""

    nodes: Annotated[dict[str, float], Meta(description="by name, of the nodes of a cluster")]
    redis: Annotated[float | None, Meta(description="null: without `redis_url`, or not known")]
    database: Annotated[float | None, Meta(description="null: SQLite, or not known")]


class Diagnostics(ClusterAnswer):
    """Internal state of a node: limits, descriptors, database, streams, channels.

    Of a node that does not answer: only ``node`` and ``unreachable``.
    """

    version: str
    build: Annotated[str, Meta(description="`compiled` or `pure`: Python")]
    node: str
    uptime_s: float
    connections: int
    max_connections: int
    event_loop: Annotated[str, Meta(description="`uvloop` or `asyncio`")]
    limits: Allowance
    heartbeat: Heartbeat
    descriptors: Descriptors
    database: Disk
    clocks: ClockDifferences
    differing_settings: Annotated[
        dict[str, list[str]],
        Meta(description="by node: settings that all nodes have to share and that differ there"),
    ]
    streams: Annotated[KeptStreams | None, Meta(description="null: database unreadable")]
    conversations: KeptConversations | None
    channels: Annotated[
        dict[str, ChannelState] | None, Meta(description="by name; null: database unreadable")
    ]


def _allowance(settings: Settings) -> dict[str, Any]:
    return {
        "connections": settings.max_connections_per_user,
        "connection_limit_policy": settings.connection_limit_policy,
        "messages_per_s": settings.message_rate,
        "message_burst": settings.message_burst,
        "message_bytes": settings.max_message_bytes,
    }


def _heartbeat(settings: Settings) -> dict[str, float]:
    return {"interval_s": settings.heartbeat_interval_s, "timeout_s": settings.heartbeat_timeout_s}


def _channels(context: WebContext, stored: StorageCounts) -> dict[str, Any]:
    channels: dict[str, Any] = {}
    for name in CHANNELS:
        backlog = stored.channels.get(name, ChannelBacklog())
        channels[name] = {
            "configured": name in context.configured_channels,
            "waiting": backlog.waiting,
            "due_since": rfc3339_or_none(backlog.due_since),
            "failed": backlog.failed,
            "not_configured": backlog.not_configured,
        }
    return channels


@RESOURCE.endpoint("GET /whoami", SIGNED_IN, Identity, tag="Tokens")
async def _get_identity(context: WebContext, call: Call) -> dict[str, Any]:
    """The caller's identity, permissions and limits."""
    claims, peer, headers = call.caller.claims, call.peer, call.headers
    permissions = context.permissions.of(claims)
    forwarding = [name for name in FORWARDING_HEADERS if name in headers]
    return {
        "user_id": claims.sub,
        "username": claims.username,
        "role": claims.role,
        "organization_id": claims.organization_id,
        "permissions": sorted(permissions),
        "all_sessions": claims.sessions == "*" or "sessions:any" in permissions,
        "expires_at": rfc3339(claims.exp),
        "connections": await context.admin_queries.count_connections(claims.sub),
        "limits": _allowance(context.settings),
        "heartbeat": _heartbeat(context.settings),
        "remote_ip": call.caller.remote_ip,
        "proxy": context.proxies.proxy_of(peer, forwarding),
        "scheme": context.proxies.scheme(peer, "http", headers.get_list("X-Forwarded-Proto")),
        "version": __version__,
        "server_time": rfc3339(context.clock.wall()),
    }


@RESOURCE.endpoint(
    "GET /diagnostics",
    "stats:read",
    Diagnostics,
    query=DiagnosticsQuery,
    errors=("not_found",),
)
async def _get_diagnostics(context: WebContext, call: Call) -> dict[str, Any]:
    """Internal state of a node: descriptors, disk, kept streams, channels."""
    context.permissions.confined_to(call.caller.claims)  # refuses a manager without an organization
    node = call.query.node or context.nodes.own
    answers = await context.nodes.ask(ReadDiagnostics(), node)
    for found in answers.by_node.values():
        return found
    return {"node": node, **unreachable_in(answers)}


async def diagnostics_of(context: WebContext, _: ReadDiagnostics) -> dict[str, Any]:
    """The diagnostics of this node."""
    settings = context.settings
    try:
        stored: StorageCounts | None = await context.storage_statistics.read(context.clock.wall())
    except StorageUnavailable:
        stored = None  # /health reports the reason
    stats = context.manager.stats()
    database = context.health()["checks"]["database"]
    return {
        "version": __version__,
        "build": "compiled" if IS_COMPILED else "pure",
        "node": settings.node,
        "uptime_s": stats["uptime_s"],
        "connections": stats["total_connections"],
        "max_connections": settings.max_connections,
        "event_loop": name_of(asyncio.get_running_loop()),
        "limits": _allowance(settings),
        "heartbeat": _heartbeat(settings),
        "descriptors": {
            "open": min(lowest_free(), descriptor_limit()),
            "limit": descriptor_limit(),
            "kept_back": KEPT_BACK,
        },
        "database": {
            "kind": database["kind"],
            "file_bytes": database["file_bytes"],
            "free_bytes": stored and stored.disk_free_bytes,
            "total_bytes": stored and stored.disk_total_bytes,
        },
        "clocks": msgspec.structs.asdict(await context.clocks.read()),
        "differing_settings": {
            each.node: list(each.differing_settings)
            for each in await context.nodes.records()
            if each.differing_settings
        },
        "streams": stored
        and {"streams": stored.streams, "messages": stored.messages, "late": stored.late},
        "conversations": stored
        and {"participants": stored.participants, "changes": stored.changes},
        "channels": stored and _channels(context, stored),
    }
