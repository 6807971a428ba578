"""``WebSocketManager``: connects and closes connections, sends to users, sessions and all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.control import Control
from wsserver.cluster.directory import (
    Change,
    ConnectionDirectory,
    LostConnection,
    Reservation,
)
from wsserver.identity.claims import Claims
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.targets import EVERYONE, session, user
from wsserver.realtime.connect_state import ConnectStateLoader
from wsserver.realtime.connecting import Connector, ConnectRequest
from wsserver.realtime.connections.connection import MONITOR, ConnectionInfo
from wsserver.realtime.connections.connection_limit import (
    ConnectionLimiter,
    ConnectionLimits,
)
from wsserver.realtime.connections.drain_plan import drain_order, reconnect_times_ms
from wsserver.realtime.connections.expiry import TokenExpiry
from wsserver.realtime.connections.heartbeat import Heartbeat
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.connections.openings import Openings
from wsserver.realtime.delivery.local_delivery import ConnectionWriter
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.dispatcher import Dispatcher
from wsserver.realtime.event_streams import EventStreams
from wsserver.realtime.inbox.inboxes import Inboxes
from wsserver.realtime.messages.message import Message, Sent
from wsserver.realtime.observability import events
from wsserver.realtime.observability.events import EventBus, Handler, Wanted
from wsserver.realtime.observability.monitors import Monitors
from wsserver.realtime.observability.statistics import Statistics
from wsserver.realtime.sessions.presence import Presence
from wsserver.realtime.sessions.sessions import Sessions
from wsserver.tasks import Tasks
from wsserver.wire.event_stream import EventStream
from wsserver.wire.frames import ABNORMAL
from wsserver.wire.poller import Poller

log = logging.getLogger(__name__)


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
        openings: Openings,
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
        self._stats = stats
        self._inboxes = inboxes
        self._on_claims = on_claims
        self._clock = clock
        self._expiry = TokenExpiry(token_leeway_s)
        self._connector = Connector(
            self,
            hub=hub,
            room=self.room,
            limits=limits,
            directory=connections,
            connect_states=connect_states,
            sessions=sessions,
            inboxes=inboxes,
            event_streams=event_streams,
            poller=poller,
            writer=writer,
            heartbeat=heartbeat,
            expiry=self._expiry,
            openings=openings,
            monitors=monitors,
            statistics=statistics,
            opened=self._opened,
            greeted=self._warn_if_due,
            on_claims=on_claims,
            clock=clock,
        )
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
        self._connector.admit(claims)

    async def connect(
        self, fd: int, request: ConnectRequest, *, response: bytes = b"", received: bytes = b""
    ) -> ConnectionInfo:
        """Take over a connected socket; see ``Connector.connect``."""
        return await self._connector.connect(fd, request, response=response, received=received)

    def cancel(self, reservation: Reservation | None) -> None:
        """Release the reservation of a connect that has failed."""
        self._connector.cancel(reservation)

    def connect_now(
        self, fd: int, request: ConnectRequest, *, response: bytes = b"", received: bytes = b""
    ) -> ConnectionInfo | None:
        """``connect`` that needs neither storage nor other nodes; None: it has to be awaited."""
        return self._connector.connect_now(fd, request, response=response, received=received)

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
        """Refuse new connections; close all with ``server_draining`` and a time to reconnect."""
        self.is_draining = True
        connections = drain_order(self.hub)
        times_ms = reconnect_times_ms(len(connections))
        for connection, after_ms in zip(connections, times_ms, strict=True):
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
