"""Plan of a drain: in which order and when clients are asked to reconnect, and who follows that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

from wsserver.realtime.connections.connection import V1, ConnectionInfo

FIRST_MS = 1000
"""When the first client is asked to reconnect."""
WINDOW_MS = 5000
"""The shortest window over which reconnects are spread; longer for more than 2,500 clients."""


def drain_order(connections: Iterable[ConnectionInfo]) -> list[ConnectionInfo]:
    """Connections in the order in which they are asked to reconnect: the oldest first."""
    return sorted(connections, key=attrgetter("connection_id"))


def reconnect_times_ms(count: int) -> list[int]:
    """For each of ``count`` clients, milliseconds from the drain until it is to reconnect.

    They are spread: 500 connections a second, but over five seconds at least.
    """
    window_ms = max(WINDOW_MS, 2 * count)
    return [FIRST_MS + index * window_ms // count for index in range(count)]


def follows_hint(connection: ConnectionInfo) -> bool:
    """Whether the client is expected to reconnect when it is asked to.

    The subprotocol includes ``server_draining``, and an ``EventSource`` keeps to ``retry``.
    Others may reconnect at once.
    """
    return connection.protocol == V1 or connection.websocket.is_event_stream


def reconnects_per_second(times_ms: Sequence[int], follow: Sequence[bool]) -> list[int]:
    """Expected number of reconnects in each second from the drain on.

    Clients that do not follow the hint are counted in the first one.
    """
    counts = [0] * (max(times_ms, default=-1) // 1000 + 1)
    for at_ms, follows in zip(times_ms, follow, strict=True):
        counts[at_ms // 1000 if follows else 0] += 1
    return counts
