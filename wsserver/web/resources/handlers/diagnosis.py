"""What a server says of itself to those who look for a fault."""

from __future__ import annotations

import asyncio
from typing import Any

from wsserver import __version__
from wsserver.clock import rfc3339
from wsserver.config import Settings
from wsserver.errors import StorageUnavailable
from wsserver.event_loop import name_of
from wsserver.fd_limits import KEPT_BACK, descriptor_limit, lowest_free
from wsserver.protocol.notifications import CHANNELS
from wsserver.storage.maintenance.storage_statistics import ChannelBacklog, StorageCounts
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call
from wsserver.web.http.proxies import FORWARDING_HEADERS


async def whoami(context: WebContext, call: Call) -> dict[str, Any]:
    """Whom the server takes the bearer for, and what that allows."""
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


async def diagnostics(context: WebContext, call: Call) -> dict[str, Any]:
    """The server's own condition; also while its database cannot be read."""
    context.permissions.confined_to(call.who.claims)  # refuses a role that belongs nowhere
    settings = context.settings
    try:
        stored: StorageCounts | None = await context.storage_statistics.read(context.clock.wall())
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


def _channels(context: WebContext, stored: StorageCounts) -> dict[str, Any]:
    channels: dict[str, Any] = {}
    for name in CHANNELS:
        backlog = stored.channels.get(name, ChannelBacklog())
        channels[name] = {
            "configured": name in context.configured_channels,
            "waiting": backlog.waiting,
            "due_since": None if backlog.due_since is None else rfc3339(backlog.due_since),
            "failed": backlog.failed,
            "not_configured": backlog.not_configured,
        }
    return channels
