"""What ``/whoami`` and ``/diagnostics`` answer, as types."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from wsserver.web.schemas.core import Answer, Time


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
