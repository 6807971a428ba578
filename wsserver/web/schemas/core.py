"""What the endpoints answer, as types; the OpenAPI document is made from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Time = Annotated[str, Meta(description="RFC 3339, UTC", examples=["2024-01-15T14:30:00.000Z"])]
Cursor = Annotated[str, Meta(description="for the next page; null on the last one")]


class Answer(Struct, kw_only=True):
    """The root of all answers; fields may be added to them, none is ever taken away."""


class Listing(Answer):
    """What all lists have."""

    total: int
    next_cursor: Cursor | None


class Percentiles(Answer):
    """Milliseconds; null without values."""

    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


class Rates(Answer):
    """A second, over the last ten."""

    messages_sent_per_s: float
    messages_received_per_s: float
    connects_per_s: float


class ChannelFigures(Answer):
    """How notifications fare by one channel, since the start."""

    sent: Annotated[int, Meta(description="taken by the provider, or stored in the inbox")]
    failed: Annotated[int, Meta(description="given up")]
    retried: Annotated[int, Meta(description="attempts that were followed by another one")]
    expired: int
    acknowledged: int
    acknowledged_ms: Annotated[Percentiles, Meta(description="from sending to acknowledgement")]


class Stats(Answer):
    """The statistics of now; counters are since the start."""

    total_connections: Annotated[int, Meta(description="registered now")]
    active_connections: Annotated[int, Meta(description="heard from within the heartbeat timeout")]
    messages_sent: int
    messages_received: int
    disconnections: int
    errors: Annotated[int, Meta(description="refused commands, failed sends and internal errors")]
    active_users: int
    active_sessions: int
    total_user_connections: Annotated[int, Meta(description="connections, summed over users")]
    total_session_connections: Annotated[int, Meta(description="connections, summed over sessions")]
    uptime_s: float
    connects: int
    refused_commands: int
    failed_sends: int
    internal_errors: int
    handler_failures: int
    queued_bytes: int
    rates: Rates
    deliver_ms: Percentiles
    rtt_ms: Percentiles
    node: str
    notifications: Annotated[
        dict[str, ChannelFigures], Meta(description="by channel, of the whole server")
    ]


class Snapshot(Answer):
    """The statistics of one moment, or the means of one hour; more figures may be in it."""

    timestamp: Time
    node: str
    sequence: int | None
    samples: Annotated[int, Meta(description="how many snapshots a mean is made of; 1: none")]
    total_connections: float
    active_connections: float
    messages_sent: float
    messages_received: float
    disconnections: float
    errors: float
    active_users: float
    active_sessions: float
    total_user_connections: float
    total_session_connections: float


class Snapshots(Listing):
    """Snapshots, oldest first."""

    snapshots: list[Snapshot]


class Metadata(Answer):
    """From the token."""

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
    protocol: Literal["wsserver.v1", "plain"]
    rtt_ms: float | None
    queued_bytes: int


class Connections(Listing):
    """Connections, oldest first."""

    connections: list[Connection]


class Disconnected(Answer):
    """How many connections were closed."""

    disconnected: int


class OnlineUser(Answer):
    """One user who is connected."""

    user_id: str
    connections: int
    online_since: Time
    metadata: Metadata


class OnlineUsers(Listing):
    """Users, by id."""

    users: list[OnlineUser]


class Pinged(Answer):
    """The round trip of one connection; null when no answer came in time."""

    connection_id: str
    alive: bool
    rtt_ms: float | None


class PingResult(Answer):
    """The round trips of a user's connections."""

    user_id: str
    online: bool
    connections: list[Pinged]


class Present(Answer):
    """A user in a session."""

    user_id: str
    username: str | None
    connections: int


class Session(Answer):
    """A session: who is in it, who belongs to it, where its stream stands."""

    session_id: str
    users: list[Present]
    members: list[str]
    connections: int
    epoch: str
    offset: int


class Sessions(Listing):
    """Sessions, by id."""

    sessions: list[Session]


class SessionMembers(Answer):
    """A session's member list."""

    session_id: str
    user_ids: list[str]


class Published(Answer):
    """What became of a message: connections matched, sent to, and failed; where it is kept."""

    message_id: str
    matched: int
    sent: int
    failed: int
    stream: str | None = None
    epoch: str | None = None
    offset: int | None = None


class SessionHistory(Answer):
    """A page of a session's kept messages: whole pushes as sent live, ascending by offset."""

    session_id: str
    messages: list[dict[str, Any]]
    epoch: str
    has_more: bool


class FieldError(Answer):
    """What is wrong with one field."""

    field: str
    message: str


class BatchResult(Answer):
    """One message of a batch: ``status`` 200 with the counts, or what stood against it."""

    status: int
    message_id: str | None = None
    matched: int | None = None
    sent: int | None = None
    failed: int | None = None
    stream: str | None = None
    epoch: str | None = None
    offset: int | None = None
    code: str | None = None
    detail: str | None = None
    field: str | None = None
    errors: list[FieldError] | None = None


class Batch(Answer):
    """One result for each message, in order."""

    results: list[BatchResult]


class Recipient(Answer):
    """A connection that would get a message."""

    user_id: str
    connection_id: str


class Excluded(Answer):
    """Who would not get a message, and why."""

    user_id: str
    reason: Literal["excluded", "other_organization", "other_role", "offline", "not_joined"]
    connection_id: str | None = None
    will_be_kept: Annotated[bool | None, Meta(description="true: waits until they come")] = None


class Explanation(Answer):
    """Who would get a message, and who would not; of each the first 1000."""

    matched: int
    recipients: list[Recipient]
    excluded: list[Excluded]
    stream: Annotated[str | None, Meta(description="where it would be kept")] = None
    truncated: Annotated[bool | None, Meta(description="true: there are more")] = None


class Ticket(Answer):
    """For one handshake, within 30 seconds."""

    ticket: str
    expires_at: Time


class Revoked(Answer):
    """What was revoked, and how many connections that closed."""

    disconnected: int
    jti: str | None = None
    user_id: str | None = None


class AuditEntry(Answer):
    """One action of an administrator."""

    id: int
    at: Time
    actor: str
    role: str
    action: str
    target: str
    detail: dict[str, Any]
    outcome: str
    request_id: str
    remote_ip: str


class AuditTrail(Listing):
    """Entries, newest first."""

    entries: list[AuditEntry]


class Check(Answer):
    """One check; what else it says depends on what was checked."""

    ok: bool


class Health(Answer):
    """The state of the server."""

    status: Literal["ok", "degraded", "starting", "draining"]
    checks: dict[str, Check]


class Problem(Answer):
    """Every error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    field: str | None = None
    errors: list[FieldError] | None = None
