"""The face of the live side: connections come, join, talk and go through this one object."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wsserver.clock import Clock, rfc3339
from wsserver.errors import ConnectionLimit, Draining, ServerFull
from wsserver.identity.claims import Claims
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.ids import new_id
from wsserver.protocol.pushes import push
from wsserver.protocol.targets import EVERYONE, session, user
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.connect_state import Arrival, Arrivals
from wsserver.realtime.connections.connection import MONITOR, ConnectionInfo
from wsserver.realtime.connections.connection_limit import ConnectionLimits, ConnectionRoom
from wsserver.realtime.connections.expiry import TokenExpiry
from wsserver.realtime.connections.heartbeat import Heartbeat, HeartbeatSettings
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.dispatcher import Dispatcher
from wsserver.realtime.messages.message import Message, Sent
from wsserver.realtime.observability import events
from wsserver.realtime.observability.events import EventBus, Handler, Wanted
from wsserver.realtime.observability.monitors import Monitors
from wsserver.realtime.observability.statistics import Statistics
from wsserver.realtime.sessions.presence import Presence
from wsserver.realtime.sessions.sessions import Sessions
from wsserver.realtime.streams.streams import Streams
from wsserver.wire.frames import build_frame
from wsserver.wire.poller import Poller

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Newcomer:
    """What the handshake knows of a connection that it has let in."""

    claims: Claims
    endpoint: str
    session_id: str | None
    protocol: str
    remote_ip: str
    user_agent: str
    deflate_bits: int = 0
    """Window of the compression that was agreed on, as a power of two; 0: none was."""


class WebSocketManager:
    """Owns the live connections: ``connect``, ``disconnect``, ``send_to_user``, and so on.

    The collaborators are built by ``app.build()``; ``dispatcher`` is set there too, as its
    handlers need the manager first, and so is ``arrivals``, as inboxes tell its monitors.
    """

    dispatcher: Dispatcher
    arrivals: Arrivals
    on_claims: Callable[[Claims], None] | None = None
    """Told of the claims of everybody who connects, and of newer ones."""

    def __init__(
        self,
        *,
        hub: Hub,
        router: Router,
        poller: Poller,
        events: EventBus,
        statistics: Statistics,
        access: SessionAccess,
        members: Members,
        heartbeat: HeartbeatSettings,
        limits: ConnectionLimits,
        clock: Clock,
        streams: Streams,
        token_leeway_s: float = 0.0,
    ) -> None:
        self.hub = hub
        self.events = events
        self.statistics = statistics
        self.limits = limits
        self.is_starting = False
        """Is the server listening while what it has stored is not loaded yet?"""
        self.is_draining = False
        self.heartbeat = Heartbeat(hub, heartbeat, clock, self.close)
        self.room = ConnectionRoom(hub, self.heartbeat, limits, clock, self.close)
        self.monitors = Monitors(events, self.stats, clock, access.shows_contents)
        self.presence = Presence(hub, router, self.monitors, members, access)
        self.sessions = Sessions(hub, router, events, access, members, streams, self.presence)
        self._router = router
        self._poller = poller
        self._clock = clock
        self._expiry = TokenExpiry(token_leeway_s)

    # The indexes, by the names that the product has always had

    @property
    def connections(self) -> dict[str, ConnectionInfo]:
        """All connections, by id."""
        return self.hub.connections

    @property
    def user_connections(self) -> Mapping[str, set[str]]:
        """Connection ids by user."""
        return self.hub.user_connections

    @property
    def session_connections(self) -> Mapping[str, set[str]]:
        """Connection ids by session."""
        return self.hub.session_connections

    # Coming

    def admit(self, claims: Claims) -> None:
        """Raise what stands against one more connection of this user; changes nothing."""
        if self.is_draining:
            raise Draining("the server is about to stop", retry_after_s=2)
        if len(self.hub) >= self.limits.total:
            raise ServerFull("no room for another connection", retry_after_s=5)
        if self.room.is_full(claims.sub) and not self.limits.evicts_oldest:
            raise ConnectionLimit(f"at most {self.limits.per_user} connections a user")

    async def connect(
        self, fd: int, newcomer: Newcomer, *, response: bytes = b"", received: bytes = b""
    ) -> ConnectionInfo:
        """Take over a connected socket.

        ``response`` (the handshake's answer) goes out in one write with the first pushes;
        ``received`` is what the client has sent already. Raises what ``admit`` raises, and then
        leaves the descriptor to the caller; ``OSError`` when the system cannot watch the socket,
        which is closed then.
        """
        self.admit(newcomer.claims)
        async with self.arrivals.of(newcomer.claims, newcomer.session_id, self.admit) as arrival:
            return self._let_in(fd, newcomer, arrival, response, received)

    def _let_in(
        self, fd: int, newcomer: Newcomer, arrival: Arrival, response: bytes, received: bytes
    ) -> ConnectionInfo:
        if self.room.is_full(newcomer.claims.sub):
            oldest = self.hub.of_user(newcomer.claims.sub)[0]
            self.close(oldest, CloseCode.CONNECTION_LIMIT, "evicted by a newer connection")
        connection = self._register(newcomer)
        greeting = build_frame(self._established(connection, arrival))
        waiting = self.arrivals.inboxes.welcome(connection, arrival.waiting)
        connection.websocket = self._poller.adopt(
            fd,
            connection,
            first=received,
            greeting=b"".join((response, greeting, *waiting)),
            deflate_bits=newcomer.deflate_bits,
        )
        is_first = self.hub.add(connection)
        if self.on_claims is not None:
            self.on_claims(connection.claims)
        self.statistics.connects += 1
        self.statistics.messages_sent += 1 + len(waiting)
        self.heartbeat.add(connection)
        self._expiry.add(connection)
        self._announce(connection, is_first, arrival)
        self.arrivals.inboxes.greeted(connection, arrival.waiting)
        return connection

    def is_expected(self, newcomer: Newcomer) -> bool:
        """Can ``connect`` take it in without asking the storage for anything?"""
        return self.arrivals.is_expected(newcomer.claims, newcomer.session_id)

    def _register(self, newcomer: Newcomer) -> ConnectionInfo:
        wall = self._clock.wall()
        return ConnectionInfo(
            self,
            connection_id=new_id("conn", wall),
            claims=newcomer.claims,
            endpoint=newcomer.endpoint,
            session_id=newcomer.session_id,
            protocol=newcomer.protocol,
            # Thousands come through one proxy, with a handful of browsers: one text for all.
            remote_ip=sys.intern(newcomer.remote_ip),
            user_agent=sys.intern(newcomer.user_agent),
            connected_at=wall,
        )

    def _established(self, connection: ConnectionInfo, arrival: Arrival) -> bytes:
        settings = self.heartbeat.settings
        now = rfc3339(connection.connected_at)
        return push(
            "connection_established",
            now,
            connection_id=connection.connection_id,
            user_id=connection.user_id,
            session_id=connection.session_id,
            heartbeat_interval=settings.interval_s,
            heartbeat_timeout=settings.timeout_s,
            server_time=now,
            inbox={
                **arrival.inbox.position,
                "pending": arrival.waiting.count_for(connection),
            },
            organization_id=connection.claims.organization_id,
            organization=arrival.organization.position if arrival.organization else None,
            protocol=connection.protocol,
            max_message_bytes=self._poller.max_message_bytes,
        )

    def _announce(self, connection: ConnectionInfo, is_first: bool, arrival: Arrival) -> None:
        """Tell the newcomer where it is, and the others that it is there."""
        if connection.endpoint == MONITOR:
            self.monitors.add(connection)
        self.events.emit(
            events.USER_CONNECTED,
            user_id=connection.user_id,
            connection_id=connection.connection_id,
            session_id=connection.session_id,
            endpoint=connection.endpoint,
            connections=self.hub.user_connections.count(connection.user_id),
        )
        self.presence.came(connection, is_first=is_first)
        if connection.session_id is not None and arrival.session is not None:
            joined = self.sessions.join(connection, connection.session_id, arrival.session)
            self._router.push(connection, "session_joined", **joined)
        self._warn_if_due(connection)

    # Sending

    async def send_to_user(self, user_id: str, type_: str, **members: Any) -> Sent:
        """Push to all connections of a user, on every node."""
        return await self._router.send(Message(type_, members, user(user_id)))

    async def send_to_session(self, session_id: str, type_: str, **members: Any) -> Sent:
        """Push to all connections in a session, on every node."""
        return await self._router.send(Message(type_, members, session(session_id)))

    async def broadcast(self, type_: str, **members: Any) -> Sent:
        """Push to everybody, on every node."""
        return await self._router.send(Message(type_, members, EVERYONE))

    # Receiving

    async def handle_message(self, connection: ConnectionInfo, message: str | bytes) -> None:
        """Take a text message as if it had come from the connection's socket."""
        self.received(connection, message.encode() if isinstance(message, str) else message)

    def received(self, connection: ConnectionInfo, payload: bytes) -> None:
        """A text message has come off the wire."""
        if connection.is_alive:
            self.dispatcher.receive(connection, payload)

    def flooded(self, connection: ConnectionInfo) -> bool:
        """An RFC 6455 ping or unasked pong has come; they are charged like messages."""
        return connection.is_alive and self.dispatcher.spend(connection) > 0

    def ponged(self, connection: ConnectionInfo, payload: bytes) -> None:
        """An RFC 6455 pong has come; its payload is the id of the ping.

        One that nobody asked for is charged like a message.
        """
        if not self.heartbeat.note_pong(connection, payload.decode("ascii", "replace")):
            self.flooded(connection)

    # Tokens

    def renew(self, connection: ConnectionInfo, claims: Claims) -> None:
        """Put newer claims of the same user in force, and what they no longer allow to an end."""
        self._expiry.discard(connection)
        former = connection.claims
        self.hub.reclaim(connection, claims)
        self.presence.renewed(connection, former)
        if self.on_claims is not None:
            self.on_claims(claims)
        self._expiry.add(connection)
        self._warn_if_due(connection)
        if connection.is_monitor and not self.sessions.access.allows_monitoring(claims):
            self.close(connection, CloseCode.FORBIDDEN, "not permitted to monitor any more")
        self.sessions.enforce_access(connection, self.close)

    def expire_tokens(self) -> None:
        """Warn those whose token is about to run out, close those whose has."""
        warn, expired = self._expiry.due(self._clock.wall())
        for connection in warn:
            self._warn(connection)
        for connection in expired:
            self.close(connection, CloseCode.TOKEN_EXPIRED, "token expired")

    def _warn_if_due(self, connection: ConnectionInfo) -> None:
        if self._expiry.is_to_be_warned(connection, self._clock.wall()):
            self._warn(connection)

    def _warn(self, connection: ConnectionInfo) -> None:
        expires_at = rfc3339(connection.claims.exp)
        self._router.push(connection, "token_expiring", expires_at=expires_at)

    # Going

    async def disconnect(
        self, connection_id: str, code: int = CloseCode.NORMAL, reason: str = ""
    ) -> bool:
        """Close a connection by id; False if there is none."""
        connection = self.hub.connections.get(connection_id)
        if connection is None:
            return False
        self.close(connection, code, reason)
        return True

    def close(self, connection: ConnectionInfo, code: int, reason: str) -> None:
        """Close a connection: it gets nothing more from this moment on."""
        if connection.is_alive:
            self._retire(connection, code, reason)
            connection.websocket.close(code, reason)

    def closed(self, connection: ConnectionInfo, code: int, reason: str) -> None:
        """The wire says that a connection has ended."""
        if connection.is_alive:
            self._retire(connection, code, reason)

    def _retire(self, connection: ConnectionInfo, code: int, reason: str) -> None:
        connection.is_alive = False
        self.statistics.disconnections += 1
        self._expiry.discard(connection)
        sessions = self.presence.sessions_of(connection)
        # While draining everybody goes: telling those who are next that others went is no use,
        # and would cost the square of their number.
        self.sessions.leave_all(connection, quietly=self.is_draining)
        is_last = self.hub.remove(connection, code, reason)
        if connection.endpoint == MONITOR:
            self.monitors.remove(connection)
        self.heartbeat.give_up(connection)
        self.arrivals.inboxes.forget(connection)
        log.info(
            "connection closed connection_id=%s user_id=%s code=%d reason=%s",
            connection.connection_id,
            connection.user_id,
            code,
            reason,
        )
        self.events.emit(
            events.USER_DISCONNECTED,
            user_id=connection.user_id,
            connection_id=connection.connection_id,
            session_id=connection.session_id,
            endpoint=connection.endpoint,
            code=int(code),
            reason=reason,
            connections=self.hub.user_connections.count(connection.user_id),
        )
        if not self.is_draining:
            self.presence.gone(connection, sessions, is_last=is_last)

    def drain(self) -> None:
        """Let nobody in any more, and tell everybody to come back, each at another time.

        The times are spread so that not all come back at once: 500 a second, but over five
        seconds at least.
        """
        self.is_draining = True
        connections = list(self.hub)
        window_ms = max(5000, 2 * len(connections))
        for index, connection in enumerate(connections):
            after_ms = 1000 + index * window_ms // len(connections)
            self._router.push(connection, "server_draining", reconnect_after_ms=after_ms)
            self.close(
                connection, CloseCode.RESTART, f"server restarts; reconnect_after_ms={after_ms}"
            )

    # Figures

    def stats(self, organization_id: str | None = None) -> dict[str, Any]:
        """The statistics of now."""
        return self.statistics.snapshot(
            self.hub,
            self.heartbeat.settings.timeout_s,
            self.heartbeat.resumed_at,
            organization_id,
        )

    # Events

    def add_event_handler(self, name: Wanted, handler: Handler) -> None:
        """Call ``handler`` with each event whose name matches the glob ``name``."""
        self.events.add_event_handler(name, handler)

    def emit(self, name: str, **fields: Any) -> None:
        """Raise an event, built in or custom."""
        self.events.emit(name, **fields)


__all__ = ["ConnectionLimits", "Newcomer", "WebSocketManager"]
