"""Who was connected, and in which sessions, when a message went out."""

from __future__ import annotations

from collections import deque
from typing import Any

from msgspec import Struct

from wsserver.clock import Clock
from wsserver.protocol.close_codes import CloseCode
from wsserver.realtime.connections.connection import PLAIN, ConnectionInfo

STAYS_LIMIT = 100_000


class ConnectionInterval(Struct, frozen=True, gc=False):
    """The time of a connection on the server, or in a session, counted in deliveries.

    It was there for the deliveries after ``from_tick`` and up to ``to_tick``, which is None while
    it lasts.
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
    """Close code of the connection; 0: it only left the session, or got other claims."""
    reason: str = ""
    unsent_since: float | None = None
    """What was sent from then on (monotonic seconds) may not have left the server."""


class ConnectionLog:
    """A clock that counts deliveries, and a log of the stays that are over.

    Each connection knows at which tick it came, and joined its sessions; so who was there for a
    delivery is worked out when somebody asks, and costs nothing while sending. The log holds at
    most ``limit`` stays; those that no delivery fell into are not in it.
    """

    def __init__(self, clock: Clock, limit: int = STAYS_LIMIT) -> None:
        self.tick = 0
        """Deliveries so far; the traces count them."""
        self.known_from = 0
        """Of deliveries before this one, some of those who were there are forgotten."""
        self._clock = clock
        self._limit = limit
        self._stays: deque[ConnectionInterval] = deque()
        """In the order of their ends."""

    def __len__(self) -> int:
        return len(self._stays)

    def left(self, connection: ConnectionInfo, session_id: str, from_tick: int) -> None:
        """A connection has left a session that it joined at ``from_tick``."""
        self._note(connection, session_id, from_tick)

    def ended(self, connection: ConnectionInfo, code: int, reason: str) -> None:
        """A connection has ended, with a close code and its reason.

        One that is closed from here in good order still gets what waits for it.
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
        """A connection is about to get claims of another role or organization.

        For the messages so far it counts with the old ones.
        """
        self._note(connection, None, connection.since_tick)
        connection.since_tick = self.tick
        joined = connection.sessions or {}
        for session_id, from_tick in joined.items():
            self._note(connection, session_id, from_tick)
            joined[session_id] = self.tick

    def over(self, tick: int) -> list[ConnectionInterval]:
        """The stays that ended since a delivery, the latest first: it fell into some of them."""
        found = []
        for stay in reversed(self._stays):
            if stay.to_tick is None or stay.to_tick < tick:
                break
            found.append(stay)
        return found

    def forget(self, tick: int) -> None:
        """Let go of the stays that ended before a delivery: nobody can ask for those any more."""
        stays = self._stays
        while stays and (stays[0].to_tick or 0) < tick:
            stays.popleft()

    def _note(
        self, connection: ConnectionInfo, session_id: str | None, from_tick: int, **end: Any
    ) -> None:
        if from_tick == self.tick:
            return  # no delivery fell into it
        if len(self._stays) >= self._limit:
            self.known_from = (self._stays.popleft().to_tick or 0) + 1
        self._stays.append(
            stay_of(connection, session_id, from_tick, self.tick, self._clock.wall(), **end)
        )


def stay_of(
    connection: ConnectionInfo,
    session_id: str | None = None,
    from_tick: int = 0,
    to_tick: int | None = None,
    ended_at: float = 0.0,
    **end: Any,
) -> ConnectionInterval:
    """The stay of a connection, under the claims that it has now.

    While it lasts, its ``unsent_since`` is that of the connection.
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
