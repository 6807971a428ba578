"""Merging of the nodes' statistics: pure functions.

Counters, gauges and rates are summed. Users and sessions are counted once. ``uptime_s`` is that of
the node that runs the longest. Of percentiles the largest is taken: no percentile of all values
together is above the largest of the nodes' percentiles.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from heapq import nlargest
from typing import Any

from msgspec import Struct

PERCENTILES = frozenset({"p50", "p95", "p99", "max"})
LARGEST = frozenset({"uptime_s"})


class NodeStatistics(Struct, frozen=True):
    """The statistics of a node, with what has to be counted once."""

    stats: dict[str, Any]
    users: list[str] = []
    """Ids of the connected users."""
    sessions: list[str] = []
    """Ids of the sessions with connections."""
    busiest: dict[str, list[dict[str, Any]]] = {}
    """``users`` and ``sessions`` with the most messages of clients."""


def merge_statistics(parts: Collection[NodeStatistics], name: str) -> dict[str, Any]:
    """The statistics of all nodes together; ``name``: their ``node``."""
    merged = _merged([part.stats for part in parts])
    return {
        **merged,
        "active_users": len(set().union(*(part.users for part in parts))),
        "active_sessions": len(set().union(*(part.sessions for part in parts))),
        "node": name,
    }


def merge_busiest(
    parts: Collection[Mapping[str, Sequence[Mapping[str, Any]]]], limit: int
) -> dict[str, Any]:
    """The busiest users and sessions of all nodes together, the busiest first."""
    users = [row for part in parts for row in part.get("users", ())]
    sessions = [row for part in parts for row in part.get("sessions", ())]
    return {
        "users": _largest(users, "user_id", limit),
        "sessions": _largest(sessions, "session_id", limit),
    }


def _largest(rows: Sequence[Mapping[str, Any]], key: str, limit: int) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = found.get(row[key])
        if known is None:
            found[row[key]] = dict(row)
            continue
        known["messages_per_s"] = round(known["messages_per_s"] + row["messages_per_s"], 3)
        if known.get("username", "") is None:
            known["username"] = row["username"]
    return nlargest(limit, found.values(), key=_rate)


def _rate(row: Mapping[str, Any]) -> float:
    rate: float = row["messages_per_s"]
    return rate


def _merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The members of all objects, merged by their names; a node of another version may lack one."""
    names = dict.fromkeys(name for part in parts for name in part)
    is_percentiles = PERCENTILES.issuperset(names)
    return {
        name: _value([part[name] for part in parts if name in part], name, is_percentiles)
        for name in names
    }


def _value(values: Sequence[Any], name: str, is_percentile: bool) -> Any:
    known = [value for value in values if value is not None]
    if not known:
        return None
    first = known[0]
    if isinstance(first, Mapping):
        return _merged(known)
    if not isinstance(first, int | float) or isinstance(first, bool):
        return first
    if is_percentile or name in LARGEST:
        return max(known)
    total = sum(known)
    return round(total, 3) if isinstance(total, float) else total
