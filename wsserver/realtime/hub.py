"""The index of live connections: by id, user, session and organization."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from wsserver.realtime.connection import ConnectionInfo

KNOWN_SESSIONS_LIMIT = 100_000


class Hub:
    """Who is connected, and to what.

    Closing connections leave it at once, so everybody in it can be sent to.
    """

    def __init__(self) -> None:
        self.connections: dict[str, ConnectionInfo] = {}
        self.user_connections: dict[str, set[str]] = {}
        self.session_connections: dict[str, set[str]] = {}
        self.organization_connections: dict[str, set[str]] = {}
        self.known_sessions: OrderedDict[str, None] = OrderedDict()
        """The sessions used lately, the latest last; bounded."""

    def __len__(self) -> int:
        return len(self.connections)

    # Coming and going

    def add(self, connection: ConnectionInfo) -> bool:
        """Register a connection; True if it is its user's first."""
        id_ = connection.connection_id
        self.connections[id_] = connection
        organization_id = connection.claims.organization_id
        if organization_id is not None:
            self.organization_connections.setdefault(organization_id, set()).add(id_)
        of_user = self.user_connections.setdefault(connection.user_id, set())
        of_user.add(id_)
        return len(of_user) == 1

    def remove(self, connection: ConnectionInfo) -> bool:
        """Forget a connection that is in no session any more; True if it was its user's last."""
        id_ = connection.connection_id
        if self.connections.pop(id_, None) is None:
            return False
        organization_id = connection.claims.organization_id
        if organization_id is not None:
            _discard(self.organization_connections, organization_id, id_)
        return _discard(self.user_connections, connection.user_id, id_)

    def reclaim(self, connection: ConnectionInfo, claims: Any) -> None:
        """Put newer claims of the same user in place, moving it in the organization index."""
        id_ = connection.connection_id
        old, new = connection.claims.organization_id, claims.organization_id
        connection.claims = claims
        if old != new:
            if old is not None:
                _discard(self.organization_connections, old, id_)
            if new is not None:
                self.organization_connections.setdefault(new, set()).add(id_)

    def join(self, connection: ConnectionInfo, session_id: str) -> bool:
        """Put a connection into a session; True if its user was not there yet."""
        is_first = not self.is_user_in_session(connection.user_id, session_id)
        if connection.sessions is None:
            connection.sessions = set()
        connection.sessions.add(session_id)
        self.session_connections.setdefault(session_id, set()).add(connection.connection_id)
        self.known_sessions[session_id] = None
        self.known_sessions.move_to_end(session_id)
        if len(self.known_sessions) > KNOWN_SESSIONS_LIMIT:
            self.known_sessions.popitem(last=False)
        return is_first

    def leave(self, connection: ConnectionInfo, session_id: str) -> bool:
        """Take a connection out of a session; True if its user is no longer there at all."""
        if connection.sessions is None or session_id not in connection.sessions:
            return False
        connection.sessions.discard(session_id)
        _discard(self.session_connections, session_id, connection.connection_id)
        return not self.is_user_in_session(connection.user_id, session_id)

    # Looking up

    def of_user(self, user_id: str) -> list[ConnectionInfo]:
        """The user's connections, oldest first."""
        return self._resolve(self.user_connections.get(user_id))

    def of_session(self, session_id: str) -> list[ConnectionInfo]:
        """The connections that have joined a session."""
        return self._resolve(self.session_connections.get(session_id))

    def of_organization(self, organization_id: str) -> list[ConnectionInfo]:
        """The connections of an organization."""
        return self._resolve(self.organization_connections.get(organization_id))

    def of_role(self, role: str) -> list[ConnectionInfo]:
        """The connections whose token has a role; looks at each, as such messages are rare."""
        return [c for c in self.connections.values() if c.claims.role == role]

    def is_user_in_session(self, user_id: str, session_id: str) -> bool:
        """Has any connection of the user joined the session?"""
        here = self.session_connections.get(session_id)
        return here is not None and not here.isdisjoint(self.user_connections.get(user_id, ()))

    def sessions_of_user(self, user_id: str) -> set[str]:
        """All sessions that the user's connections have joined."""
        return {s for c in self.of_user(user_id) for s in c.sessions or ()}

    def presence(self, session_id: str) -> list[dict[str, Any]]:
        """Who is in a session: each user once, with the number of connections."""
        users: dict[str, dict[str, Any]] = {}
        for connection in self.of_session(session_id):
            entry = users.setdefault(
                connection.user_id,
                {
                    "user_id": connection.user_id,
                    "username": connection.claims.username,
                    "connections": 0,
                },
            )
            entry["connections"] += 1
        return list(users.values())

    def _resolve(self, ids: set[str] | None) -> list[ConnectionInfo]:
        if not ids:
            return []
        connections = self.connections
        if len(ids) == 1:
            return [connections[id_] for id_ in ids]
        return [connections[id_] for id_ in sorted(ids)]  # ids sort by time

    def __iter__(self) -> Iterator[ConnectionInfo]:
        return iter(self.connections.values())


def _discard(index: dict[str, set[str]], key: str, id_: str) -> bool:
    """Remove an id from an index; True if its key is gone with it."""
    ids = index.get(key)
    if ids is None:
        return False
    ids.discard(id_)
    if ids:
        return False
    del index[key]
    return True
