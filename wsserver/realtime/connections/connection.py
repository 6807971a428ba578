"""What is known about one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from wsserver.clock import rfc3339
from wsserver.protocol.close_codes import CloseCode
from wsserver.realtime.connections.rate_limit import TokenBucket

if TYPE_CHECKING:
    from wsserver.identity.claims import Claims
    from wsserver.wire.transport import Transport

CHAT = "chat"
SESSION = "session"
MONITOR = "monitor"
V1 = "wsserver.v1"
PLAIN = "plain"


class Gate(Protocol):
    """What a connection reports to: the manager."""

    def received(self, connection: ConnectionInfo, payload: bytes) -> None:
        """A text message has come in."""

    def ponged(self, connection: ConnectionInfo, payload: bytes) -> None:
        """An RFC 6455 pong has come in."""

    def flooded(self, connection: ConnectionInfo) -> bool:
        """An RFC 6455 ping has come in; True if the connection sends too many."""
        ...

    def closed(self, connection: ConnectionInfo, code: int, reason: str) -> None:
        """The connection has ended, for whatever reason."""


class Close(Protocol):
    """Ends a connection: the manager's ``close``."""

    def __call__(self, connection: ConnectionInfo, code: int, reason: str) -> None:
        """Close with a code and a reason of at most 123 bytes."""


class ConnectionInfo:
    """One WebSocket: whose it is, what it has joined, when it was last heard of.

    ``connected_at``, ``last_ping`` and ``last_pong`` are wall-clock seconds; ``rtt_ms`` is None
    until a ping was answered. Slots, because there are as many of these as connections.
    """

    __slots__ = (
        "backlog",
        "bucket",
        "claims",
        "connected_at",
        "connection_id",
        "endpoint",
        "gate",
        "is_alive",
        "is_warned_of_expiry",
        "last_ping",
        "last_pong",
        "ping_id",
        "pinged_at",
        "protocol",
        "remote_ip",
        "rtt_ms",
        "session_id",
        "sessions",
        "since_tick",
        "subscription",
        "user_agent",
        "waiters",
        "websocket",
    )

    websocket: Transport

    def __init__(
        self,
        gate: Gate,
        *,
        connection_id: str,
        claims: Claims,
        endpoint: str,
        session_id: str | None,
        protocol: str,
        remote_ip: str,
        user_agent: str,
        connected_at: float,
    ) -> None:
        self.gate = gate
        self.connection_id = connection_id
        self.claims = claims
        self.endpoint = endpoint
        self.session_id = session_id
        self.protocol = protocol
        self.remote_ip = remote_ip
        self.user_agent = user_agent
        self.connected_at = connected_at
        self.last_ping = connected_at
        self.last_pong = connected_at
        self.is_alive = True
        self.is_warned_of_expiry = False
        self.ping_id = ""
        self.pinged_at = 0.0
        self.rtt_ms: float | None = None
        self.sessions: dict[str, int] | None = None
        """Joined, each with the tick of the attendance at which that was."""
        self.since_tick = 0
        """The tick from which on it is there, with the claims that it has."""
        self.bucket: TokenBucket | None = None
        self.backlog: Any = None
        self.subscription: Any = None
        self.waiters: Any = None

    def __repr__(self) -> str:
        return f"<ConnectionInfo {self.connection_id} user={self.user_id}>"

    @property
    def user_id(self) -> str:
        """The token's ``sub``."""
        return self.claims.sub

    @property
    def metadata(self) -> dict[str, Any]:
        """Name, role and organization, from the token."""
        claims = self.claims
        return {
            "username": claims.username,
            "role": claims.role,
            "organization_id": claims.organization_id,
        }

    @property
    def is_monitor(self) -> bool:
        """Does it watch the server rather than chat?"""
        return self.endpoint == MONITOR

    def is_dead(self, now: float, timeout_s: float, resumed_at: float) -> bool:
        """Has nothing been heard for ``timeout_s``, time the server itself stood still aside?

        Not while frames of it wait behind a slow command: its socket may be left unread then.
        """
        if self.backlog:
            return False
        return now >= max(self.websocket.last_heard, resumed_at) + timeout_s

    def view(self) -> dict[str, Any]:
        """The connection as the REST API shows it."""
        return {
            "connection_id": self.connection_id,
            "user_id": self.user_id,
            "session_id": self.session_id,
            "sessions": sorted(self.sessions or ()),
            "connected_at": rfc3339(self.connected_at),
            "last_ping": rfc3339(self.last_ping),
            "last_pong": rfc3339(self.last_pong),
            "is_alive": self.is_alive,
            "metadata": self.metadata,
            "remote_ip": self.remote_ip,
            "user_agent": self.user_agent,
            "endpoint": self.endpoint,
            "protocol": self.protocol,
            "rtt_ms": self.rtt_ms,
            "queued_bytes": self.websocket.queued_bytes,
        }

    # What the transport calls; the decisions are the gate's.

    def on_text(self, transport: Transport, payload: bytes) -> None:
        """A complete, valid text message."""
        self.gate.received(self, payload)

    def on_binary(self, transport: Transport, payload: bytes) -> None:
        """The contract knows only text."""
        transport.close(CloseCode.UNSUPPORTED_DATA, "text only")

    def on_ping(self, transport: Transport, payload: bytes) -> None:
        """The transport has answered already; only the amount matters here."""
        self.gate.flooded(self)

    def on_pong(self, transport: Transport, payload: bytes) -> None:
        """The answer to a heartbeat, or an unasked one (RFC 6455 §5.5.3)."""
        self.gate.ponged(self, payload)

    def on_close(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
        """The end, reported once."""
        self.gate.closed(self, code, reason)
