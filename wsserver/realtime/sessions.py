"""Sessions: who joins, who leaves, who is told, who may stay."""

from __future__ import annotations

from typing import Any

from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.targets import session
from wsserver.protocol.types import Position
from wsserver.realtime import events
from wsserver.realtime.access import Scope, SessionAccess
from wsserver.realtime.connection import Close, ConnectionInfo
from wsserver.realtime.events import EventBus
from wsserver.realtime.hub import Hub, users_of
from wsserver.realtime.members import Members
from wsserver.realtime.router import Message, Router


class Sessions:
    """Puts connections into sessions and out of them.

    ``epoch`` numbers the streams: nothing is kept yet, so each is empty and as old as the process.
    """

    def __init__(
        self,
        hub: Hub,
        router: Router,
        events: EventBus,
        access: SessionAccess,
        members: Members,
        epoch: str,
    ) -> None:
        self.access = access
        self.epoch = epoch
        self._hub = hub
        self._router = router
        self._events = events
        self._members = members

    def join(
        self, connection: ConnectionInfo, session_id: str, since: Position | None = None
    ) -> dict[str, Any]:
        """Put a connection into a session; returns the members of its ``session_joined``.

        The others are told once a user, not once a connection.
        """
        is_new = session_id not in (connection.sessions or ())
        is_first = self._hub.join(connection, session_id)
        who = {"session_id": session_id, "user_id": connection.user_id}
        if is_first:
            self._tell("session_joined", connection, who)
        if is_new:
            self._events.emit(events.SESSION_JOINED, connection_id=connection.connection_id, **who)
        return {
            **who,
            **self.position(),
            **self._recovery(since),
            "messages": [],
            "users": self._hub.presence(session_id),
        }

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

    def position(self) -> dict[str, Any]:
        """Where a session's stream stands."""
        return {"epoch": self.epoch, "offset": 0}

    def is_known(self, session_id: str) -> bool:
        """Was the session ever used?"""
        return session_id in self._hub.known_sessions or bool(self._members.of_session(session_id))

    def view(self, session_id: str, scope: Scope) -> dict[str, Any]:
        """A session as the REST API shows it to somebody of this scope."""
        connections = scope.of_session(session_id)
        return {
            "session_id": session_id,
            "users": users_of(connections),
            "members": list(filter(scope.knows_member, self._members.of_session(session_id))),
            "connections": len(connections),
            **self.position(),
        }

    def _recovery(self, since: Position | None) -> dict[str, Any]:
        """Could everything after ``since`` be given? From the end of an empty stream it could."""
        if since is None:
            return {"recovered": False}
        if since.epoch != self.epoch:
            return {"recovered": False, "reason": "epoch_changed"}
        if since.offset > 0:
            return {"recovered": False, "reason": "offset_ahead"}
        return {"recovered": True}

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
