"""``ConnectionInfo``: the state of one WebSocket connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from wsserver.clock import rfc3339
from wsserver.identity.claims import Claims
from wsserver.protocol.close_codes import CloseCode
from wsserver.realtime.connections.interfaces import ConnectionOwnerOf
from wsserver.realtime.connections.rate_limit import TokenBucket
from wsserver.wire.transport import Transport

CHAT = "chat"
SESSION = "session"
MONITOR = "monitor"
V1 = "wsserver.v1"
PLAIN = "plain"
WEBSOCKET = "websocket"
SSE = "sse"

UNWATCHED, WATCHED, WARNED = range(3)
"""Of ``expiry_watch``: whether the end of the token is watched, and its client warned of it."""

BACKLOG_LIMIT = 1024
BACKLOG_LIMIT_BYTES = 256 * 1024
"""Messages queued behind a slow command before reading from the connection is paused."""


ConnectionOwner: TypeAlias = ConnectionOwnerOf["ConnectionInfo"]
"""What a connection's events are reported to: the manager."""

ReplyTo = Callable[[bytes | None], None]
"""Gets the reply to a command that came in a request; None: there is none."""


class Backlog:
    """Queue of the messages that wait behind a connection's slow command.

    Each with what gets its reply; None: the connection itself.
    """

    __slots__ = ("_messages", "_size")

    def __init__(self) -> None:
        self._messages: deque[tuple[bytes, ReplyTo | None]] = deque()
        self._size = 0

    def __len__(self) -> int:
        return len(self._messages)

    def __bool__(self) -> bool:
        """Whether messages wait; compiled code does not derive it from the length."""
        return bool(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether reading from the connection has to pause."""
        return len(self._messages) >= BACKLOG_LIMIT or self._size >= BACKLOG_LIMIT_BYTES

    def append(self, payload: bytes, reply_to: ReplyTo | None = None) -> None:
        """Add a message at the end."""
        self._messages.append((payload, reply_to))
        self._size += len(payload)

    def take(self) -> tuple[bytes, ReplyTo | None]:
        """Remove and return the oldest message."""
        payload, reply_to = self._messages.popleft()
        self._size -= len(payload)
        return payload, reply_to


class ConnectionInfo:
    """A WebSocket connection: its user, the sessions it has joined, its heartbeat.

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
        "expiry_watch",
        "follows_notifications",
        "is_alive",
        "last_ping",
        "last_pong",
        "owner",
        "ping_id",
        "pinged_at",
        "protocol",
        "remote_ip",
        "rtt_ms",
        "session_id",
        "sessions",
        "since_tick",
        "user_agent",
        "websocket",
    )

    websocket: Transport
    """Of WebSocket or of Server-Sent Events."""

    def __init__(
        self,
        owner: ConnectionOwner,
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
        self.owner = owner
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
        self.expiry_watch = UNWATCHED
        self.follows_notifications = False
        """Whether it has listed its user's notifications, and gets their changes."""
        self.ping_id = ""
        self.pinged_at = 0.0
        self.rtt_ms: float | None = None
        self.sessions: dict[str, int] | None = None
        """The joined sessions, each with the tick of the connection log when it was joined."""
        self.since_tick = 0
        """The tick of the connection log since which it is connected with its present claims."""
        self.bucket: TokenBucket | None = None
        self.backlog: Backlog | None = None
        """None unless a slow command is running."""

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
        """Whether it is a monitor of the server (``/ws/admin/monitor``)."""
        return self.endpoint == MONITOR

    def is_dead(self, now: float, timeout_s: float, resumed_at: float) -> bool:
        """Whether nothing was received for ``timeout_s``, or since ``resumed_at`` if that is later.

        Never while messages wait in its backlog: its socket may not be read then.
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
            "transport": SSE if self.websocket.is_event_stream else WEBSOCKET,
            "protocol": self.protocol,
            "rtt_ms": self.rtt_ms,
            "queued_bytes": self.websocket.queued_bytes,
        }

    def close(self, code: int, reason: str) -> None:
        """Close the connection; ``reason``: 123 bytes at most."""
        self.owner.close(self, code, reason)

    # Called by the transport; the owner decides.

    def on_text(self, transport: Transport, payload: bytes) -> None:
        """A complete, valid text message."""
        self.owner.received(self, payload)

    def on_binary(self, transport: Transport, payload: bytes) -> None:
        """A binary message: the protocol has text messages only."""
        transport.close(CloseCode.UNSUPPORTED_DATA, "text only")

    def on_ping(self, transport: Transport, payload: bytes) -> None:
        """A ping, which the transport has answered; here it counts against the rate limit."""
        self.owner.flooded(self)

    def on_pong(self, transport: Transport, payload: bytes) -> None:
        """A pong: the answer to a ping, or unsolicited (RFC 6455 §5.5.3)."""
        self.owner.ponged(self, payload)

    def on_close(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
        """The end of the connection; called once."""
        self.owner.closed(self, code, reason)
