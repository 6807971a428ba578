"""``Sessions``: joining and leaving sessions, and access to them while joined."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from wsserver.cluster.directory import (
    USERS_LISTED,
    ConnectionDirectory,
    LostConnection,
    SessionUsers,
)
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.targets import session
from wsserver.protocol.types import Position
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.access.tenancy import Scope
from wsserver.realtime.answers.followed_answers import FollowedAnswers
from wsserver.realtime.answers.watchers import AnswerWatchers
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery import event_cursors
from wsserver.realtime.delivery.local_delivery import ConnectionWriter
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.messages.message import Message
from wsserver.realtime.observability import events
from wsserver.realtime.observability.events import EventBus
from wsserver.realtime.sessions.presence import Presence
from wsserver.realtime.sessions.read_positions import Positions, ReadPositions, with_positions
from wsserver.realtime.sessions.visits import SessionVisits
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
        connections: ConnectionDirectory,
        positions: ReadPositions,
        answers: FollowedAnswers,
        watchers: AnswerWatchers,
        visits: SessionVisits,
        note_join: Callable[[ConnectionInfo, str, int], None] | None,
        replay_budget: int,
    ) -> None:
        """``replay_budget``: bytes that may be queued for a connection.

        ``note_join`` gets each join: the connection, the session, and where its stream ends.
        """
        self._note_join = note_join
        self.access = access
        self.positions = positions
        self._visits = visits
        self._connections = connections
        self._presence = presence
        self._streams = streams
        self._hub = hub
        self._router = router
        self._writer = writer
        self._events = events
        self._members = members
        self._answers = answers
        self._watchers = watchers
        self._replay_budget = replay_budget

    def users_of_all_nodes(self, session_id: str) -> Awaitable[SessionUsers] | None:
        """The users in a session; None in a single process, whose own are all there are."""
        return self._read_users(session_id) if self._connections.is_shared else None

    async def present(self, session_id: str) -> set[str]:
        """The users who have connections in a session, on all nodes."""
        reading = self.users_of_all_nodes(session_id)
        users = self._hub.presence(session_id) if reading is None else await reading
        return {each["user_id"] for each in users}

    def connections_here(self, user_id: str, session_id: str) -> list[ConnectionInfo]:
        """The connections of a user on this node that have joined a session."""
        return [each for each in self._hub.of_user(user_id) if session_id in (each.sessions or ())]

    async def _read_users(self, session_id: str) -> SessionUsers:
        users = self._connections.session_users(session_id)
        return users if isinstance(users, list) else await users

    def join(
        self,
        connection: ConnectionInfo,
        session_id: str,
        recovery: Recovery,
        users: SessionUsers | None,
        positions: Positions,
        since: Position | None = None,
    ) -> dict[str, Any]:
        """Join a session; returns the members of ``session_joined``.

        ``recovery``: messages after ``since``, exact in this iteration of the event loop;
        ``users``: those of all nodes, and ``positions``: how far they have read, both read before.
        """
        recovery = self.with_growing(connection, session_id, recovery, since)
        if users is not None and session_id not in (connection.sessions or ()):
            add_connection(users, connection)
        self.rejoin(connection, session_id, recovery)
        user_id = connection.user_id
        if user_id not in positions and connection.claims.opens(session_id):
            positions = {**positions, user_id: recovery.offset}
        listed = with_positions(
            self._hub.presence(session_id) if users is None else users, positions
        )
        self.positions.confirm(
            session_id, listed, partial(self._writer.push, connection, "read_position")
        )
        return {
            "session_id": session_id,
            "user_id": connection.user_id,
            **recovery.answer(),
            **({"recovered": False} if since is None else {}),  # nothing was requested
            "users": listed,
        }

    def with_growing(
        self,
        connection: ConnectionInfo,
        session_id: str,
        recovery: Recovery,
        since: Position | None,
        others: int = 0,
    ) -> Recovery:
        """A recovery with the text of growing answers as it is in this iteration of the event loop.

        Also of those at or before ``since``: ``answer_appended`` continues it. ``others``: bytes of
        the other streams in the same answer.
        """
        if since is not None and not recovery.is_complete:
            return recovery
        budget = self._replay_budget - connection.websocket.queued_bytes - others
        after = None if since is None else since.offset
        messages = self._answers.newest(
            SESSION + session_id, after, connection.claims, recovery.messages, budget
        )
        return recovery._replace(messages=messages)

    def with_text(
        self, connection: ConnectionInfo, session_id: str, messages: list[bytes]
    ) -> list[bytes]:
        """Messages of a session that was joined; growing answers among them with their text now."""
        budget = self._replay_budget - connection.websocket.queued_bytes
        before = -1  # nothing besides them
        return self._answers.newest(
            SESSION + session_id, before, connection.claims, messages, budget
        )

    def rejoin(self, connection: ConnectionInfo, session_id: str, recovery: Recovery) -> None:
        """Join a session. ``session_joined`` is pushed to the others once a user.

        ``recovery``: where a user who has it by a claim begins, if for the first time.
        """
        is_new = session_id not in (connection.sessions or ())
        if is_new:
            if connection.claims.opens(session_id):
                self.positions.joined(connection.user_id, session_id, recovery.offset)
            self._presence.joins(connection, session_id)
        self._hub.join(connection, session_id)
        if self._note_join is not None:
            self._note_join(connection, session_id, recovery.offset)
        if is_new:
            self._watchers.came(connection, session_id)
            done = partial(self._joined, connection, session_id)
            id_, user_id = connection.connection_id, connection.user_id
            self._connections.joined(id_, user_id, session_id, done)

    def leave(self, connection: ConnectionInfo, session_id: str, *, quietly: bool = False) -> None:
        """Leave a session, if it was joined; ``quietly``: without pushing ``session_left``."""
        if connection.sessions is None or session_id not in connection.sessions:
            return
        self._watchers.leaves(connection, session_id)
        self._hub.leave(connection, session_id)
        event_cursors.left(connection, SESSION + session_id)
        done = partial(
            self._left, connection.connection_id, connection.user_id, session_id, quietly
        )
        self._connections.left(connection.connection_id, connection.user_id, session_id, done)

    def lost(self, lost: LostConnection) -> None:
        """A connection has ended with its node."""
        connection = lost.connection
        for session_id in connection.sessions:
            count = 0 if session_id in lost.left else 1
            self._left(connection.connection_id, connection.user_id, session_id, False, count)

    def _joined(self, connection: ConnectionInfo, session_id: str, count: int) -> None:
        """A connection is in a session, with ``count`` of its user."""
        who = {"session_id": session_id, "user_id": connection.user_id}
        if count == 1:
            self._visits.note(session_id, connection.user_id, "joined")
            self._notify("session_joined", who)
        self._events.emit(events.SESSION_JOINED, connection_id=connection.connection_id, **who)

    def _left(
        self, connection_id: str, user_id: str, session_id: str, quietly: bool, count: int
    ) -> None:
        """A connection is in a session no longer, ``count`` of its user still are."""
        who = {"session_id": session_id, "user_id": user_id}
        if count == 0:
            self._visits.note(session_id, user_id, "left")
            if not quietly:
                self._notify("session_left", who)
        self._events.emit(events.SESSION_LEFT, connection_id=connection_id, **who)

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

    def members_of(self, session_id: str) -> list[str]:
        """The member list of a session, sorted."""
        return self._members.of_session(session_id)

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

    async def positions_of_members(self, session_id: str, scope: Scope) -> list[dict[str, Any]]:
        """How far the members have read, for a requester with a scope that has learned them."""
        positions = await self.positions.read(session_id)
        members = filter(scope.is_shown_in_session, self._members.of_session(session_id))
        return with_positions([{"user_id": user_id} for user_id in members], positions)

    def _notify(self, type_: str, who: dict[str, Any]) -> None:
        self._router.post(
            Message(
                type=type_,
                members=who,
                target=session(who["session_id"]),
                exclude_users=frozenset((who["user_id"],)),
                is_addressed=False,
            )
        )


def add_connection(users: SessionUsers, connection: ConnectionInfo) -> None:
    """Count a connection that joins in the list of a session's users."""
    for each in users:
        if each["user_id"] == connection.user_id:
            each["connections"] += 1
            return
    if len(users) < USERS_LISTED:
        users.append(
            {
                "user_id": connection.user_id,
                "username": connection.claims.username,
                "connections": 1,
            }
        )
