"""Sessions: who joins, who leaves, who is told, who may stay."""

from __future__ import annotations

from typing import Any

from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.targets import session
from wsserver.protocol.types import Position
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.access.tenancy import Scope
from wsserver.realtime.connections.connection import Close, ConnectionInfo
from wsserver.realtime.connections.hub import Hub, users_of
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.messages.message import Message
from wsserver.realtime.observability import events
from wsserver.realtime.observability.events import EventBus
from wsserver.realtime.sessions.presence import Presence
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.realtime.streams.stream import Recovery
from wsserver.realtime.streams.streams import Streams


class Sessions:
    """Puts connections into sessions and out of them."""

    def __init__(
        self,
        hub: Hub,
        router: Router,
        events: EventBus,
        access: SessionAccess,
        members: Members,
        streams: Streams,
        presence: Presence,
    ) -> None:
        self.access = access
        self._presence = presence
        self._streams = streams
        self._hub = hub
        self._router = router
        self._events = events
        self._members = members

    def join(
        self,
        connection: ConnectionInfo,
        session_id: str,
        recovery: Recovery,
        since: Position | None = None,
    ) -> dict[str, Any]:
        """Put a connection into a session; returns the members of its ``session_joined``.

        ``recovery``: what the stream has after ``since``, as of this turn of the loop.
        """
        self.rejoin(connection, session_id)
        return {
            "session_id": session_id,
            "user_id": connection.user_id,
            **recovery.answer(),
            **({"recovered": False} if since is None else {}),  # there was nothing to be recovered
            "users": self._hub.presence(session_id),
        }

    def rejoin(self, connection: ConnectionInfo, session_id: str) -> None:
        """Put a connection into a session. The others are told once a user, not a connection."""
        is_new = session_id not in (connection.sessions or ())
        if is_new:
            self._presence.joins(connection, session_id)
        is_first = self._hub.join(connection, session_id)
        who = {"session_id": session_id, "user_id": connection.user_id}
        if is_first:
            self._tell("session_joined", connection, who)
        if is_new:
            self._events.emit(events.SESSION_JOINED, connection_id=connection.connection_id, **who)

    def leave(self, connection: ConnectionInfo, session_id: str, *, quietly: bool = False) -> None:
        """Take a connection out of a session, if it is in it; ``quietly``: tell nobody there."""
        if connection.sessions is None or session_id not in connection.sessions:
            return
        is_last = self._hub.leave(connection, session_id)
        who = {"session_id": session_id, "user_id": connection.user_id}
        if is_last and not quietly:
            self._tell("session_left", connection, who)
        self._events.emit(events.SESSION_LEFT, connection_id=connection.connection_id, **who)

    def leave_all(self, connection: ConnectionInfo, *, quietly: bool = False) -> None:
        """Take a connection out of every session."""
        for session_id in list(connection.sessions or ()):
            self.leave(connection, session_id, quietly=quietly)

    def enforce_access(self, connection: ConnectionInfo, close: Close) -> None:
        """Put a connection out of the sessions that it may no longer be in, at once."""
        if connection.session_id is not None:
            if not self.access.allows(connection.claims, connection.session_id):
                close(connection, CloseCode.FORBIDDEN, "no access to the session any more")
            return
        for session_id in list(connection.sessions or ()):
            if not self.access.allows(connection.claims, session_id):
                self.leave(connection, session_id)
                self._router.push(
                    connection, "session_left", session_id=session_id, user_id=connection.user_id
                )

    async def is_known(self, session_id: str) -> bool:
        """Was the session ever used?"""
        if session_id in self._hub.known_sessions or self._members.of_session(session_id):
            return True
        return (await self._streams.open(SESSION + session_id)).head > 0

    async def view(self, session_id: str, scope: Scope) -> dict[str, Any]:
        """A session as the REST API shows it to somebody of this scope."""
        stream = await self._streams.open(SESSION + session_id)
        connections = scope.of_session(session_id)
        members = self._members.of_session(session_id)
        await scope.learn(members)
        return {
            "session_id": session_id,
            "users": users_of(connections),
            "members": list(filter(scope.is_shown_in_session, members)),
            "connections": len(connections),
            "epoch": stream.epoch,
            "offset": stream.head,
        }

    def _tell(self, type_: str, connection: ConnectionInfo, who: dict[str, Any]) -> None:
        self._router.post(
            Message(
                type=type_,
                members=who,
                target=session(who["session_id"]),
                exclude_users=frozenset((connection.user_id,)),
                is_addressed=False,
            )
        )
