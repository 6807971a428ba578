"""Statistics: counters since start, rates, latencies and gauges."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from wsserver.clock import Clock
from wsserver.histogram import NETWORK_S, SHORT_S, Histogram
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub

RATE_WINDOW_S = 10.0
SAMPLES = 2048
CACHED_ABOVE = 2000
"""Gauges of more connections than this, which take over a millisecond, are cached."""
CACHED_S = 1.0


class Sizes(NamedTuple):
    """Numbers of connections, users and sessions, of the server or an organization."""

    connections: int
    users: int
    sessions: int
    session_connections: int
    """Connections, summed over sessions."""


class Gauges(NamedTuple):
    """Gauges computed from each connection."""

    at: float
    """Monotonic seconds."""
    active: int
    queued_bytes: int
    rtt_ms: dict[str, float | None]
    sizes: Sizes | None
    """Of an organization; those of the whole server are taken from the indexes."""


class Statistics:
    """Counters since start, the latest latencies, and rates over the last ten seconds."""

    def __init__(self, clock: Clock, node: str) -> None:
        self._clock = clock
        self.node = node
        self.started_at = clock.monotonic()
        self.messages_sent = 0
        self.messages_received = 0
        self.connects = 0
        self.disconnections = 0
        self.refused_commands = 0
        self.failed_sends = 0
        self.internal_errors = 0
        self.handler_failures = 0
        self.deliver_s: deque[float] = deque(maxlen=SAMPLES)
        self.deliveries = Histogram(SHORT_S)
        """Durations of all fan-outs, in seconds."""
        self.round_trips = Histogram(NETWORK_S)
        """Of answered pings, in seconds."""
        self._marks: deque[tuple[float, int, int, int]] = deque()
        self._sources: dict[str, Callable[[], Any]] = {}
        self._readings: dict[str | None, Gauges] = {}
        """Cache by organization (None: all), the oldest first."""

    def add_source(self, name: str, figures: Callable[[], Any]) -> None:
        """Include the result of ``figures``, numbers in nested objects, under a name."""
        self._sources[name] = figures

    @property
    def errors(self) -> int:
        """Refused commands, failed sends and internal errors, since start."""
        return self.refused_commands + self.failed_sends + self.internal_errors

    @property
    def operations(self) -> int:
        """Number of operations since start, of which errors are a share."""
        return self.messages_received + self.messages_sent + self.failed_sends

    def delivered(self, sent: int, failed: int, elapsed_s: float) -> None:
        """Count a fan-out."""
        self.messages_sent += sent
        self.failed_sends += failed
        self.deliver_s.append(elapsed_s)
        self.deliveries.observe(elapsed_s)

    def handler_failed(self) -> None:
        """Count an event handler that raised."""
        self.handler_failures += 1

    def mark(self) -> None:
        """Record the counters for the rates; to be called about once a second."""
        now = self._clock.monotonic()
        self._marks.append((now, self.messages_sent, self.messages_received, self.connects))
        while len(self._marks) > 2 and now - self._marks[1][0] >= RATE_WINDOW_S:
            self._marks.popleft()

    def rates(self) -> dict[str, float]:
        """Messages and connects a second over the last ten seconds."""
        names = ("messages_sent_per_s", "messages_received_per_s", "connects_per_s")
        counts = (self.messages_sent, self.messages_received, self.connects)
        if not self._marks:
            return dict.fromkeys(names, 0.0)
        since, *before = self._marks[0]
        elapsed = self._clock.monotonic() - since
        if elapsed <= 0:
            return dict.fromkeys(names, 0.0)
        return {
            name: round((count - old) / elapsed, 3)
            for name, count, old in zip(names, counts, before, strict=True)
        }

    def snapshot(
        self, hub: Hub, timeout_s: float, resumed_at: float, organization_id: str | None = None
    ) -> dict[str, Any]:
        """The statistics as ``stats`` shows them, with gauges of one organization or of all.

        Counters are those of the server: messages and errors are not counted by organization. With
        over 2,000 connections, ``active_connections``, ``queued_bytes``, ``rtt_ms`` and all gauges
        of an organization are cached for a second, so that frequent queries do not block the loop.
        """
        now = self._clock.monotonic()
        read = self._read(hub, now, timeout_s, resumed_at, organization_id)
        sizes = read.sizes or sizes_of_all(hub)
        return {
            "total_connections": sizes.connections,
            "active_connections": min(read.active, sizes.connections),
            "messages_sent": self.messages_sent,
            "messages_received": self.messages_received,
            "disconnections": self.disconnections,
            "errors": self.errors,
            "active_users": sizes.users,
            "active_sessions": sizes.sessions,
            "total_user_connections": sizes.connections,
            "total_session_connections": sizes.session_connections,
            "uptime_s": round(now - self.started_at, 3),
            "connects": self.connects,
            "refused_commands": self.refused_commands,
            "failed_sends": self.failed_sends,
            "internal_errors": self.internal_errors,
            "handler_failures": self.handler_failures,
            "queued_bytes": read.queued_bytes,
            "rates": self.rates(),
            "deliver_ms": percentiles(seconds * 1000 for seconds in self.deliver_s),
            "rtt_ms": read.rtt_ms,
            "node": self.node,
            **{name: figures() for name, figures in self._sources.items()},
        }

    def _read(
        self,
        hub: Hub,
        now: float,
        timeout_s: float,
        resumed_at: float,
        organization_id: str | None,
    ) -> Gauges:
        """Gauges computed from each connection, cached for many connections."""
        readings = self._readings
        while readings and now - next(iter(readings.values())).at >= CACHED_S:
            del readings[next(iter(readings))]
        is_whole = organization_id is None
        part = list(hub) if organization_id is None else hub.of_organization(organization_id)
        reading = readings.get(organization_id) if len(part) > CACHED_ABOVE else None
        if reading is None:
            reading = read_all(part, now, timeout_s, resumed_at, with_sizes=not is_whole)
            if len(part) > CACHED_ABOVE:
                readings[organization_id] = reading
        return reading


def read_all(
    connections: Sequence[ConnectionInfo],
    now: float,
    timeout_s: float,
    resumed_at: float,
    *,
    with_sizes: bool,
) -> Gauges:
    """Compute gauges; takes about half a microsecond for each connection."""
    return Gauges(
        at=now,
        active=sum(not c.is_dead(now, timeout_s, resumed_at) for c in connections),
        queued_bytes=sum(c.websocket.queued_bytes for c in connections),
        rtt_ms=percentiles(c.rtt_ms for c in connections if c.rtt_ms is not None),
        sizes=sizes_of(connections) if with_sizes else None,
    )


def sizes_of(connections: Sequence[ConnectionInfo]) -> Sizes:
    """Count the users and sessions of some connections."""
    joined = [connection.sessions for connection in connections if connection.sessions]
    return Sizes(
        connections=len(connections),
        users=len({connection.user_id for connection in connections}),
        sessions=len(set().union(*joined)),
        session_connections=sum(map(len, joined)),
    )


def sizes_of_all(hub: Hub) -> Sizes:
    """Sizes of the whole server, taken from its indexes."""
    sessions = hub.session_connections
    return Sizes(len(hub), len(hub.user_connections), len(sessions), sessions.pairs)


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """The 50th, 95th and 99th percentile and the maximum (nearest rank); None without values."""
    ordered = sorted(values)
    if not ordered:
        return {"p50": None, "p95": None, "p99": None, "max": None}
    ranks = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    return {
        name: round(ordered[math.ceil(len(ordered) * rank / 100) - 1], 3)
        for name, rank in ranks.items()
    }


def flatten(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested statistics to names such as ``deliver_ms_p99``; None is left out.

    Rates have no prefix: ``messages_sent_per_s``.
    """
    flat: dict[str, Any] = {}
    for name, value in stats.items():
        if not isinstance(value, dict):
            flat[name] = value
            continue
        prefix = "" if name == "rates" else f"{name}_"
        inside = flatten(value)
        flat |= {prefix + inner: each for inner, each in inside.items() if each is not None}
    return flat
