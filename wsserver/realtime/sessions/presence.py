"""``Presence``: ``user_status_update`` for monitors and the members of a user's sessions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.broker import MonitorPush, Push, Signal
from wsserver.cluster.control import Control, Notice
from wsserver.cluster.directory import Change, ConnectionDirectory, ConnectionRecord
from wsserver.identity.claims import Claims
from wsserver.protocol.pushes import push
from wsserver.protocol.targets import session, user
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.observability.monitors import Monitors
from wsserver.tasks import Tasks

SESSIONS_LIMIT = 1000
"""Sessions of one user that are remembered as notified of ``online`` or ``offline``."""
USERS_LIMIT = 50_000
"""Users whose sessions are remembered as notified of ``online`` or ``offline``."""


class UserStatus(Notice, frozen=True):
    """The status of a user: each node pushes it to its connections in the sessions."""

    node: str
    """The node that has found it out."""
    user_id: str
    status: str
    connections: int
    number: int
    """Of the user's last change: a status with a lower number than another one is late."""
    sessions: tuple[str, ...]
    is_change: bool
    """Whether it is new, and not for these sessions only; monitors get new ones."""


class SessionsHeard(Notice, frozen=True):
    """Sessions that were notified of a user's ``online``, and may not be the user's now."""

    user_id: str
    sessions: tuple[str, ...]


class Presence:
    """Pushes ``user_status_update`` when a user's first connection opens or the last one closes.

    A session is one of a user's by its member list, by the token of a connection (named in it, or
    bound to it), or because a connection has joined it. Sessions notified of ``offline`` are also
    notified of the next ``online``, and the other way round; so they are remembered until then, by
    every node, as the user may come back on any. The node that has made a change notifies all of
    them; notices that got lost cost a push, until the next change of that user.

    ``deliver`` writes a signal to this node's connections.
    """

    def __init__(
        self,
        hub: Hub,
        deliver: Callable[[Signal], None],
        control: Control,
        connections: ConnectionDirectory,
        monitors: Monitors,
        members: Members,
        access: SessionAccess,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._hub = hub
        self._deliver = deliver
        self._control = control
        self._connections = connections
        self._clock = clock
        self._monitors = monitors
        self._members = members
        self._access = access
        self._tasks = tasks
        self._online_in: OrderedDict[str, dict[str, None]] = OrderedDict()
        """By connected user: sessions notified of ``online`` that may not be the user's by a
        member list or a connection of this node now."""
        self._offline_in: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        """By user: sessions notified of ``offline``, and not of ``online`` since."""
        self._latest: OrderedDict[str, int] = OrderedDict()
        """By user: number of the latest status; none in a single process."""
        control.add_listener(UserStatus, self._noticed)
        control.add_listener(SessionsHeard, self._heard)
        connections.add_status_listener(self._changed)

    def sessions_of(self, connection: ConnectionInfo) -> set[str]:
        """The user's sessions: joined, bound to, by member list, or named by the token."""
        sessions = self._members.sessions_of(connection.user_id)
        sessions.update(connection.sessions or ())
        sessions.update(_named(connection.session_id, connection.claims))
        return sessions

    def came(self, connection: ConnectionInfo, change: Change) -> None:
        """A connection was opened."""
        if change.became == "online":
            # Not those that it has joined since: they were notified by ``session_joined``.
            sessions = self._members.sessions_of(connection.user_id)
            sessions.update(_named(connection.session_id, connection.claims))
            self._came_online(connection.user_id, sessions, [connection], change)
        else:
            self._notify_new(connection, change=change)

    def joins(self, connection: ConnectionInfo, session_id: str) -> None:
        """A connection is about to join a session."""
        user_id = connection.user_id
        if session_id in self._offline_in.get(user_id, ()):
            self._forget_offline(user_id, {session_id})
            self._remember(user_id, session_id)
            self._notify_online(user_id, {session_id})

    def renewed(self, connection: ConnectionInfo, former: Claims) -> None:
        """The claims of a connection were replaced."""
        if former.sessions != connection.claims.sessions:
            self._notify_new(connection, former)
            self._lose(connection.user_id, _named(None, former))

    def listed(self, session_id: str, added: set[str], removed: set[str]) -> None:
        """A member list was changed; each node is notified of it."""
        for user_id in added:
            if self._is_new_in(session_id, user_id):
                if self._connections.is_shared:
                    self._tasks.spawn(self._list_once(session_id, user_id), name="presence")
                else:
                    self._notify_online(user_id, {session_id})
        for user_id in removed:
            if self._hub.user_connections.count(user_id):
                self._lose(user_id, (session_id,))

    def gone(self, connection: ConnectionInfo, sessions: set[str], change: Change) -> None:
        """A connection was closed; ``sessions``: its ``sessions_of`` before."""
        user_id = connection.user_id
        if change.became == "offline":
            self._went_offline(user_id, sessions, change)
        elif change.connections:
            self._lose(user_id, _named(connection.session_id, connection.claims))
        else:  # it may turn out later that the user is offline
            self._lose(user_id, sessions)

    def lost(self, connection: ConnectionRecord, change: Change) -> None:
        """A connection has ended with its node."""
        if change.became == "offline":
            sessions = self._members.sessions_of(connection.user_id)
            sessions.update(connection.sessions)
            if connection.session_id is not None:
                sessions.add(connection.session_id)
            self._went_offline(connection.user_id, sessions, change)

    def _changed(self, user_id: str, change: Change) -> None:
        """The status of a user was made up for afterwards."""
        if change.became == "online":
            connections = list(self._hub.of_user(user_id))
            sessions = self._members.sessions_of(user_id)
            for connection in connections:
                sessions |= self.sessions_of(connection)
            self._came_online(user_id, sessions, connections, change)
        else:
            self._went_offline(user_id, self._members.sessions_of(user_id), change)

    def _came_online(
        self,
        user_id: str,
        sessions: set[str],
        connections: Iterable[ConnectionInfo],
        change: Change,
    ) -> None:
        for connection in connections:
            for session_id in self._offline_in.get(user_id, ()):
                # Notified now, whether the user joins it again or not.
                if self._access.allows(connection.claims, session_id):
                    self._remember(user_id, session_id)
                    sessions.add(session_id)
        self._send(user_id, "online", change, sessions, is_change=True)

    def _went_offline(self, user_id: str, sessions: set[str], change: Change) -> None:
        sessions.update(self._online_in.get(user_id, ()))
        self._send(user_id, "offline", change, sessions, is_change=True)

    def _notify_new(
        self,
        connection: ConnectionInfo,
        former: Claims | None = None,
        change: Change | None = None,
    ) -> None:
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
            self._notify_online(user_id, new, change)

    def _is_new_in(self, session_id: str, user_id: str) -> bool:
        """Whether a session was not notified of ``online`` of a user that is here."""
        return (
            self._hub.user_connections.count(user_id) > 0
            and session_id not in self._online_in.get(user_id, ())
            and not self._is_by_connection(user_id, session_id)
        )

    async def _list_once(self, session_id: str, user_id: str) -> None:
        """Notify a session of a new member, on the node of the user's oldest connection only."""
        found = await self._connections.connections(user(user_id))
        is_mine = bool(found) and found[0].node == self._control.node
        if is_mine and self._is_new_in(session_id, user_id):
            self._notify_online(user_id, {session_id}, Change(len(found)))

    def _lose(self, user_id: str, session_ids: Iterable[str]) -> None:
        """Remember sessions, notified of ``online``, that are the user's no longer."""
        lost = [each for each in session_ids if not self._is_known(user_id, each)]
        if lost:
            self._control.notify(SessionsHeard(user_id, tuple(lost[:SESSIONS_LIMIT])))

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
        if len(self._online_in) > USERS_LIMIT:
            self._online_in.popitem(last=False)

    def _forget_offline(self, user_id: str, sessions: Iterable[str]) -> None:
        parted = self._offline_in.pop(user_id, None)
        rest = tuple(each for each in parted if each not in sessions) if parted else ()
        if rest:
            self._offline_in[user_id] = rest

    # Notifying all nodes

    def _notify_online(
        self, user_id: str, sessions: set[str], change: Change | None = None
    ) -> None:
        """Notify some sessions of a user that is online already."""
        if change is None and self._connections.is_shared:
            self._tasks.spawn(self._count_and_notify(user_id, sessions), name="presence")
            return
        count = self._hub.user_connections.count(user_id)
        self._send(user_id, "online", change or Change(count), sessions, is_change=False)

    async def _count_and_notify(self, user_id: str, sessions: set[str]) -> None:
        count = await self._connections.count(user_id)
        if self._hub.user_connections.count(user_id):
            self._notify_online(user_id, sessions, Change(count))

    def _send(
        self, user_id: str, status: str, change: Change, sessions: set[str], *, is_change: bool
    ) -> None:
        number = change.number or self._latest.get(user_id, 0)
        self._control.notify(
            UserStatus(
                self._control.node,
                user_id,
                status,
                change.connections,
                number,
                tuple(sessions),
                is_change,
            )
        )

    def _heard(self, notice: SessionsHeard) -> None:
        for session_id in notice.sessions:
            self._remember(notice.user_id, session_id)

    def _noticed(self, notice: UserStatus) -> None:
        user_id, sessions = notice.user_id, notice.sessions
        if not self._is_latest(notice):
            if notice.status == "offline":  # the next one has to reach them
                for session_id in sessions:
                    self._remember(user_id, session_id)
            return
        heard = [each for each in sessions if self._connections.may_have_others(each, user_id)]
        if notice.status == "online":
            self._forget_offline(user_id, sessions)
            if notice.node != self._control.node:
                for session_id in sessions:
                    if not self._members.is_member(session_id, user_id):
                        self._remember(user_id, session_id)
        else:
            self._online_in.pop(user_id, None)
            if heard:
                # Tokens may name one session each, so the earlier sessions have to be kept here.
                former = [each for each in self._offline_in.pop(user_id, ()) if each not in heard]
                self._offline_in[user_id] = (*heard, *former)[:SESSIONS_LIMIT]
                if len(self._offline_in) > USERS_LIMIT:
                    self._offline_in.popitem(last=False)
        self._push(notice, [each for each in heard if self._has_others(each, user_id)])

    def _is_latest(self, notice: UserStatus) -> bool:
        """Note the number of a status; False if a later one was noted."""
        if not notice.number:
            return True
        latest = self._latest.pop(notice.user_id, 0)
        self._latest[notice.user_id] = max(latest, notice.number)
        if len(self._latest) > USERS_LIMIT:
            self._latest.popitem(last=False)
        return notice.number >= latest

    def _push(self, notice: UserStatus, sessions: list[str]) -> None:
        """Push to this node's monitors and connections, except for the user's, to each once."""
        is_for_monitors = notice.is_change and len(self._monitors) > 0
        if not sessions and not is_for_monitors:
            return
        text = push(
            "user_status_update",
            rfc3339(self._clock.wall()),
            user_id=notice.user_id,
            status=notice.status,
            connections=notice.connections,
        )
        if is_for_monitors:
            self._deliver(MonitorPush(text, notice.user_id))
        if sessions:
            targets = tuple([session(each) for each in sorted(sessions)])
            self._deliver(Push(targets, text, exclude_user=notice.user_id))

    def _has_others(self, session_id: str, user_id: str) -> bool:
        """Whether a connection of this node, other than the user's, is in a session."""
        for connection in self._hub.of_session(session_id):
            if connection.user_id != user_id and not connection.is_monitor:
                return True
        return False


def _named(bound: str | None, claims: Claims) -> frozenset[str]:
    """The sessions that a connection is bound to or that its token names."""
    named = claims.sessions if isinstance(claims.sessions, frozenset) else frozenset()
    return named if bound is None else named | {bound}
