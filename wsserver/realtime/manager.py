"""The face of the live side: connections come, join, talk and go through this one object."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from wsserver.clock import Clock, rfc3339
from wsserver.errors import ConnectionLimit, Draining, ServerFull
from wsserver.identity.claims import Claims
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.ids import new_id
from wsserver.protocol.pushes import push
from wsserver.protocol.targets import EVERYONE, session, user
from wsserver.protocol.types import Position
from wsserver.realtime import events
from wsserver.realtime.access import SessionAccess
from wsserver.realtime.connection import MONITOR, ConnectionInfo
from wsserver.realtime.dispatcher import Dispatcher
from wsserver.realtime.events import EventBus, Handler
from wsserver.realtime.expiry import TokenExpiry
from wsserver.realtime.heartbeat import Heartbeat, HeartbeatSettings
from wsserver.realtime.hub import Hub
from wsserver.realtime.members import Members
from wsserver.realtime.monitors import Monitors
from wsserver.realtime.router import Message, Router, Sent
from wsserver.realtime.statistics import Statistics
from wsserver.wire.frames import PING, build_frame
from wsserver.wire.poller import Poller

log = logging.getLogger(__name__)

EVICT_OLDEST = "evict_oldest"


@dataclass(frozen=True)
class ConnectionLimits:
    """How many connections there may be, and what happens to one too many of a user."""

    total: int = 50_000
    per_user: int = 5
    policy: str = "reject"


@dataclass(frozen=True)
class Newcomer:
    """What the handshake knows of a connection that it has let in."""

    claims: Claims
    endpoint: str
    session_id: str | None
    protocol: str
    remote_ip: str
    user_agent: str


class WebSocketManager:
    """Owns the live connections: ``connect``, ``disconnect``, ``send_to_user``, and so on.

    The collaborators are built by ``app.build()``; ``dispatcher`` is set there too, as its
    handlers need the manager first.
    """

    dispatcher: Dispatcher

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
    ) -> None:
        self.hub = hub
        self.events = events
        self.statistics = statistics
        self.access = access
        self.limits = limits
        self.is_draining = False
        self.epoch = new_id("epoch", clock.wall())
        self.heartbeat = Heartbeat(hub, heartbeat, clock, self.close)
        self.monitors = Monitors(events, self.stats, clock)
        self._members = members
        self._router = router
        self._poller = poller
        self._clock = clock
        self._expiry = TokenExpiry()

    # The indexes, by the names that the product has always had

    @property
    def connections(self) -> dict[str, ConnectionInfo]:
        """All connections, by id."""
        return self.hub.connections

    @property
    def user_connections(self) -> dict[str, set[str]]:
        """Connection ids by user."""
        return self.hub.user_connections

    @property
    def session_connections(self) -> dict[str, set[str]]:
        """Connection ids by session."""
        return self.hub.session_connections

    # Coming

    def admit(self, claims: Claims) -> None:
        """Raise what stands against one more connection of this user; changes nothing."""
        if self.is_draining:
            raise Draining("the server is about to stop", retry_after_s=2)
        if len(self.hub) >= self.limits.total:
            raise ServerFull("no room for another connection", retry_after_s=5)
        if self._is_at_limit(claims.sub) and self.limits.policy != EVICT_OLDEST:
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
        if self._is_at_limit(newcomer.claims.sub):
            oldest = self.hub.of_user(newcomer.claims.sub)[0]
            self.close(oldest, CloseCode.CONNECTION_LIMIT, "evicted by a newer connection")
        connection = self._register(newcomer)
        greeting = response + build_frame(self._established(connection))
        connection.websocket = self._poller.adopt(fd, connection, first=received, greeting=greeting)
        is_first = self.hub.add(connection)
        self.statistics.connects += 1
        self.statistics.messages_sent += 1
        self.heartbeat.add(connection)
        self._expiry.add(connection)
        self._announce(connection, is_first)
        return connection

    def _register(self, newcomer: Newcomer) -> ConnectionInfo:
        wall = self._clock.wall()
        return ConnectionInfo(
            self,
            connection_id=new_id("conn", wall),
            claims=newcomer.claims,
            endpoint=newcomer.endpoint,
            session_id=newcomer.session_id,
            protocol=newcomer.protocol,
            remote_ip=newcomer.remote_ip,
            user_agent=newcomer.user_agent,
            connected_at=wall,
        )

    def _established(self, connection: ConnectionInfo) -> bytes:
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
            inbox={"epoch": self.epoch, "offset": 0, "pending": 0},
            protocol=connection.protocol,
        )

    def _announce(self, connection: ConnectionInfo, is_first: bool) -> None:
        """Tell the newcomer where it is, and the others that it is there."""
        if connection.endpoint == MONITOR:
            self.monitors.add(connection)
        self.events.emit(
            events.USER_CONNECTED,
            user_id=connection.user_id,
            connection_id=connection.connection_id,
            session_id=connection.session_id,
            endpoint=connection.endpoint,
            connections=len(self.hub.user_connections[connection.user_id]),
        )
        if is_first:
            self._tell_status(connection, "online", self._sessions_of(connection))
        if connection.session_id is not None:
            joined = self.join(connection, connection.session_id, None)
            self.send(connection, "session_joined", **joined)
        self._warn_of_expiry(self._clock.wall())

    def _sessions_of(self, connection: ConnectionInfo) -> set[str]:
        """The sessions whose people should know that this user comes or goes."""
        sessions = self._members.sessions_of(connection.user_id)
        if connection.session_id is not None:
            sessions.add(connection.session_id)
        if connection.claims.sessions != "*":
            sessions |= connection.claims.sessions
        return sessions

    def _is_at_limit(self, user_id: str) -> bool:
        return len(self.hub.user_connections.get(user_id, ())) >= self.limits.per_user

    # Sessions

    def join(
        self, connection: ConnectionInfo, session_id: str, since: Position | None
    ) -> dict[str, Any]:
        """Put a connection into a session; returns the members of its ``session_joined``."""
        is_first = self.hub.join(connection, session_id)
        who = {"session_id": session_id, "user_id": connection.user_id}
        if is_first:
            self._post_to_session("session_joined", connection, who)
        self.events.emit(events.SESSION_JOINED, connection_id=connection.connection_id, **who)
        position = self.position()
        return {
            **who,
            **position,
            "recovered": since is not None and since.epoch == self.epoch and since.offset == 0,
            "messages": [],
            "users": self.hub.presence(session_id),
        }

    def leave(self, connection: ConnectionInfo, session_id: str) -> None:
        """Take a connection out of a session, if it is in it."""
        if connection.sessions is None or session_id not in connection.sessions:
            return
        is_last = self.hub.leave(connection, session_id)
        who = {"session_id": session_id, "user_id": connection.user_id}
        if is_last:
            self._post_to_session("session_left", connection, who)
        self.events.emit(events.SESSION_LEFT, connection_id=connection.connection_id, **who)

    def enforce_access(self, connection: ConnectionInfo) -> None:
        """Put a connection out of the sessions that it may no longer be in, at once."""
        if connection.session_id is not None:
            if not self.access.allows(connection.claims, connection.session_id):
                self.close(connection, CloseCode.FORBIDDEN, "no access to the session any more")
            return
        for session_id in list(connection.sessions or ()):
            if not self.access.allows(connection.claims, session_id):
                self.leave(connection, session_id)
                self.send(
                    connection, "session_left", session_id=session_id, user_id=connection.user_id
                )

    def position(self) -> dict[str, Any]:
        """Where a stream stands; nothing is kept, so each is empty and as old as the process."""
        return {"epoch": self.epoch, "offset": 0}

    def is_session_known(self, session_id: str) -> bool:
        """Was the session ever used?"""
        return session_id in self.hub.known_sessions or bool(self._members.of_session(session_id))

    def session_view(self, session_id: str) -> dict[str, Any]:
        """A session as the REST API shows it."""
        return {
            "session_id": session_id,
            "users": self.hub.presence(session_id),
            "members": self._members.of_session(session_id),
            "connections": len(self.hub.session_connections.get(session_id, ())),
            **self.position(),
        }

    def _post_to_session(self, type_: str, connection: ConnectionInfo, who: dict[str, Any]) -> None:
        self._router.post(
            Message(
                type=type_,
                members=who,
                target=session(who["session_id"]),
                exclude_users=frozenset((connection.user_id,)),
                is_addressed=False,
            )
        )

    # Sending

    def send(self, connection: ConnectionInfo, type_: str, **members: Any) -> None:
        """Push to one connection of this node."""
        if connection.is_alive:
            self.statistics.messages_sent += 1
            text = push(type_, rfc3339(self._clock.wall()), **members)
            connection.websocket.send(build_frame(text))

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
        """An RFC 6455 ping has come; pings are charged like messages."""
        return connection.is_alive and self.dispatcher.spend(connection) > 0

    def ponged(self, connection: ConnectionInfo, payload: bytes) -> None:
        """An RFC 6455 pong has come; its payload is the id of the ping."""
        self.note_pong(connection, payload.decode("ascii", "replace"))

    def note_pong(self, connection: ConnectionInfo, ping_id: str | None) -> None:
        """Take the answer to a ping, whichever of the two kinds came first."""
        self.heartbeat.note_pong(connection, ping_id)
        waiters = connection.waiters
        if waiters and ping_id in waiters:
            answer = waiters.pop(ping_id)
            if not answer.done():
                answer.set_result(self._clock.monotonic())

    async def ping(self, connection: ConnectionInfo, timeout_s: float) -> float | None:
        """Measure a round trip now, in milliseconds; None if no answer came in time."""
        if not connection.is_alive:
            return None
        now, wall = self._clock.monotonic(), self._clock.wall()
        ping_id = new_id("ping", wall)
        answer: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        waiters = connection.waiters = connection.waiters or {}
        waiters[ping_id] = answer
        self.heartbeat.note_ping(connection, ping_id, now, wall)
        text = push("ping", rfc3339(wall), id=ping_id)
        connection.websocket.send(build_frame(text) + build_frame(ping_id.encode(), PING))
        try:
            answered_at = await asyncio.wait_for(answer, timeout_s)
        except TimeoutError:
            return None
        finally:
            waiters.pop(ping_id, None)
        return None if answered_at is None else round((answered_at - now) * 1000, 3)

    # Tokens

    def renew(self, connection: ConnectionInfo, claims: Claims) -> None:
        """Put newer claims of the same user in force, and what they no longer allow to an end."""
        self._expiry.discard(connection)
        self.hub.reclaim(connection, claims)
        self._expiry.add(connection)
        self.enforce_access(connection)

    def expire_tokens(self) -> None:
        """Warn those whose token is about to run out, close those whose has."""
        wall = self._clock.wall()
        for connection in self._warn_of_expiry(wall):
            self.close(connection, CloseCode.TOKEN_EXPIRED, "token expired")

    def _warn_of_expiry(self, wall: float) -> list[ConnectionInfo]:
        warn, expired = self._expiry.due(wall)
        for connection in warn:
            self.send(connection, "token_expiring", expires_at=rfc3339(connection.claims.exp))
        return expired

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
        sessions = self._sessions_of(connection) | (connection.sessions or set())
        for session_id in list(connection.sessions or ()):
            self.leave(connection, session_id)
        is_last = self.hub.remove(connection)
        if connection.endpoint == MONITOR:
            self.monitors.remove(connection)
        for answer in (connection.waiters or {}).values():
            if not answer.done():
                answer.set_result(None)
        log.info(
            "closed connection=%s user=%s code=%d reason=%s",
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
            connections=len(self.hub.user_connections.get(connection.user_id, ())),
        )
        if is_last:
            self._tell_status(connection, "offline", sessions)

    def _tell_status(self, connection: ConnectionInfo, status: str, sessions: set[str]) -> None:
        """Tell the monitors and the people of the user's sessions; each connection once."""
        user_id = connection.user_id
        members = {
            "user_id": user_id,
            "status": status,
            "connections": len(self.hub.user_connections.get(user_id, ())),
        }
        self.monitors.tell("user_status_update", except_user=user_id, **members)
        told: set[str] = set()
        for session_id in sessions:
            for other in self.hub.of_session(session_id):
                if other.user_id == user_id or other.is_monitor or other.connection_id in told:
                    continue
                told.add(other.connection_id)
                self.send(other, "user_status_update", **members)

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
            self.send(connection, "server_draining", reconnect_after_ms=after_ms)
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

    def add_event_handler(self, name: str, handler: Handler) -> None:
        """Call ``handler`` with each event whose name matches the glob ``name``."""
        self.events.add_event_handler(name, handler)

    def emit(self, name: str, **fields: Any) -> None:
        """Raise an event, built in or custom."""
        self.events.emit(name, **fields)


__all__ = ["ConnectionLimits", "Newcomer", "WebSocketManager"]
