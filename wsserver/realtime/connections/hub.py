"""``Hub``: the live connections of this node, indexed by id, user, session and organization."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from wsserver.clock import Clock
from wsserver.cluster.directory import USERS_LISTED, ConnectionRecord, SessionUsers
from wsserver.identity.claims import Claims, as_signed
from wsserver.protocol.targets import Target, TargetType, organization, session, user
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.connection_log import ConnectionLog
from wsserver.wire.recipients import Recipients

KNOWN_SESSIONS_LIMIT = 100_000

_websocket = attrgetter("websocket")
_Entry = ConnectionInfo | dict[str, ConnectionInfo]


class ConnectionIndex(Mapping[str, set[str]]):
    """Connections by user, session or organization; a mapping of keys to sets of connection ids.

    Most users have one connection: it is stored without a container, which would take 216 bytes.
    Several are in a dict, in the order of connecting.
    """

    __slots__ = ("_entries", "pairs")

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self.pairs = 0
        """Number of connections, summed over the keys."""

    def add(self, key: str, connection: ConnectionInfo) -> bool:
        """Add a connection under a key; True if it is the first one there."""
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = connection
            self.pairs += 1
            return True
        if not isinstance(entry, dict):
            if entry is connection:
                return False
            entry = self._entries[key] = {entry.connection_id: entry}
        before = len(entry)
        entry[connection.connection_id] = connection
        self.pairs += len(entry) - before
        return False

    def discard(self, key: str, connection: ConnectionInfo) -> bool:
        """Remove a connection; True if it was the last one under the key."""
        entry = self._entries.get(key)
        if isinstance(entry, dict):
            if entry.pop(connection.connection_id, None) is not None:
                self.pairs -= 1
            if not entry:
                del self._entries[key]
        elif entry is connection:
            self.pairs -= 1
            del self._entries[key]
        else:
            return False
        return key not in self._entries

    def connections(self, key: str) -> list[ConnectionInfo]:
        """The connections under a key, in the order of connecting."""
        entry = self._entries.get(key)
        if entry is None:
            return []
        return list(entry.values()) if isinstance(entry, dict) else [entry]

    def count(self, key: str) -> int:
        """Number of connections under a key."""
        entry = self._entries.get(key)
        if entry is None:
            return 0
        return len(entry) if isinstance(entry, dict) else 1

    def __getitem__(self, key: str) -> set[str]:
        entry = self._entries[key]
        return set(entry) if isinstance(entry, dict) else {entry.connection_id}

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return repr(dict(self))


class Hub:
    """The live connections and the sessions that they have joined.

    Closing connections are removed immediately, so all in it can be written to. ``resolve`` sets
    the organization of the claims: an administrator may have assigned another one meanwhile.
    ``follow`` is called for the first connection of a user, session or organization, ``unfollow``
    after the last one.
    """

    def __init__(
        self,
        connection_log: ConnectionLog | None = None,
        resolve: Callable[[Claims], Claims] = as_signed,
        *,
        follow: Callable[[Target], None] | None = None,
        unfollow: Callable[[Target], None] | None = None,
    ) -> None:
        self._follow = follow or _ignore
        self._unfollow = unfollow or _ignore
        self._resolve = resolve
        self.connection_log = ConnectionLog(Clock()) if connection_log is None else connection_log
        self.connections: dict[str, ConnectionInfo] = {}
        self._everyone: Recipients | None = None
        self.user_connections = ConnectionIndex()
        self.session_connections = ConnectionIndex()
        self.organization_connections = ConnectionIndex()
        self.known_sessions: OrderedDict[str, None] = OrderedDict()
        """Recently used sessions, the latest last; bounded."""

    def __len__(self) -> int:
        return len(self.connections)

    def report_to(
        self, follow: Callable[[Target], None], unfollow: Callable[[Target], None]
    ) -> None:
        """Call these instead of the constructor's ``follow`` and ``unfollow``."""
        self._follow, self._unfollow = follow, unfollow

    # Changes

    def add(self, connection: ConnectionInfo) -> bool:
        """Register a connection; True if it is its user's first."""
        self.connections[connection.connection_id] = connection
        self._everyone = None
        connection.since_tick = self.connection_log.tick
        connection.claims = self._resolve(connection.claims)
        organization_id = connection.claims.organization_id
        if organization_id is not None:
            self._enter(organization_id, connection)
        is_first = self.user_connections.add(connection.user_id, connection)
        if is_first:
            self._follow(user(connection.user_id))
        return is_first

    def remove(self, connection: ConnectionInfo, code: int = 0, reason: str = "") -> bool:
        """Remove a connection that has left all sessions; True if it was its user's last.

        ``code`` and ``reason`` of its end go into the connection log.
        """
        if self.connections.pop(connection.connection_id, None) is None:
            return False
        self._everyone = None
        self.connection_log.ended(connection, code, reason)
        organization_id = connection.claims.organization_id
        if organization_id is not None:
            self._exit(organization_id, connection)
        is_last = self.user_connections.discard(connection.user_id, connection)
        if is_last:
            self._unfollow(user(connection.user_id))
        return is_last

    def reclaim(self, connection: ConnectionInfo, claims: Claims) -> None:
        """Replace the claims of a connection by newer ones of the same user."""
        old, new = connection.claims.organization_id, claims.organization_id
        if (old, connection.claims.role) != (new, claims.role):
            self.connection_log.renewed(connection)
        connection.claims = claims
        if old != new:
            if old is not None:
                self._exit(old, connection)
            if new is not None:
                self._enter(new, connection)

    def _enter(self, organization_id: str, connection: ConnectionInfo) -> None:
        if self.organization_connections.add(organization_id, connection):
            self._follow(organization(organization_id))

    def _exit(self, organization_id: str, connection: ConnectionInfo) -> None:
        if self.organization_connections.discard(organization_id, connection):
            self._unfollow(organization(organization_id))

    def join(self, connection: ConnectionInfo, session_id: str) -> bool:
        """Add a connection to a session; True if its user was not in it yet."""
        is_first = not self.is_user_in_session(connection.user_id, session_id)
        if connection.sessions is None:
            connection.sessions = {}
        connection.sessions.setdefault(session_id, self.connection_log.tick)
        if self.session_connections.add(session_id, connection):
            self._follow(session(session_id))
        self.known_sessions[session_id] = None
        self.known_sessions.move_to_end(session_id)
        if len(self.known_sessions) > KNOWN_SESSIONS_LIMIT:
            self.known_sessions.popitem(last=False)
        return is_first

    def leave(self, connection: ConnectionInfo, session_id: str) -> bool:
        """Remove a connection from a session; True if its user is not in it any more."""
        if connection.sessions is None or session_id not in connection.sessions:
            return False
        self.connection_log.left(connection, session_id, connection.sessions.pop(session_id))
        if self.session_connections.discard(session_id, connection):
            self._unfollow(session(session_id))
        return not self.is_user_in_session(connection.user_id, session_id)

    # Looking up

    @property
    def everyone(self) -> Recipients:
        """The transports of all connections; the same object until a connection comes or goes."""
        if self._everyone is None:
            self._everyone = Recipients(map(_websocket, self.connections.values()))
        return self._everyone

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
        """The connections whose token has a role; a scan, as messages to roles are rare."""
        return [c for c in self.connections.values() if c.claims.role == role]

    def is_user_in_session(self, user_id: str, session_id: str) -> bool:
        """Whether any connection of the user has joined the session."""
        return any(
            connection.sessions and session_id in connection.sessions
            for connection in self.user_connections.connections(user_id)
        )

    def presence(self, session_id: str) -> list[dict[str, Any]]:
        """The users in a session, each with the number of connections; at most 1000."""
        return users_of(self.of_session(session_id))

    def __iter__(self) -> Iterator[ConnectionInfo]:
        return iter(self.connections.values())


Select = Callable[[Hub, str], Iterable[ConnectionInfo]]

SELECT: dict[TargetType, Select] = {
    TargetType.BROADCAST: lambda hub, _: hub.connections.values(),
    TargetType.USER: lambda hub, id_: hub.of_user(id_),
    TargetType.SESSION: lambda hub, id_: hub.of_session(id_),
    TargetType.ORGANIZATION: lambda hub, id_: hub.of_organization(id_),
    TargetType.ROLE: lambda hub, id_: hub.of_role(id_),
    TargetType.CONNECTION: lambda hub, id_: (
        [hub.connections[id_]] if id_ in hub.connections else []
    ),
}
"""The connections that a target matches, by its type and id."""


class HubRecords:
    """The connections of a hub as the directory sees them."""

    def __init__(self, hub: Hub, node: str) -> None:
        self._hub = hub
        self._node = node

    def __len__(self) -> int:
        return len(self._hub)

    def count_of(self, user_id: str) -> int:
        """Number of a user's connections."""
        return self._hub.user_connections.count(user_id)

    def has_others(self, session_id: str, user_id: str) -> bool:
        """Whether other users than this one have joined a session, without monitors."""
        for connection in self._hub.of_session(session_id):
            if connection.user_id != user_id and not connection.is_monitor:
                return True
        return False

    def records(self, target: Target) -> Iterable[ConnectionRecord]:
        """The connections that a target matches."""
        for connection in list(SELECT[target.type](self._hub, target.id)):
            yield record_of(connection, self._node)

    def record(self, connection_id: str) -> ConnectionRecord | None:
        """A connection by id."""
        connection = self._hub.connections.get(connection_id)
        return None if connection is None else record_of(connection, self._node)

    def count_in(self, session_id: str, user_id: str) -> int:
        """Number of a user's connections that have joined a session."""
        connections = self._hub.of_user(user_id)
        return sum([1 for each in connections if each.sessions and session_id in each.sessions])

    def users_in(self, session_id: str) -> SessionUsers:
        """The users in a session; at most 1000."""
        return self._hub.presence(session_id)

    def counts(self) -> Mapping[str, int]:
        """The connected users, each with the number of connections."""
        users = self._hub.user_connections
        return {user_id: users.count(user_id) for user_id in users}


def record_of(connection: ConnectionInfo, node: str) -> ConnectionRecord:
    """A connection as the directory enters it."""
    claims = connection.claims
    return ConnectionRecord(
        connection.connection_id,
        claims.sub,
        node,
        username=claims.username,
        role=claims.role,
        organization_id=claims.organization_id,
        endpoint=connection.endpoint,
        connected_at=connection.connected_at,
        sessions=tuple(connection.sessions or ()),
        session_id=connection.session_id,
    )


def _ignore(_: Target) -> None:
    """Follow nothing: the default of a hub without a broker."""


def users_of(connections: Iterable[ConnectionInfo]) -> list[dict[str, Any]]:
    """The users of connections, each with the number of them; the first 1000."""
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
