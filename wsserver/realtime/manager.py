"""``WebSocketManager``: connects and closes connections, sends to users, sessions and all."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.control import Control
from wsserver.cluster.directory import (
    Change,
    ConnectionDirectory,
    LostConnection,
    Reservation,
    SessionUsers,
)
from wsserver.errors import ConnectionLimit, Draining, ServerFull
from wsserver.identity.claims import Claims
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.ids import new_id
from wsserver.protocol.pushes import push
from wsserver.protocol.targets import EVERYONE, session, user
from wsserver.protocol.types import Position
from wsserver.realtime.connect_state import ConnectState, ConnectStateLoader
from wsserver.realtime.connections.connection import MONITOR, ConnectionInfo
from wsserver.realtime.connections.connection_limit import (
    EVICTED,
    ConnectionLimiter,
    ConnectionLimits,
)
from wsserver.realtime.connections.expiry import TokenExpiry
from wsserver.realtime.connections.heartbeat import Heartbeat
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.local_delivery import ConnectionWriter
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.dispatcher import Dispatcher
from wsserver.realtime.event_streams import EventStreams, EventStreamStart
from wsserver.realtime.inbox.inboxes import Inboxes
from wsserver.realtime.messages.message import Message, Sent
from wsserver.realtime.observability import events
from wsserver.realtime.observability.events import EventBus, Handler, Wanted
from wsserver.realtime.observability.monitors import Monitors
from wsserver.realtime.observability.statistics import Statistics
from wsserver.realtime.sessions.presence import Presence
from wsserver.realtime.sessions.sessions import Sessions
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.tasks import Tasks
from wsserver.wire.event_stream import EventStream
from wsserver.wire.frames import ABNORMAL, build_frame
from wsserver.wire.poller import Poller

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConnectRequest:
    """A connection that has passed the handshake: its claims, endpoint and client."""

    claims: Claims
    endpoint: str
    session_id: str | None
    protocol: str
    remote_ip: str
    user_agent: str
    deflate_bits: int = 0
    """Negotiated compression window (``max_window_bits``); 0: no compression."""
    reservation: Reservation | None = None
    """Of its place among the user's connections; ``connect`` ends it."""
    cursor: Mapping[str, Position] | None = None
    """Of an event stream, empty for a new one; None: a WebSocket."""
    is_by_ticket: bool = False
    """Whether it was opened with a ticket: then its client may have no token for its commands."""


class WebSocketManager:
    """Owner of the live connections: ``connect``, ``disconnect``, ``send_to_user``, and so on.

    Built by ``realtime.wiring``. ``stats`` returns the statistics of an organization, or of all;
    ``on_claims`` is called with the claims of each new connection, and with renewed ones.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        connections: ConnectionDirectory,
        control: Control,
        router: Router,
        writer: ConnectionWriter,
        poller: Poller,
        events: EventBus,
        statistics: Statistics,
        stats: Callable[[str | None], dict[str, Any]],
        heartbeat: Heartbeat,
        limits: ConnectionLimits,
        monitors: Monitors,
        presence: Presence,
        sessions: Sessions,
        inboxes: Inboxes,
        event_streams: EventStreams,
        connect_states: ConnectStateLoader,
        dispatcher: Dispatcher,
        on_claims: Callable[[Claims], None],
        clock: Clock,
        tasks: Tasks,
        token_leeway_s: float = 0.0,
    ) -> None:
        self.hub = hub
        self.events = events
        self.statistics = statistics
        self.limits = limits
        self.heartbeat = heartbeat
        self.room = ConnectionLimiter(hub, heartbeat, limits, connections, control, clock, tasks)
        self.monitors = monitors
        self.presence = presence
        self.sessions = sessions
        self.dispatcher = dispatcher
        self.is_starting = True
        """Whether stored state is not loaded yet; requests are refused with ``starting``."""
        self.is_draining = False
        self._directory = connections
        self._router = router
        self._writer = writer
        self._poller = poller
        self._stats = stats
        self._inboxes = inboxes
        self._event_streams = event_streams
        self._connect_states = connect_states
        self._on_claims = on_claims
        self._clock = clock
        self._expiry = TokenExpiry(token_leeway_s)
        connections.add_lost_listener(self._lost)

    def started(self) -> None:
        """End the state ``is_starting``: everything stored is loaded."""
        self.is_starting = False

    # The indexes, as plain mappings

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

    # Connecting

    def admit(self, claims: Claims) -> None:
        """Check that one more connection of this user is allowed.

        Raises ``Draining``, ``ServerFull``, ``ConnectionLimit``.
        """
        if self.is_draining:
            raise Draining("the server is about to stop", retry_after_s=2)
        if len(self.hub) >= self.limits.total:
            raise ServerFull(
                f"the server has its maximum of {self.limits.total} connections", retry_after_s=5
            )
        if self.room.is_full(claims.sub) and not self.limits.evicts_oldest:
            raise ConnectionLimit(f"at most {self.limits.per_user} connections per user")

    async def connect(
        self, fd: int, request: ConnectRequest, *, response: bytes = b"", received: bytes = b""
    ) -> ConnectionInfo:
        """Take over a connected socket.

        ``response`` (of the handshake) is sent in one write with the first pushes; ``received``:
        bytes that were read from the socket after the request. Raises what ``admit`` raises, and
        then leaves the descriptor to the caller; ``OSError`` if the system cannot watch the socket,
        which is closed then. An event stream is not opened in an iteration of the event loop in
        which its cursor is not exact: what it missed is sent before anything newer.
        """
        try:
            self.admit(request.claims)
            users = None
            if request.session_id is not None:
                reading = self.sessions.users_of_all_nodes(request.session_id)
                if reading is not None:
                    users = await reading
                    self.admit(request.claims)
                    self._connect_states.recheck(request.claims, request.session_id)
            connection = self._register(request)
            since = request.cursor
            if since:
                since = await self._event_streams.readable(connection, since)
            async with self._connect_states.load(
                request.claims, request.session_id, self.admit, since
            ) as state:
                return self._accept(fd, connection, request, state, users, response, received)
        except BaseException:
            self.cancel(request.reservation)
            raise

    def cancel(self, reservation: Reservation | None) -> None:
        """Release the reservation of a connect that has failed."""
        if reservation is not None:
            self._directory.cancel(reservation)

    def _accept(
        self,
        fd: int,
        connection: ConnectionInfo,
        request: ConnectRequest,
        state: ConnectState,
        users: SessionUsers | None,
        response: bytes,
        received: bytes,
    ) -> ConnectionInfo:
        if self.room.is_full(request.claims.sub):
            oldest = self.hub.of_user(request.claims.sub)[0]
            self.close(oldest, CloseCode.CONNECTION_LIMIT, EVICTED)
        waiting = self._inboxes.welcome(connection, state.waiting)
        start: EventStreamStart | None = None
        if request.cursor is None:
            pushes = [self._established(connection, state), *waiting]
            connection.websocket = self._poller.adopt(
                fd,
                connection,
                first=received,
                greeting=b"".join((response, *map(build_frame, pushes))),
                deflate_bits=request.deflate_bits,
            )
        else:
            start = self._event_streams.start(connection, state, request.cursor, waiting)
            established = self._established(connection, state, channel=str(start.channel))
            stream = self._event_streams.open(start, fd, response, established)
            stream.needs_token = not request.is_by_ticket
            connection.websocket = stream
        self.hub.add(connection)
        self._on_claims(connection.claims)
        self.statistics.connects += 1
        self.statistics.messages_sent += 1 + len(waiting)
        self.heartbeat.add(connection)
        self._expiry.add(connection)
        self._announce(connection, request.reservation, state, users, start)
        self._inboxes.greeted(connection, state.waiting)
        return connection

    def can_connect_now(self, request: ConnectRequest) -> bool:
        """Whether ``connect`` needs neither storage nor other nodes."""
        if request.session_id is not None and self._directory.is_shared:
            return False
        return self._connect_states.is_in_memory(request.claims, request.session_id)

    def _register(self, request: ConnectRequest) -> ConnectionInfo:
        wall = self._clock.wall()
        return ConnectionInfo(
            self,
            connection_id=new_id("conn", wall),
            claims=request.claims,
            endpoint=request.endpoint,
            session_id=request.session_id,
            protocol=request.protocol,
            # Few different values for many connections (proxies, browsers): share the strings.
            remote_ip=sys.intern(request.remote_ip),
            user_agent=sys.intern(request.user_agent),
            connected_at=wall,
        )

    def _established(self, connection: ConnectionInfo, state: ConnectState, **more: str) -> bytes:
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
                **state.inbox.position,
                "pending": state.waiting.count_for(connection),
            },
            organization_id=connection.claims.organization_id,
            organization=state.organization.position if state.organization else None,
            protocol=connection.protocol,
            max_message_bytes=self._poller.max_message_bytes,
            **more,
        )

    def _announce(
        self,
        connection: ConnectionInfo,
        reservation: Reservation | None,
        state: ConnectState,
        users: SessionUsers | None,
        start: EventStreamStart | None,
    ) -> None:
        """Push and emit what follows a connect: events, presence, ``session_joined``."""
        if connection.endpoint == MONITOR:
            self.monitors.add(connection)
        opened = partial(self._opened, connection)
        self._directory.opened(connection.connection_id, connection.user_id, reservation, opened)
        if connection.session_id is not None:
            self._join_bound(connection, connection.session_id, state, users, start)
        if start is not None:
            start.replay(self.sessions)
            self.statistics.messages_sent += start.count
        self._warn_if_due(connection)

    def _join_bound(
        self,
        connection: ConnectionInfo,
        session_id: str,
        state: ConnectState,
        users: SessionUsers | None,
        start: EventStreamStart | None,
    ) -> None:
        """Join a bound connection to its session; an event stream goes on at its cursor."""
        if state.session is None:
            return
        joined = self.sessions.join(connection, session_id, state.session, users, state.positions)
        if start is not None:
            place = start.position_in(SESSION + session_id, state.session)
            joined |= {**place.position, "recovered": start.has_resumed(SESSION + session_id)}
        self._writer.push(connection, "session_joined", **joined)

    def _opened(self, connection: ConnectionInfo, change: Change) -> None:
        """A connection is entered in the directory."""
        self.events.emit(
            events.USER_CONNECTED,
            user_id=connection.user_id,
            connection_id=connection.connection_id,
            session_id=connection.session_id,
            endpoint=connection.endpoint,
            connections=change.connections,
        )
        self.presence.came(connection, change)
        self.room.opened(connection.user_id, change)

    # Sending

    async def send_to_user(self, user_id: str, type_: str, **members: Any) -> Sent:
        """Push to all connections of a user, on every node."""
        return await self._router.send(Message(type_, members, user(user_id)))

    async def send_to_session(self, session_id: str, type_: str, **members: Any) -> Sent:
        """Push to all connections in a session, on every node."""
        return await self._router.send(Message(type_, members, session(session_id)))

    async def broadcast(self, type_: str, **members: Any) -> Sent:
        """Push to all connections, on every node."""
        return await self._router.send(Message(type_, members, EVERYONE))

    # Receiving

    async def handle_message(self, connection: ConnectionInfo, message: str | bytes) -> None:
        """Handle a text message as if it was received from the connection's socket."""
        self.received(connection, message.encode() if isinstance(message, str) else message)

    def received(self, connection: ConnectionInfo, payload: bytes) -> None:
        """A text message was received."""
        if connection.is_alive:
            self.dispatcher.receive(connection, payload)

    def flooded(self, connection: ConnectionInfo) -> bool:
        """An RFC 6455 ping or unsolicited pong was received; counts as a message."""
        return connection.is_alive and self.dispatcher.spend(connection) > 0

    def ponged(self, connection: ConnectionInfo, payload: bytes) -> None:
        """An RFC 6455 pong was received; its payload is the id of the ping.

        An unsolicited one counts as a message.
        """
        if not self.heartbeat.note_pong(connection, payload.decode("ascii", "replace")):
            self.flooded(connection)

    # Tokens

    def renew(self, connection: ConnectionInfo, claims: Claims) -> None:
        """Replace the claims by newer ones of the same user, and enforce them."""
        self._expiry.discard(connection)
        former = connection.claims
        self.hub.reclaim(connection, claims)
        self._directory.updated(connection.connection_id)
        self.presence.renewed(connection, former)
        self._on_claims(claims)
        self._expiry.add(connection)
        self._warn_if_due(connection)
        if connection.is_monitor and not self.sessions.access.allows_monitoring(claims):
            self.close(connection, CloseCode.FORBIDDEN, "not permitted to monitor any more")
        self.sessions.enforce_access(connection)

    def expire_tokens(self) -> None:
        """Push ``token_expiring`` where a token is about to expire, close where it has expired."""
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
        self._writer.push(connection, "token_expiring", expires_at=expires_at)

    # Closing

    async def disconnect(
        self, connection_id: str, code: int = CloseCode.NORMAL, reason: str = ""
    ) -> bool:
        """Close a connection by id; False if there is no such connection."""
        connection = self.hub.connections.get(connection_id)
        if connection is None:
            return False
        self.close(connection, code, reason)
        return True

    def close(self, connection: ConnectionInfo, code: int, reason: str) -> None:
        """Close a connection; nothing more is sent to it."""
        if connection.is_alive:
            self._retire(connection, code, reason)
            connection.websocket.close(code, reason)

    def closed(self, connection: ConnectionInfo, code: int, reason: str) -> None:
        """A connection was closed by the client or the network."""
        if connection.is_alive:
            self._retire(connection, code, reason)

    def _retire(self, connection: ConnectionInfo, code: int, reason: str) -> None:
        connection.is_alive = False
        self.statistics.disconnections += 1
        self._expiry.discard(connection)
        sessions = self.presence.sessions_of(connection)
        # While draining all are closed: pushing each end to the others would cost the square of
        # their number.
        self.sessions.leave_all(connection, quietly=self.is_draining)
        self.hub.remove(connection, code, reason)
        if connection.endpoint == MONITOR:
            self.monitors.remove(connection)
        self.heartbeat.forget(connection)
        self._inboxes.forget(connection)
        log.info(
            "connection closed connection_id=%s user_id=%s code=%d reason=%s",
            connection.connection_id,
            connection.user_id,
            code,
            reason,
        )
        self._directory.closed(
            connection.connection_id,
            connection.user_id,
            partial(self._ended, connection, sessions, code, reason),
            is_handed_over=self.is_draining,
        )

    def _ended(
        self,
        connection: ConnectionInfo,
        sessions: set[str],
        code: int,
        reason: str,
        change: Change,
    ) -> None:
        """A connection is out of the directory."""
        self.events.emit(
            events.USER_DISCONNECTED,
            user_id=connection.user_id,
            connection_id=connection.connection_id,
            session_id=connection.session_id,
            endpoint=connection.endpoint,
            code=int(code),
            reason=reason,
            connections=change.connections,
        )
        self.presence.gone(connection, sessions, change)

    def _lost(self, lost: LostConnection) -> None:
        """A connection has ended with its node."""
        connection = lost.connection
        self.sessions.lost(lost)
        self.events.emit(
            events.USER_DISCONNECTED,
            user_id=connection.user_id,
            connection_id=connection.connection_id,
            session_id=connection.session_id,
            endpoint=connection.endpoint,
            code=ABNORMAL,
            reason=f"node {connection.node} was lost",
            connections=lost.change.connections,
        )
        self.presence.lost(connection, lost.change)

    def drain(self) -> None:
        """Refuse new connections; close all with ``server_draining`` and a time to reconnect.

        The times are spread: 500 connections a second, but over five seconds at least.
        """
        self.is_draining = True
        connections = list(self.hub)
        window_ms = max(5000, 2 * len(connections))
        for index, connection in enumerate(connections):
            after_ms = 1000 + index * window_ms // len(connections)
            self._writer.push(connection, "server_draining", reconnect_after_ms=after_ms)
            if isinstance(connection.websocket, EventStream):
                connection.websocket.send_retry(after_ms)
            self.close(
                connection, CloseCode.RESTART, f"server restarts; reconnect_after_ms={after_ms}"
            )

    # Statistics

    def stats(self, organization_id: str | None = None) -> dict[str, Any]:
        """The current statistics, of an organization or of the whole server."""
        return self._stats(organization_id)

    # Events

    def add_event_handler(self, name: Wanted, handler: Handler) -> None:
        """Call ``handler`` with each event whose name matches the glob ``name``."""
        self.events.add_event_handler(name, handler)

    def emit(self, name: str, **fields: Any) -> None:
        """Emit an event, built in or custom."""
        self.events.emit(name, **fields)


__all__ = ["ConnectRequest", "ConnectionLimits", "WebSocketManager"]
