"""``AnswerWatchers``: reports to the owner of an answer who watches it on this node."""

from __future__ import annotations

from collections.abc import Sequence

from wsserver.clock import Clock
from wsserver.cluster.control import Control, Notice
from wsserver.realtime.answers.followed_answers import FollowedAnswer, FollowedAnswers
from wsserver.realtime.answers.owned_answer import WATCHERS_LIMIT, Watch
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub


class AnswerWatched(Notice, frozen=True):
    """Users who watch an answer on a node, or have stopped.

    May get lost: it is for the operator's view of an answer.
    """

    message_id: str
    watches: Sequence[Watch]


class AnswerWatchers:
    """Users of this node in the sessions of growing answers: since when, and until when.

    A new owner gets those who watch now; the earlier ones are in storage.
    """

    def __init__(self, hub: Hub, followed: FollowedAnswers, control: Control, clock: Clock) -> None:
        self._hub = hub
        self._followed = followed
        self._control = control
        self._clock = clock
        followed.add_listener(self._report_all)

    def came(self, connection: ConnectionInfo, session_id: str) -> None:
        """A connection has joined a session."""
        for answer in self._followed.in_session(session_id):
            self._add(answer, connection)

    def leaves(self, connection: ConnectionInfo, session_id: str) -> None:
        """A connection is about to leave a session."""
        for answer in self._followed.in_session(session_id):
            user_id = connection.user_id
            if user_id in answer.watches and not self._has_another(connection, session_id):
                watch = Watch(user_id, answer.watches.pop(user_id), self._clock.wall())
                self._control.notify(AnswerWatched(answer.message_id, [watch]))

    def _add(self, answer: FollowedAnswer, connection: ConnectionInfo) -> None:
        user_id = connection.user_id
        if user_id in answer.watches or len(answer.watches) >= WATCHERS_LIMIT:
            return
        if answer.admits(connection.claims):
            since = answer.watches[user_id] = self._clock.wall()
            self._control.notify(AnswerWatched(answer.message_id, [Watch(user_id, since)]))

    def _has_another(self, connection: ConnectionInfo, session_id: str) -> bool:
        return any(
            other is not connection and session_id in (other.sessions or ())
            for other in self._hub.of_user(connection.user_id)
        )

    def _report_all(self, answer: FollowedAnswer) -> None:
        """An answer is followed from now on, or has a new owner."""
        now = self._clock.wall()
        for connection in self._hub.of_session(answer.session_id):
            is_new = connection.user_id not in answer.watches
            if is_new and len(answer.watches) < WATCHERS_LIMIT and answer.admits(connection.claims):
                answer.watches[connection.user_id] = now
        if answer.watches:
            watches = [Watch(user_id, since) for user_id, since in answer.watches.items()]
            self._control.notify(AnswerWatched(answer.message_id, watches))
