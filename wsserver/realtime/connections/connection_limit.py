"""The limit on connections per user: dead ones give way before a new one is refused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from math import ceil

from wsserver.clock import Clock
from wsserver.errors import ConnectionLimit
from wsserver.protocol.close_codes import CloseCode
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.heartbeat import Heartbeat
from wsserver.realtime.connections.hub import Hub

EVICT_OLDEST = "evict_oldest"
ANSWER_S = 0.3
"""How long a connection has for its answer, and how recent a frame makes the question needless."""
ANSWER_LIMIT_S = 2.0
"""The same for a connection whose last round trip took long."""
SLICE_S = 0.1
"""The time is counted in slices, so that one standstill of the process takes one slice only:
the answers that arrived meanwhile are read before the next."""


@dataclass(frozen=True)
class ConnectionLimits:
    """How many connections there may be, and what happens to one too many of a user."""

    total: int = 50_000
    per_user: int = 5
    policy: str = "reject"

    @property
    def evicts_oldest(self) -> bool:
        """Does the oldest connection give way to one too many, rather than keep it out?"""
        return self.policy == EVICT_OLDEST


class ConnectionRoom:
    """Finds out which connections of a user are dead when there is no room for one more.

    A connection whose network has gone counts until its heartbeat times out, while the same page
    is knocking again. One question serves all arrivals of a user that wait for its outcome; at
    most as many may wait as the user may have connections.
    """

    def __init__(
        self, hub: Hub, heartbeat: Heartbeat, limits: ConnectionLimits, clock: Clock
    ) -> None:
        self._hub = hub
        self._heartbeat = heartbeat
        self._limits = limits
        self._clock = clock
        self._questions: dict[str, Question] = {}

    def is_full(self, user_id: str) -> bool:
        """Has the user as many connections as are allowed?"""
        return self._hub.user_connections.count(user_id) >= self._limits.per_user

    async def ask(self, user_id: str) -> None:
        """Ping the user's silent connections, and close those that give no sign of life in time.

        Returns at once where all have been heard of just now. Raises ``ConnectionLimit`` when too
        many arrivals of this user wait already.
        """
        question = self._questions.get(user_id)
        if question is None:
            silent = self._silent(user_id)
            if not silent:
                return
            question = Question(silent, self._heartbeat, self._clock)
            self._questions[user_id] = question
            question.ended.add_done_callback(lambda _: self._questions.pop(user_id))
        if question.waiting >= self._limits.per_user:
            raise ConnectionLimit("too many connections of this user arrive at once")
        question.waiting += 1
        try:
            # Shielded: the others go on waiting when one of them gives up.
            await asyncio.shield(question.ended)
        finally:
            question.waiting -= 1

    def _silent(self, user_id: str) -> list[ConnectionInfo]:
        latest = self._clock.monotonic() - ANSWER_S
        return [
            connection
            for connection in self._hub.of_user(user_id)
            # What waits behind a slow command may hold the reading up: it is not silence.
            if connection.websocket.last_heard <= latest and not connection.backlog
        ]


class Question:
    """A ping to several connections at once; ``ended`` when enough is known.

    That is: when each has answered or was closed, or when some have not answered in time. Those
    are closed.
    """

    def __init__(
        self,
        asked: list[ConnectionInfo],
        heartbeat: Heartbeat,
        clock: Clock,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.waiting = 0
        """Arrivals that wait for the end."""
        self._asked_at = clock.monotonic()
        self._left = {connection: slices_for(connection.rtt_ms) for connection in asked}
        self._answers = {connection: heartbeat.ask(connection) for connection in asked}
        for connection, answer in self._answers.items():
            answer.add_done_callback(partial(self._settle, connection))
        self._timer = loop.call_later(SLICE_S, self._slice_over)

    def _settle(self, connection: ConnectionInfo, _: asyncio.Future[float | None]) -> None:
        """It has answered, or has gone."""
        self._left.pop(connection, None)
        if not self._left:
            self._end()

    def _slice_over(self) -> None:
        overdue = []
        for connection in list(self._left):
            self._left[connection] -= 1
            if connection.websocket.last_heard > self._asked_at or connection.backlog:
                del self._left[connection]  # any frame counts as life, not the pong alone
            elif self._left[connection] <= 0:
                overdue.append(connection)
        if overdue or not self._left:
            self._end()
        else:
            self._timer = asyncio.get_running_loop().call_later(SLICE_S, self._slice_over)
        for connection in overdue:
            connection.close(
                CloseCode.HEARTBEAT_TIMEOUT,
                "no answer to a ping; made room for a newer connection",
            )

    def _end(self) -> None:
        self._timer.cancel()
        for answer in self._answers.values():
            answer.cancel()
        if not self.ended.done():
            self.ended.set_result(None)


def slices_for(rtt_ms: float | None) -> int:
    """How many slices an answer may take: at least 0.3 s, more where the network is slow."""
    usual_s = 2 * (rtt_ms or 0.0) / 1000
    return ceil(round(min(ANSWER_LIMIT_S, max(ANSWER_S, usual_s)) / SLICE_S, 3))
