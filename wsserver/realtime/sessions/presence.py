"""``Presence``: ``user_status_update`` for monitors and the members of a user's sessions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.broker import Broker, Push
from wsserver.cluster.directory import ConnectionDirectory
from wsserver.identity.claims import Claims
from wsserver.protocol.pushes import push
from wsserver.protocol.targets import session
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.observability.monitors import Monitors

SESSIONS_LIMIT = 1000
"""Sessions of one user that are remembered as notified of ``online`` or ``offline``."""
USERS_LIMIT = 50_000
"""Users whose sessions are remembered as notified of ``offline``."""


class Presence:
    """Pushes ``user_status_update`` when a user's first connection opens or the last one closes.

    A session is one of a user's by its member list, by the token of a connection (named in it, or
    bound to it), or because a connection has joined it. Sessions notified of ``offline`` are also
    notified of the next ``online``, and the other way round; so they are remembered until then.
    """

    def __init__(
        self,
        hub: Hub,
        broker: Broker,
        connections: ConnectionDirectory,
        monitors: Monitors,
        members: Members,
        access: SessionAccess,
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._broker = broker
        self._connections = connections
        self._clock = clock
        self._monitors = monitors
        self._members = members
        self._access = access
        self._online_in: dict[str, dict[str, None]] = {}
        """By connected user: sessions notified of ``online`` that may not be the user's now."""
        self._offline_in: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        """By user: sessions notified of ``offline``, and not of ``online`` since."""

    def sessions_of(self, connection: ConnectionInfo) -> set[str]:
        """The user's sessions: joined, bound to, by member list, or named by the token."""
        sessions = self._members.sessions_of(connection.user_id)
        sessions.update(connection.sessions or ())
        sessions.update(_named(connection.session_id, connection.claims))
        return sessions

    def came(self, connection: ConnectionInfo, *, is_first: bool) -> None:
        """A connection was opened."""
        user_id = connection.user_id
        if not is_first:
            self._notify_new(connection)
            return
        sessions = self.sessions_of(connection)
        for session_id in self._offline_in.get(user_id, ()):
            # Notified now, whether the user joins it again or not.
            if self._access.allows(connection.claims, session_id):
                self._remember(user_id, session_id)
                sessions.add(session_id)
        self._forget_offline(user_id, sessions)
        self._notify_monitors(user_id, "online")
        self._notify_sessions(user_id, "online", sessions)

    def joins(self, connection: ConnectionInfo, session_id: str) -> None:
        """A connection is about to join a session."""
        user_id = connection.user_id
        if session_id in self._offline_in.get(user_id, ()):
            self._remember(user_id, session_id)
            self._notify_online(user_id, {session_id})

    def renewed(self, connection: ConnectionInfo, former: Claims) -> None:
        """The claims of a connection were replaced."""
        if former.sessions != connection.claims.sessions:
            self._notify_new(connection, former)
            self._lost(connection.user_id, _named(None, former))

    def listed(self, session_id: str, added: set[str], removed: set[str]) -> None:
        """A member list was changed."""
        for user_id in added:
            if (
                self._hub.user_connections.count(user_id)
                and session_id not in self._online_in.get(user_id, ())
                and not self._is_by_connection(user_id, session_id)
            ):
                self._notify_online(user_id, {session_id})
        for user_id in removed:
            if self._hub.user_connections.count(user_id):
                self._lost(user_id, (session_id,))

    def gone(self, connection: ConnectionInfo, sessions: set[str], *, is_last: bool) -> None:
        """A connection was closed; ``sessions``: its ``sessions_of`` before."""
        user_id = connection.user_id
        if not is_last:
            self._lost(user_id, _named(connection.session_id, connection.claims))
            return
        sessions.update(self._online_in.pop(user_id, ()))
        self._notify_monitors(user_id, "offline")
        heard = self._notify_sessions(user_id, "offline", sessions)
        if heard:
            # Tokens may name one session each, so the earlier sessions have to be kept here.
            former = [each for each in self._offline_in.pop(user_id, ()) if each not in heard]
            self._offline_in[user_id] = (*heard, *former)[:SESSIONS_LIMIT]
            if len(self._offline_in) > USERS_LIMIT:
                self._offline_in.popitem(last=False)

    def _notify_new(self, connection: ConnectionInfo, former: Claims | None = None) -> None:
        """Push ``online`` to the sessions named by its token that were not notified yet."""
        user_id = connection.user_id
        new = set(_named(connection.session_id, connection.claims))
        if former is not None:
            new.difference_update(_named(connection.session_id, former))
        if not new:
            return
        for other in self._hub.of_user(user_id):
            new.difference_update(other.sessions or ())
            if other is not connection:
                new.difference_update(_named(other.session_id, other.claims))
        heard = self._online_in.get(user_id, ())
        new = {
            session_id
            for session_id in new
            if session_id not in heard and not self._members.is_member(session_id, user_id)
        }
        if new:
            self._notify_online(user_id, new)

    def _lost(self, user_id: str, session_ids: Iterable[str]) -> None:
        """Remember sessions, notified of ``online``, that are the user's no longer."""
        for session_id in session_ids:
            if not self._is_known(user_id, session_id):
                self._remember(user_id, session_id)

    def _is_known(self, user_id: str, session_id: str) -> bool:
        """Whether a session is one of the user's now."""
        return self._members.is_member(session_id, user_id) or self._is_by_connection(
            user_id, session_id
        )

    def _is_by_connection(self, user_id: str, session_id: str) -> bool:
        """Whether a session is one of the user's by a join or a token."""
        return any(
            session_id in (connection.sessions or ())
            or session_id in _named(connection.session_id, connection.claims)
            for connection in self._hub.of_user(user_id)
        )

    def _remember(self, user_id: str, session_id: str) -> None:
        heard = self._online_in.setdefault(user_id, {})
        heard[session_id] = None
        if len(heard) > SESSIONS_LIMIT:
            del heard[next(iter(heard))]

    def _forget_offline(self, user_id: str, sessions: set[str]) -> None:
        parted = self._offline_in.pop(user_id, None)
        rest = tuple(each for each in parted if each not in sessions) if parted else ()
        if rest:
            self._offline_in[user_id] = rest

    def _notify_online(self, user_id: str, sessions: set[str]) -> None:
        self._forget_offline(user_id, sessions)
        self._notify_sessions(user_id, "online", sessions)

    def _notify_monitors(self, user_id: str, status: str) -> None:
        self._monitors.notify(
            "user_status_update", except_user=user_id, **self._status(user_id, status)
        )

    def _notify_sessions(self, user_id: str, status: str, sessions: Iterable[str]) -> set[str]:
        """Push to all connections in the sessions except for the user's, to each once.

        Returns the sessions that may have such a connection.
        """
        heard = {each for each in sessions if self._connections.may_have_others(each, user_id)}
        if heard:
            members = self._status(user_id, status)
            text = push("user_status_update", rfc3339(self._clock.wall()), **members)
            targets = tuple([session(each) for each in sorted(heard)])
            self._broker.signal(Push(targets, text, exclude_user=user_id))
        return heard

    def _status(self, user_id: str, status: str) -> dict[str, str | int]:
        connections = self._hub.user_connections.count(user_id)
        return {"user_id": user_id, "status": status, "connections": connections}


def _named(bound: str | None, claims: Claims) -> frozenset[str]:
    """The sessions that a connection is bound to or that its token names."""
    named = claims.sessions if isinstance(claims.sessions, frozenset) else frozenset()
    return named if bound is None else named | {bound}
