"""Forecast of a drain: what would happen to the connections of a node if it drained now."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import Any

from msgspec import Struct

from wsserver.cluster.control import Control, Request
from wsserver.paging import take
from wsserver.realtime.answers.owned_answers import OwnedAnswers
from wsserver.realtime.connections.connection import SSE, WEBSOCKET, ConnectionInfo
from wsserver.realtime.connections.drain_plan import (
    drain_order,
    follows_hint,
    reconnect_times_ms,
    reconnects_per_second,
)
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.inbox.unacked import UnackedIndex

CLIENTS_LISTED = 20
"""Kinds of clients that do not follow the hint, the most frequent first."""


class DrainForecast(Struct, frozen=True):
    """What a drain of a node would do, and one page of its connections."""

    summary: dict[str, Any]
    connections: list[dict[str, Any]]
    has_more: bool


class ForecastDrain(Request[DrainForecast], frozen=True):
    """Forecast the drain of a node; its connections by id, at most ``limit``, after an id."""

    limit: int
    after: str | None = None


class DrainForecasts:
    """Forecasts the drain of this node, on request of any node."""

    def __init__(self, hub: Hub, unacked: UnackedIndex, answers: OwnedAnswers) -> None:
        self._hub = hub
        self._unacked = unacked
        self._answers = answers

    def register(self, control: Control) -> None:
        """Register the handler."""
        control.add_handler(ForecastDrain, self.forecast)

    def forecast(self, request: ForecastDrain) -> DrainForecast:
        """What would happen if this node drained now."""
        connections = drain_order(self._hub)
        times_ms = reconnect_times_ms(len(connections))
        follow = [follows_hint(each) for each in connections]
        start = 0
        if request.after is not None:
            start = bisect_right(connections, request.after, key=lambda each: each.connection_id)
        views, has_more = take(
            map(self._view, connections[start:], times_ms[start:], follow[start:]), request.limit
        )
        return DrainForecast(self._summary(connections, times_ms, follow), views, has_more)

    def _summary(
        self, connections: list[ConnectionInfo], times_ms: list[int], follow: list[bool]
    ) -> dict[str, Any]:
        ignoring = Counter(
            each.user_agent
            for each, follows in zip(connections, follow, strict=True)
            if not follows
        )
        users = {each.user_id for each in connections}
        unacknowledged = [count for user in users if (count := self._unacked.count_of(user))]
        per_second = reconnects_per_second(times_ms, follow)
        return {
            "total": len(connections),
            "users": len(users),
            "window_ms": max(times_ms, default=0),
            "reconnects_per_s": per_second,
            "peak_per_s": max(per_second, default=0),
            "ignore_hint": sum(ignoring.values()),
            "ignoring_clients": [
                {"user_agent": user_agent, "connections": count}
                for user_agent, count in ignoring.most_common(CLIENTS_LISTED)
            ],
            "unacknowledged": {"messages": sum(unacknowledged), "users": len(unacknowledged)},
            "queued_bytes": sum([each.websocket.queued_bytes for each in connections]),
            "growing_answers": len(self._answers),
        }

    def _view(self, connection: ConnectionInfo, at_ms: int, follows: bool) -> dict[str, Any]:
        transport = connection.websocket
        return {
            "connection_id": connection.connection_id,
            "user_id": connection.user_id,
            "protocol": connection.protocol,
            "transport": SSE if transport.is_event_stream else WEBSOCKET,
            "user_agent": connection.user_agent,
            "reconnect_after_ms": at_ms,
            "follows_hint": follows,
            "unacknowledged": self._unacked.count_of(connection.user_id),
            "queued_bytes": transport.queued_bytes,
        }
