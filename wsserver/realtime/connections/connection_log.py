"""``ConnectionLog``: which connections existed, in which sessions, at each past delivery."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from wsserver.clock import Clock
from wsserver.protocol.close_codes import CloseCode
from wsserver.realtime.connections.connection import PLAIN, ConnectionInfo

INTERVALS_LIMIT = 100_000


class ConnectionInterval(Struct, frozen=True, gc=False):
    """The time of a connection on the server, or in a session, in ticks (numbers of deliveries).

    Deliveries after ``from_tick`` and up to ``to_tick`` fall into it; ``to_tick`` is None until it
    ends.
    """

    connection_id: str
    user_id: str
    organization_id: str | None
    role: str
    is_plain: bool
    session_id: str | None
    """None: on the server."""
    from_tick: int
    to_tick: int | None = None
    ended_at: float = 0.0
    """Seconds since the epoch."""
    code: int = 0
    """Close code of the connection; 0: it left the session, or its claims changed."""
    reason: str = ""
    unsent_since: float | None = None
    """Monotonic seconds: data sent since then may not have left the server."""


class ConnectionLog:
    """Log of the ended ``ConnectionInterval``s, by a clock that counts deliveries.

    Live connections have the tick of their connecting and of each join. So the recipients of a
    delivery are computed when they are queried, at no cost while sending. At most ``limit``
    intervals; those without any delivery are not logged.
    """

    def __init__(self, clock: Clock, limit: int = INTERVALS_LIMIT) -> None:
        self.tick = 0
        """Number of deliveries so far; incremented by the trace buffer."""
        self.known_from = 0
        """Before this delivery the log is incomplete."""
        self._clock = clock
        self._limit = limit
        self._intervals: deque[ConnectionInterval] = deque()
        """In the order of their ends."""

    def __len__(self) -> int:
        return len(self._intervals)

    def left(self, connection: ConnectionInfo, session_id: str, from_tick: int) -> None:
        """Log that a connection has left a session, which it joined at ``from_tick``."""
        self._note(connection, session_id, from_tick)

    def ended(self, connection: ConnectionInfo, code: int, reason: str) -> None:
        """Log the end of a connection, with its close code and reason.

        A connection that the server closes still gets its queued data, unless it is dead.
        """
        websocket = connection.websocket
        is_lost = not websocket.is_open or code == CloseCode.HEARTBEAT_TIMEOUT
        self._note(
            connection,
            None,
            connection.since_tick,
            code=int(code),
            reason=reason,
            unsent_since=websocket.waiting_since if is_lost else None,
        )

    def renewed(self, connection: ConnectionInfo) -> None:
        """Start new intervals: a connection is about to get another role or organization.

        For the deliveries so far its old claims count.
        """
        self._note(connection, None, connection.since_tick)
        connection.since_tick = self.tick
        joined = connection.sessions or {}
        for session_id, from_tick in joined.items():
            self._note(connection, session_id, from_tick)
            joined[session_id] = self.tick

    def ended_since(self, tick: int) -> list[ConnectionInterval]:
        """The intervals that ended at a delivery or later, the latest first."""
        found = []
        for interval in reversed(self._intervals):
            if interval.to_tick is None or interval.to_tick < tick:
                break
            found.append(interval)
        return found

    def forget(self, tick: int) -> None:
        """Drop the intervals that ended before a delivery: it is the oldest that can be traced."""
        intervals = self._intervals
        while intervals and (intervals[0].to_tick or 0) < tick:
            intervals.popleft()

    def forget_user(self, user_id: str, connections: Iterable[ConnectionInfo]) -> None:
        """Drop the intervals of a user: no trace lists them as a recipient of what was delivered.

        ``connections``: their open ones, which begin anew.
        """
        for connection in connections:
            self.renewed(connection)
        self._intervals = deque([each for each in self._intervals if each.user_id != user_id])

    def _note(
        self, connection: ConnectionInfo, session_id: str | None, from_tick: int, **end: Any
    ) -> None:
        if from_tick == self.tick:
            return  # no delivery fell into it
        if len(self._intervals) >= self._limit:
            self.known_from = (self._intervals.popleft().to_tick or 0) + 1
        self._intervals.append(
            interval_of(connection, session_id, from_tick, self.tick, self._clock.wall(), **end)
        )


def interval_of(
    connection: ConnectionInfo,
    session_id: str | None = None,
    from_tick: int = 0,
    to_tick: int | None = None,
    ended_at: float = 0.0,
    **end: Any,
) -> ConnectionInterval:
    """The interval of a connection with its present claims.

    Without ``to_tick``, ``unsent_since`` is taken from the transport.
    """
    if to_tick is None:
        end["unsent_since"] = connection.websocket.waiting_since
    claims = connection.claims
    return ConnectionInterval(
        connection_id=connection.connection_id,
        user_id=claims.sub,
        organization_id=claims.organization_id,
        role=claims.role,
        is_plain=connection.protocol == PLAIN,
        session_id=session_id,
        from_tick=from_tick,
        to_tick=to_tick,
        ended_at=ended_at,
        **end,
    )
