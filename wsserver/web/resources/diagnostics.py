"""Diagnostics: ``/whoami`` (the caller) and ``/diagnostics`` (the server)."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from msgspec import Meta

from wsserver import __version__
from wsserver.clock import rfc3339
from wsserver.config import Settings
from wsserver.errors import StorageUnavailable
from wsserver.event_loop import name_of
from wsserver.fd_limits import KEPT_BACK, descriptor_limit, lowest_free
from wsserver.protocol.notifications import CHANNELS
from wsserver.storage.maintenance.diagnosis import Backlog, Stored
from wsserver.web.api.answers import Answer, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import PREFIX, SIGNED_IN, Call, Endpoint
from wsserver.web.http.proxies import FORWARDING_HEADERS


class Heartbeat(Answer):
    """How often the server pings, and how long it waits for any sign of life; seconds."""

    interval_s: float
    timeout_s: float


class Allowance(Answer):
    """What one user, and one connection, may do at most."""

    connections: Annotated[int, Meta(description="of one user")]
    connection_limit_policy: Literal["reject", "evict_oldest"]
    messages_per_s: Annotated[float, Meta(description="of one connection, sustained")]
    message_burst: Annotated[float, Meta(description="of one connection, after a silence")]
    message_bytes: int


class Identity(Answer):
    """Whom the server takes the bearer for, and how the request has come."""

    user_id: str
    username: str | None
    role: str
    organization_id: str | None
    permissions: Annotated[list[str], Meta(description="all that are in force, sorted")]
    all_sessions: Annotated[bool, Meta(description="may enter any session")]
    expires_at: Time
    connections: Annotated[int, Meta(description="of this user, open now")]
    limits: Allowance
    heartbeat: Heartbeat
    remote_ip: Annotated[str, Meta(description="where the request seems to come from")]
    proxy: Annotated[
        Literal["none", "trusted", "untrusted"],
        Meta(description="whether headers of a proxy came along, and whether they are believed"),
    ]
    scheme: Annotated[Literal["http", "https"], Meta(description="as the client seems to see it")]
    version: str
    server_time: Time


class Descriptors(Answer):
    """File descriptors of the process; every connection takes one."""

    open: Annotated[int, Meta(description="at least")]
    limit: int
    kept_back: Annotated[int, Meta(description="never given to clients")]


class Disk(Answer):
    """The database's file and the disk that it is on."""

    file_bytes: Annotated[int, Meta(description="with the write-ahead log")]
    free_bytes: int | None
    total_bytes: int | None


class KeptStreams(Answer):
    """What is kept for those who come later."""

    streams: int
    messages: int
    late: Annotated[int, Meta(description="should have been pruned over an hour ago")]


class ChannelState(Answer):
    """One channel of notifications."""

    configured: bool
    waiting: int
    due_since: Annotated[Time | None, Meta(description="of what is due the longest; null: none")]
    failed: Annotated[int, Meta(description="given up, of the last 24 hours' notifications")]
    not_configured: Annotated[int, Meta(description="never tried for want of settings, of these")]


class Diagnostics(Answer):
    """What only the server knows of its own condition; of the whole server, whoever asks."""

    version: str
    node: str
    uptime_s: float
    connections: int
    max_connections: int
    event_loop: Annotated[str, Meta(description="`uvloop` or `asyncio`")]
    limits: Allowance
    heartbeat: Heartbeat
    descriptors: Descriptors
    database: Disk
    streams: Annotated[KeptStreams | None, Meta(description="null: cannot be read")]
    channels: Annotated[
        dict[str, ChannelState] | None, Meta(description="by name; null: cannot be read")
    ]


async def _get_identity(context: WebContext, call: Call) -> dict[str, Any]:
    claims, peer, headers = call.who.claims, call.peer, call.headers
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
        "connections": len(context.manager.hub.of_user(claims.sub)),
        "limits": _allowance(context.settings),
        "heartbeat": _heartbeat(context.settings),
        "remote_ip": call.who.remote_ip,
        "proxy": context.proxies.proxy_of(peer, forwarding),
        "scheme": context.proxies.scheme(peer, "http", headers.get_list("X-Forwarded-Proto")),
        "version": __version__,
        "server_time": rfc3339(context.clock.wall()),
    }


async def _get_diagnostics(context: WebContext, call: Call) -> dict[str, Any]:
    context.permissions.confined_to(call.who.claims)  # refuses a role that belongs nowhere
    settings = context.settings
    try:
        stored: Stored | None = await context.diagnosis.look(context.clock.wall())
    except StorageUnavailable:
        stored = None  # /health says why
    stats = context.manager.stats()
    return {
        "version": __version__,
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
            "file_bytes": context.health()["checks"]["database"]["file_bytes"],
            "free_bytes": stored and stored.disk_free_bytes,
            "total_bytes": stored and stored.disk_total_bytes,
        },
        "streams": stored
        and {"streams": stored.streams, "messages": stored.messages, "late": stored.late},
        "channels": stored and _channels(context, stored),
    }


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


def _channels(context: WebContext, stored: Stored) -> dict[str, Any]:
    channels: dict[str, Any] = {}
    for name in CHANNELS:
        backlog = stored.channels.get(name, Backlog())
        channels[name] = {
            "configured": name in context.configured_channels,
            "waiting": backlog.waiting,
            "due_since": None if backlog.due_since is None else rfc3339(backlog.due_since),
            "failed": backlog.failed,
            "not_configured": backlog.not_configured,
        }
    return channels


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path=f"{PREFIX}/whoami",
        access=SIGNED_IN,
        handle=_get_identity,
        answer=Identity,
        summary="Whom the server takes the bearer for, and what that allows",
        tag="Tokens",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/diagnostics",
        access="stats:read",
        handle=_get_diagnostics,
        answer=Diagnostics,
        summary="The server's condition: descriptors, disk, kept streams, channels",
        tag="Server",
    ),
)
