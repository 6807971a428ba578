"""Connection limits: dead connections of a user are closed before a new one is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from math import ceil

from wsserver.clock import Clock
from wsserver.cluster.control import Control
from wsserver.cluster.directory import Change, ConnectionDirectory, Reservation
from wsserver.errors import ConnectionLimit
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.targets import user
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.heartbeat import Heartbeat
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.connections.limit_requests import CheckLiveness, EvictConnection
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

EVICT_OLDEST = "evict_oldest"
ANSWER_S = 0.3
"""Time to answer the ping; a connection that sent a frame more recently is not pinged."""
ANSWER_LIMIT_S = 2.0
"""The maximum for connections with a long round-trip time."""
ARRIVING = "too many connections of this user arrive at the same time"
EVICTED = "evicted by a newer connection"
SLICE_S = 0.1
"""The time is counted in slices: a standstill of the process costs one slice only, and answers that
arrived meanwhile are read before the next."""

OTHER_NODES_S = ANSWER_LIMIT_S + 0.5
"""Time for other nodes to ping a user's connections."""
_UNCOUNTED = Reservation("", "")
"""Where the oldest connections are closed for newer ones, nothing has to be reserved."""


@dataclass(frozen=True)
class ConnectionLimits:
    """Maximum numbers of connections, and the policy for a user at the limit."""

    total: int
    per_user: int
    policy: str

    @property
    def evicts_oldest(self) -> bool:
        """Whether the oldest connection is closed for a new one."""
        return self.policy == EVICT_OLDEST


class ConnectionLimiter:
    """Reserves connections, and at a user's limit closes dead ones, of all nodes.

    A connection whose network is lost counts until its heartbeat times out, while the same page
    reconnects. One ``LivenessCheck`` serves all connects of a user that wait for it; at most as
    many may wait as the user may have connections.
    """

    def __init__(
        self,
        hub: Hub,
        heartbeat: Heartbeat,
        limits: ConnectionLimits,
        connections: ConnectionDirectory,
        control: Control,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._connections = connections
        self._control = control
        self._tasks = tasks
        self._evicting: set[str] = set()
        self._arriving: dict[str, int] = {}
        """By user at the limit: connects that wait until it is clear which connections are dead."""
        self._hub = hub
        self._heartbeat = heartbeat
        self._limits = limits
        self._clock = clock
        self._checks: dict[str, LivenessCheck] = {}
        control.add_handler(CheckLiveness, self._checked)
        control.add_handler(EvictConnection, self._evict)

    def is_full(self, user_id: str) -> bool:
        """Whether the user has the maximum number of connections on this node."""
        return self._hub.user_connections.count(user_id) >= self._limits.per_user

    def reserve(self, user_id: str) -> Reservation | Awaitable[Reservation]:
        """Reserve a connection; an awaitable if other nodes, or dead connections, are involved.

        Raises ``ConnectionLimit``.
        """
        if self._limits.evicts_oldest:
            return self._check_and_pass(user_id) if self.is_full(user_id) else _UNCOUNTED
        found = self._connections.reserve(user_id, self._limits.per_user)
        if isinstance(found, Reservation):
            return found
        return self._make_room(user_id, found)

    def reserve_now(self, user_id: str) -> Reservation | None:
        """``reserve`` in a single process; None: it has to be awaited."""
        if self._limits.evicts_oldest:
            return None if self.is_full(user_id) else _UNCOUNTED
        if self._connections.is_shared:
            return None
        found = self._connections.reserve(user_id, self._limits.per_user)
        return found if isinstance(found, Reservation) else None

    async def _check_and_pass(self, user_id: str) -> Reservation:
        await self.check_liveness(user_id)
        return _UNCOUNTED

    async def _make_room(
        self, user_id: str, found: Awaitable[Reservation | None] | None
    ) -> Reservation:
        reservation = await found if found is not None else None
        if reservation is not None:
            return reservation
        waiting = self._arriving.get(user_id, 0)
        if waiting >= self._limits.per_user:
            raise ConnectionLimit(ARRIVING)
        self._arriving[user_id] = waiting + 1
        try:
            await self.check_liveness(user_id)
            reservation = await self._reserve_again(user_id)
            if reservation is None and await self._check_elsewhere(user_id):
                reservation = await self._reserve_again(user_id)
        finally:
            if self._arriving[user_id] == 1:
                del self._arriving[user_id]
            else:
                self._arriving[user_id] -= 1
        if reservation is None:
            raise ConnectionLimit(f"at most {self._limits.per_user} connections per user")
        return reservation

    async def _reserve_again(self, user_id: str) -> Reservation | None:
        found = self._connections.reserve(user_id, self._limits.per_user)
        return found if found is None or isinstance(found, Reservation) else await found

    async def _check_elsewhere(self, user_id: str) -> bool:
        """Check the user's connections on other nodes; False if there are none."""
        found = await self._connections.connections(user(user_id))
        owners = {each.node for each in found} - {self._control.node}
        asked = CheckLiveness(user_id)
        await asyncio.gather(*[self._control.ask(each, asked, OTHER_NODES_S) for each in owners])
        return bool(owners)

    async def _checked(self, request: CheckLiveness) -> int:
        try:
            await self.check_liveness(request.user_id)
        except ConnectionLimit:
            log.info("liveness check skipped user_id=%s", request.user_id)
        return self._hub.user_connections.count(request.user_id)

    # Evicting the oldest

    def opened(self, user_id: str, change: Change) -> None:
        """A connection was opened: evict the oldest, if they are too many."""
        if (
            change.connections > self._limits.per_user
            and self._limits.evicts_oldest
            and user_id not in self._evicting
        ):
            self._evicting.add(user_id)
            self._tasks.spawn(self._evict_oldest(user_id), name="evict")

    async def _evict_oldest(self, user_id: str) -> None:
        """Close the oldest connections beyond the limit, wherever they are.

        Several nodes may do so at the same time: they select the same ones.
        """
        try:
            await self._check_elsewhere(user_id)
        finally:
            self._evicting.discard(user_id)
        found = await self._connections.connections(user(user_id))
        excess = found[: max(0, len(found) - self._limits.per_user)]
        for each in excess:
            await self._control.ask(each.node, EvictConnection(each.connection_id))

    def _evict(self, request: EvictConnection) -> bool:
        connection = self._hub.connections.get(request.connection_id)
        if connection is not None:
            connection.close(CloseCode.CONNECTION_LIMIT, EVICTED)
        return connection is not None

    async def check_liveness(self, user_id: str) -> None:
        """Ping the user's silent connections, and close those that send nothing in time.

        Returns immediately if all have sent something just now. Raises ``ConnectionLimit`` if too
        many connects of this user wait already.
        """
        check = self._checks.get(user_id)
        if check is None:
            silent = self._silent(user_id)
            if not silent:
                return
            check = LivenessCheck(silent, self._heartbeat, self._clock)
            self._checks[user_id] = check
            check.ended.add_done_callback(lambda _: self._checks.pop(user_id))
        if check.waiting >= self._limits.per_user:
            raise ConnectionLimit(ARRIVING)
        check.waiting += 1
        try:
            # Shielded: cancelling one waiting connect does not affect the others.
            await asyncio.shield(check.ended)
        finally:
            check.waiting -= 1

    def _silent(self, user_id: str) -> list[ConnectionInfo]:
        latest = self._clock.monotonic() - ANSWER_S
        return [
            connection
            for connection in self._hub.of_user(user_id)
            # During a slow command the socket may not be read: not silence.
            if connection.websocket.last_heard <= latest and not connection.backlog
        ]


class LivenessCheck:
    """A ping to several connections; closes those that do not answer in time.

    ``ended`` is resolved when each has answered or was closed, or when some were late.
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
        """Connects that wait for the end."""
        self._asked_at = clock.monotonic()
        self._left = {connection: slices_for(connection.rtt_ms) for connection in asked}
        self._answers = {connection: heartbeat.ping(connection) for connection in asked}
        for connection, answer in self._answers.items():
            answer.add_done_callback(partial(self._settle, connection))
        self._timer = loop.call_later(SLICE_S, self._slice_over)

    def _settle(self, connection: ConnectionInfo, _: asyncio.Future[float | None]) -> None:
        """A connection has answered or was closed."""
        self._left.pop(connection, None)
        if not self._left:
            self._end()

    def _slice_over(self) -> None:
        overdue = []
        for connection in list(self._left):
            self._left[connection] -= 1
            if connection.websocket.last_heard > self._asked_at or connection.backlog:
                del self._left[connection]  # any frame counts, not the pong alone
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
    """Number of slices to wait for an answer: 0.3 s at least, more on slow networks."""
    usual_s = 2 * (rtt_ms or 0.0) / 1000
    return ceil(round(min(ANSWER_LIMIT_S, max(ANSWER_S, usual_s)) / SLICE_S, 3))
