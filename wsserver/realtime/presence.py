"""Who is told that a user comes or goes: the monitors, and the people of the user's sessions."""

from __future__ import annotations

from wsserver.realtime.connection import ConnectionInfo
from wsserver.realtime.hub import Hub
from wsserver.realtime.members import Members
from wsserver.realtime.monitors import Monitors
from wsserver.realtime.router import Router


class Presence:
    """Pushes ``user_status_update`` when a user's first connection comes or the last one goes."""

    def __init__(self, hub: Hub, router: Router, monitors: Monitors, members: Members) -> None:
        self._hub = hub
        self._router = router
        self._monitors = monitors
        self._members = members

    def sessions_of(self, connection: ConnectionInfo) -> set[str]:
        """The user's sessions: joined, bound to, listed in, or named by the token."""
        sessions = self._members.sessions_of(connection.user_id)
        sessions.update(connection.sessions or ())
        if connection.session_id is not None:
            sessions.add(connection.session_id)
        if connection.claims.sessions != "*":
            sessions |= connection.claims.sessions
        return sessions

    def tell(self, connection: ConnectionInfo, status: str, sessions: set[str]) -> None:
        """Tell everybody whom it concerns, each connection once; never the user."""
        user_id = connection.user_id
        members = {
            "user_id": user_id,
            "status": status,
            "connections": self._hub.user_connections.count(user_id),
        }
        self._monitors.tell("user_status_update", except_user=user_id, **members)
        concerned = {
            other.connection_id: other
            for session_id in sessions
            for other in self._hub.of_session(session_id)
            if other.user_id != user_id and not other.is_monitor
        }
        self._router.push_many(concerned.values(), "user_status_update", **members)
