"""The index of live connections: by id, user, session and organization."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from wsserver.clock import Clock
from wsserver.identity.claims import Claims, as_signed
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.connection_index import Index
from wsserver.realtime.connections.connection_log import ConnectionLog

KNOWN_SESSIONS_LIMIT = 100_000
USERS_LISTED = 1000
"""Of one session: with tens of thousands in it, a list of all would not fit into a reply."""


class Hub:
    """Who is connected, and to what.

    Closing connections leave it at once, so everybody in it can be sent to. ``resolve`` puts the
    organization that a user belongs to into the claims: it may have changed since the handshake.
    """

    def __init__(
        self,
        attendance: ConnectionLog | None = None,
        resolve: Callable[[Claims], Claims] = as_signed,
    ) -> None:
        self._resolve = resolve
        self.attendance = ConnectionLog(Clock()) if attendance is None else attendance
        self.connections: dict[str, ConnectionInfo] = {}
        self.user_connections = Index()
        self.session_connections = Index()
        self.organization_connections = Index()
        self.known_sessions: OrderedDict[str, None] = OrderedDict()
        """The sessions used lately, the latest last; bounded."""

    def __len__(self) -> int:
        return len(self.connections)

    # Coming and going

    def add(self, connection: ConnectionInfo) -> bool:
        """Register a connection; True if it is its user's first."""
        self.connections[connection.connection_id] = connection
        connection.since_tick = self.attendance.tick
        connection.claims = self._resolve(connection.claims)
        organization_id = connection.claims.organization_id
        if organization_id is not None:
            self.organization_connections.add(organization_id, connection)
        return self.user_connections.add(connection.user_id, connection)

    def remove(self, connection: ConnectionInfo, code: int = 0, reason: str = "") -> bool:
        """Forget a connection that is in no session any more; True if it was its user's last.

        ``code`` and ``reason`` are those of its end, for the attendance.
        """
        if self.connections.pop(connection.connection_id, None) is None:
            return False
        self.attendance.ended(connection, code, reason)
        organization_id = connection.claims.organization_id
        if organization_id is not None:
            self.organization_connections.discard(organization_id, connection)
        return self.user_connections.discard(connection.user_id, connection)

    def reclaim(self, connection: ConnectionInfo, claims: Claims) -> None:
        """Put newer claims of the same user in place, moving it in the organization index."""
        old, new = connection.claims.organization_id, claims.organization_id
        if (old, connection.claims.role) != (new, claims.role):
            self.attendance.renewed(connection)
        connection.claims = claims
        if old != new:
            if old is not None:
                self.organization_connections.discard(old, connection)
            if new is not None:
                self.organization_connections.add(new, connection)

    def join(self, connection: ConnectionInfo, session_id: str) -> bool:
        """Put a connection into a session; True if its user was not there yet."""
        is_first = not self.is_user_in_session(connection.user_id, session_id)
        if connection.sessions is None:
            connection.sessions = {}
        connection.sessions.setdefault(session_id, self.attendance.tick)
        self.session_connections.add(session_id, connection)
        self.known_sessions[session_id] = None
        self.known_sessions.move_to_end(session_id)
        if len(self.known_sessions) > KNOWN_SESSIONS_LIMIT:
            self.known_sessions.popitem(last=False)
        return is_first

    def leave(self, connection: ConnectionInfo, session_id: str) -> bool:
        """Take a connection out of a session; True if its user is no longer there at all."""
        if connection.sessions is None or session_id not in connection.sessions:
            return False
        self.attendance.left(connection, session_id, connection.sessions.pop(session_id))
        self.session_connections.discard(session_id, connection)
        return not self.is_user_in_session(connection.user_id, session_id)

    # Looking up

    def of_user(self, user_id: str) -> list[ConnectionInfo]:
        """The user's connections, oldest first."""
        return self.user_connections.connections(user_id)

    def of_session(self, session_id: str) -> list[ConnectionInfo]:
        """The connections that have joined a session."""
        return self.session_connections.connections(session_id)

    def of_organization(self, organization_id: str) -> list[ConnectionInfo]:
        """The connections of an organization."""
        return self.organization_connections.connections(organization_id)

    def of_role(self, role: str) -> list[ConnectionInfo]:
        """The connections whose token has a role; looks at each, as such messages are rare."""
        return [c for c in self.connections.values() if c.claims.role == role]

    def is_user_in_session(self, user_id: str, session_id: str) -> bool:
        """Has any connection of the user joined the session?"""
        return any(
            connection.sessions and session_id in connection.sessions
            for connection in self.user_connections.connections(user_id)
        )

    def presence(self, session_id: str) -> list[dict[str, Any]]:
        """Who is in a session: each user once, with the number of connections; at most 1000."""
        return users_of(self.of_session(session_id))

    def __iter__(self) -> Iterator[ConnectionInfo]:
        return iter(self.connections.values())


def users_of(connections: Iterable[ConnectionInfo]) -> list[dict[str, Any]]:
    """Whose connections these are: each user once, with the number of them; the first 1000."""
    users: dict[str, dict[str, Any]] = {}
    for connection in connections:
        entry = users.get(connection.user_id)
        if entry is None:
            if len(users) == USERS_LISTED:
                continue
            entry = users[connection.user_id] = {
                "user_id": connection.user_id,
                "username": connection.claims.username,
                "connections": 0,
            }
        entry["connections"] += 1
    return list(users.values())
