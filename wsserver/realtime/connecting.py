"""``Connector``: takes over sockets after the handshake, greets them, joins bound sessions."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from msgspec import UNSET, Struct, UnsetType

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.directory import Change, ConnectionDirectory, Reservation, SessionUsers
from wsserver.errors import ConnectionLimit, Draining, ServerFull
from wsserver.identity.claims import Claims
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.ids import new_id
from wsserver.protocol.pushes import ConnectionEstablished
from wsserver.protocol.strict_json import encode
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
from wsserver.realtime.connections.interfaces import AcceptingOwnerOf
from wsserver.realtime.connections.openings import Openings
from wsserver.realtime.delivery.local_delivery import ConnectionWriter
from wsserver.realtime.event_streams import EventStreams, EventStreamStart
from wsserver.realtime.inbox.inboxes import Inboxes
from wsserver.realtime.observability.monitors import Monitors
from wsserver.realtime.observability.statistics import Statistics
from wsserver.realtime.sessions.sessions import Sessions
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.wire.frames import build_frame
from wsserver.wire.poller import Poller

log = logging.getLogger(__name__)


class ConnectRequest(Struct, frozen=True):
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


class Connector:
    """Accepts the connections of this node.

    ``opened`` is called once a connection is in the directory, ``greeted`` when it has got its
    first pushes, ``on_claims`` with its claims.
    """

    def __init__(
        self,
        owner: AcceptingOwnerOf[ConnectionInfo],
        *,
        hub: Hub,
        room: ConnectionLimiter,
        limits: ConnectionLimits,
        directory: ConnectionDirectory,
        connect_states: ConnectStateLoader,
        sessions: Sessions,
        inboxes: Inboxes,
        event_streams: EventStreams,
        poller: Poller,
        writer: ConnectionWriter,
        heartbeat: Heartbeat,
        expiry: TokenExpiry,
        openings: Openings,
        monitors: Monitors,
        statistics: Statistics,
        opened: Callable[[ConnectionInfo, Change], None],
        greeted: Callable[[ConnectionInfo], None],
        on_claims: Callable[[Claims], None],
        clock: Clock,
    ) -> None:
        self._owner = owner
        self._hub = hub
        self._room = room
        self._limits = limits
        self._directory = directory
        self._connect_states = connect_states
        self._sessions = sessions
        self._inboxes = inboxes
        self._event_streams = event_streams
        self._poller = poller
        self._writer = writer
        self._heartbeat = heartbeat
        self._expiry = expiry
        self._openings = openings
        self._monitors = monitors
        self._statistics = statistics
        self._opened = opened
        self._greeted = greeted
        self._on_claims = on_claims
        self._clock = clock

    def admit(self, claims: Claims) -> None:
        """Check that one more connection of this user is allowed.

        Raises ``Draining``, ``ServerFull``, ``ConnectionLimit``.
        """
        if self._owner.is_draining:
            raise Draining("the server is about to stop", retry_after_s=2)
        if len(self._hub) >= self._limits.total:
            raise ServerFull(
                f"the server has its maximum of {self._limits.total} connections", retry_after_s=5
            )
        if self._room.is_full(claims.sub) and not self._limits.evicts_oldest:
            raise ConnectionLimit(f"at most {self._limits.per_user} connections per user")

    async def connect(
        self, fd: int, request: ConnectRequest, *, response: bytes = b"", received: bytes = b""
    ) -> ConnectionInfo:
        """Take over a connected socket.

        ``response`` (of the handshake) is sent in one write with the first pushes; ``received``:
        bytes that were read from the socket after the request. Raises what ``admit`` raises, and
        ``OSError`` if the system cannot watch the socket. Whatever it raises, the descriptor stays
        the caller's; a fault in what follows taking it over closes the connection (1011). An event
        stream is not opened in an iteration of the event loop in which its cursor is not exact:
        what it missed is sent before anything newer.
        """
        try:
            self.admit(request.claims)
            users = None
            if request.session_id is not None:
                reading = self._sessions.users_of_all_nodes(request.session_id)
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

    def connect_now(
        self, fd: int, request: ConnectRequest, *, response: bytes = b"", received: bytes = b""
    ) -> ConnectionInfo | None:
        """``connect`` for a WebSocket that needs neither storage nor other nodes; None: it does."""
        if request.session_id is not None and self._directory.is_shared:
            return None
        state = self._connect_states.now(request.claims, request.session_id)
        if state is None:
            return None
        try:
            self.admit(request.claims)
            connection = self._register(request)
            return self._accept(fd, connection, request, state, None, response, received)
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
        if self._room.is_full(request.claims.sub):
            oldest = self._hub.of_user(request.claims.sub)[0]
            self._owner.close(oldest, CloseCode.CONNECTION_LIMIT, EVICTED)
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
            established = self._established(connection, state, str(start.channel))
            pushes = [established, *waiting]
            stream = self._event_streams.open(start, fd, response, established)
            stream.needs_token = not request.is_by_ticket
            connection.websocket = stream
        try:
            self._enter(connection, request.reservation, state, users, start, pushes)
        except Exception:
            log.exception("connection not opened connection_id=%s", connection.connection_id)
            self.cancel(request.reservation)
            connection.websocket.close(CloseCode.INTERNAL_ERROR, "internal error")
        return connection

    def _enter(
        self,
        connection: ConnectionInfo,
        reservation: Reservation | None,
        state: ConnectState,
        users: SessionUsers | None,
        start: EventStreamStart | None,
        pushes: Sequence[bytes],
    ) -> None:
        """Register a connection that has been sent its first pushes."""
        self._hub.add(connection)
        for listener in self._openings.listeners:
            listener(connection, pushes)
        self._on_claims(connection.claims)
        self._statistics.connects += 1
        self._statistics.messages_sent += len(pushes)
        self._heartbeat.add(connection)
        self._expiry.add(connection)
        self._announce(connection, reservation, state, users, start)
        self._inboxes.greeted(connection, state.waiting)

    def _register(self, request: ConnectRequest) -> ConnectionInfo:
        wall = self._clock.wall()
        return ConnectionInfo(
            self._owner,
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

    def _established(
        self,
        connection: ConnectionInfo,
        state: ConnectState,
        channel: str | UnsetType = UNSET,
    ) -> bytes:
        settings = self._heartbeat.settings
        now = rfc3339(connection.connected_at)
        established = ConnectionEstablished(
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
            channel=channel,
            timestamp=now,
        )
        return encode(established)

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
            self._monitors.add(connection)
        opened = partial(self._opened, connection)
        self._directory.opened(connection.connection_id, connection.user_id, reservation, opened)
        if connection.session_id is not None:
            self._join_bound(connection, connection.session_id, state, users, start)
        if start is not None:
            start.replay(self._sessions)
            self._statistics.messages_sent += start.count
        self._greeted(connection)

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
        joined = self._sessions.join(connection, session_id, state.session, users, state.positions)
        if start is not None:
            place = start.position_in(SESSION + session_id, state.session)
            has_resumed = start.has_resumed(SESSION + session_id)
            joined |= {**place.position, "recovered": has_resumed}
            if has_resumed:
                joined["messages"] = []  # answers that grow come as events, as all that was missed
        self._writer.push(connection, "session_joined", **joined)
