"""User status: monitors and the people of a user's sessions hear who is online and offline."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from wsserver.identity.claims import Claims
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.observability.monitors import Monitors

HEARD_LIMIT = 1000
"""Sessions of one user that are remembered, for having heard ``online`` or ``offline``."""
PARTED_LIMIT = 50_000
"""Users whose sessions are remembered for having heard ``offline``."""


class Presence:
    """Pushes ``user_status_update`` when a user's first connection comes or the last one goes.

    A session is a user's by a member list, by the token of a connection (named in it, or bound to
    it), or because a connection has joined it. Whoever hears ``offline`` hears ``online`` again:
    the sessions that heard ``offline`` are remembered until the user is back, those that heard
    ``online`` until the user has gone.
    """

    def __init__(
        self,
        hub: Hub,
        router: Router,
        monitors: Monitors,
        members: Members,
        access: SessionAccess,
    ) -> None:
        self._hub = hub
        self._router = router
        self._monitors = monitors
        self._members = members
        self._access = access
        self._heard: dict[str, dict[str, None]] = {}
        """By user who is there: sessions that heard ``online`` and may not be the user's now."""
        self._parted: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        """By user: sessions that heard ``offline``, and no ``online`` since."""

    def sessions_of(self, connection: ConnectionInfo) -> set[str]:
        """The user's sessions: joined, bound to, listed in, or named by the token."""
        sessions = self._members.sessions_of(connection.user_id)
        sessions.update(connection.sessions or ())
        sessions.update(_named(connection.session_id, connection.claims))
        return sessions

    def came(self, connection: ConnectionInfo, *, is_first: bool) -> None:
        """A connection is there."""
        user_id = connection.user_id
        if not is_first:
            self._tell_more(connection)
            return
        sessions = self.sessions_of(connection)
        for session_id in self._parted.get(user_id, ()):
            # An open one hears it now, whether joined again or not.
            if self._access.allows(connection.claims, session_id):
                self._remember(user_id, session_id)
                sessions.add(session_id)
        self._unpart(user_id, sessions)
        self._tell_monitors(user_id, "online")
        self._tell_people(user_id, "online", sessions)

    def joins(self, connection: ConnectionInfo, session_id: str) -> None:
        """A connection joins a session."""
        user_id = connection.user_id
        if session_id in self._parted.get(user_id, ()):
            self._remember(user_id, session_id)
            self._tell_online(user_id, {session_id})

    def renewed(self, connection: ConnectionInfo, former: Claims) -> None:
        """A connection has newer claims."""
        if former.sessions != connection.claims.sessions:
            self._tell_more(connection, former)
            self._lost(connection.user_id, _named(None, former))

    def listed(self, session_id: str, added: set[str], removed: set[str]) -> None:
        """A member list has changed."""
        for user_id in added:
            if (
                self._hub.user_connections.count(user_id)
                and session_id not in self._heard.get(user_id, ())
                and not self._is_by_connection(user_id, session_id)
            ):
                self._tell_online(user_id, {session_id})
        for user_id in removed:
            if self._hub.user_connections.count(user_id):
                self._lost(user_id, (session_id,))

    def gone(self, connection: ConnectionInfo, sessions: set[str], *, is_last: bool) -> None:
        """A connection has ended that was in these ``sessions`` (see ``sessions_of``)."""
        user_id = connection.user_id
        if not is_last:
            self._lost(user_id, _named(connection.session_id, connection.claims))
            return
        sessions.update(self._heard.pop(user_id, ()))
        self._tell_monitors(user_id, "offline")
        heard = self._tell_people(user_id, "offline", sessions)
        if heard:
            # A token for each session, as many backends give, never opens the earlier ones again.
            former = [each for each in self._parted.pop(user_id, ()) if each not in heard]
            self._parted[user_id] = (*heard, *former)[:HEARD_LIMIT]
            if len(self._parted) > PARTED_LIMIT:
                self._parted.popitem(last=False)

    def _tell_more(self, connection: ConnectionInfo, former: Claims | None = None) -> None:
        """Tell the sessions that its token names and that have not heard of the user yet."""
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
        heard = self._heard.get(user_id, ())
        new = {
            session_id
            for session_id in new
            if session_id not in heard and not self._members.is_member(session_id, user_id)
        }
        if new:
            self._tell_online(user_id, new)

    def _lost(self, user_id: str, session_ids: Iterable[str]) -> None:
        """These sessions, which heard ``online``, may no longer be the user's by list or token."""
        for session_id in session_ids:
            if not self._is_known(user_id, session_id):
                self._remember(user_id, session_id)

    def _is_known(self, user_id: str, session_id: str) -> bool:
        """Is the session the user's in one of the ways that hold now?"""
        return self._members.is_member(session_id, user_id) or self._is_by_connection(
            user_id, session_id
        )

    def _is_by_connection(self, user_id: str, session_id: str) -> bool:
        """Is the session the user's because of a connection, its token or a join?"""
        return any(
            session_id in (connection.sessions or ())
            or session_id in _named(connection.session_id, connection.claims)
            for connection in self._hub.of_user(user_id)
        )

    def _remember(self, user_id: str, session_id: str) -> None:
        heard = self._heard.setdefault(user_id, {})
        heard[session_id] = None
        if len(heard) > HEARD_LIMIT:
            del heard[next(iter(heard))]

    def _unpart(self, user_id: str, sessions: set[str]) -> None:
        parted = self._parted.pop(user_id, None)
        rest = tuple(each for each in parted if each not in sessions) if parted else ()
        if rest:
            self._parted[user_id] = rest

    def _tell_online(self, user_id: str, sessions: set[str]) -> None:
        self._unpart(user_id, sessions)
        self._tell_people(user_id, "online", sessions)

    def _tell_monitors(self, user_id: str, status: str) -> None:
        self._monitors.tell(
            "user_status_update", except_user=user_id, **self._status(user_id, status)
        )

    def _tell_people(self, user_id: str, status: str, sessions: Iterable[str]) -> set[str]:
        """Tell everybody in the sessions but the user, each connection once.

        Returns the sessions in which there was somebody to tell.
        """
        heard = set()
        concerned = {}
        for session_id in sessions:
            for other in self._hub.of_session(session_id):
                if other.user_id != user_id and not other.is_monitor:
                    concerned[other.connection_id] = other
                    heard.add(session_id)
        if concerned:
            members = self._status(user_id, status)
            self._router.push_many(concerned.values(), "user_status_update", **members)
        return heard

    def _status(self, user_id: str, status: str) -> dict[str, str | int]:
        connections = self._hub.user_connections.count(user_id)
        return {"user_id": user_id, "status": status, "connections": connections}


def _named(bound: str | None, claims: Claims) -> frozenset[str]:
    """The sessions that a connection is bound to or that its token names."""
    named = claims.sessions if isinstance(claims.sessions, frozenset) else frozenset()
    return named if bound is None else named | {bound}
