"""``Sessions``: joining and leaving sessions, and access to them while joined."""

from __future__ import annotations

from typing import Any

from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.targets import session
from wsserver.protocol.types import Position
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.access.tenancy import Scope
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.local_delivery import ConnectionWriter
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.messages.message import Message
from wsserver.realtime.observability import events
from wsserver.realtime.observability.events import EventBus
from wsserver.realtime.sessions.presence import Presence
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.realtime.streams.stream import Recovery
from wsserver.realtime.streams.streams import Streams


class Sessions:
    """Joins and leaves for connections, with the pushes and events that they cause."""

    def __init__(
        self,
        hub: Hub,
        router: Router,
        writer: ConnectionWriter,
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
        self._writer = writer
        self._events = events
        self._members = members

    def join(
        self,
        connection: ConnectionInfo,
        session_id: str,
        recovery: Recovery,
        since: Position | None = None,
    ) -> dict[str, Any]:
        """Join a session; returns the members of ``session_joined``.

        ``recovery``: messages after ``since``, exact in this iteration of the event loop.
        """
        self.rejoin(connection, session_id)
        return {
            "session_id": session_id,
            "user_id": connection.user_id,
            **recovery.answer(),
            **({"recovered": False} if since is None else {}),  # nothing was requested
            "users": self._hub.presence(session_id),
        }

    def rejoin(self, connection: ConnectionInfo, session_id: str) -> None:
        """Join a session. ``session_joined`` is pushed to the others once a user."""
        is_new = session_id not in (connection.sessions or ())
        if is_new:
            self._presence.joins(connection, session_id)
        is_first = self._hub.join(connection, session_id)
        who = {"session_id": session_id, "user_id": connection.user_id}
        if is_first:
            self._notify("session_joined", connection, who)
        if is_new:
            self._events.emit(events.SESSION_JOINED, connection_id=connection.connection_id, **who)

    def leave(self, connection: ConnectionInfo, session_id: str, *, quietly: bool = False) -> None:
        """Leave a session, if it was joined; ``quietly``: without pushing ``session_left``."""
        if connection.sessions is None or session_id not in connection.sessions:
            return
        is_last = self._hub.leave(connection, session_id)
        who = {"session_id": session_id, "user_id": connection.user_id}
        if is_last and not quietly:
            self._notify("session_left", connection, who)
        self._events.emit(events.SESSION_LEFT, connection_id=connection.connection_id, **who)

    def leave_all(self, connection: ConnectionInfo, *, quietly: bool = False) -> None:
        """Leave all sessions."""
        for session_id in list(connection.sessions or ()):
            self.leave(connection, session_id, quietly=quietly)

    def enforce_access(self, connection: ConnectionInfo) -> None:
        """Leave the sessions that the claims of a connection do not allow any more."""
        if connection.session_id is not None:
            if not self.access.allows(connection.claims, connection.session_id):
                connection.close(CloseCode.FORBIDDEN, "no access to the session any more")
            return
        for session_id in list(connection.sessions or ()):
            if not self.access.allows(connection.claims, session_id):
                self.leave(connection, session_id)
                self._writer.push(
                    connection, "session_left", session_id=session_id, user_id=connection.user_id
                )

    async def is_known(self, session_id: str) -> bool:
        """Whether a session was ever used."""
        if session_id in self._hub.known_sessions or self._members.of_session(session_id):
            return True
        return (await self._streams.open(SESSION + session_id)).head > 0

    async def stored(self, session_id: str, scope: Scope) -> dict[str, Any]:
        """Members of a session, and the position of its stream, for a requester with a scope."""
        stream = await self._streams.open(SESSION + session_id)
        members = self._members.of_session(session_id)
        await scope.learn(members)
        return {
            "members": list(filter(scope.is_shown_in_session, members)),
            "epoch": stream.epoch,
            "offset": stream.head,
        }

    def _notify(self, type_: str, connection: ConnectionInfo, who: dict[str, Any]) -> None:
        self._router.post(
            Message(
                type=type_,
                members=who,
                target=session(who["session_id"]),
                exclude_users=frozenset((connection.user_id,)),
                is_addressed=False,
            )
        )
