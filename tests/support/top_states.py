"""States of ``wsctl top``, made of pushes of the monitor."""

from __future__ import annotations

from typing import Any

from tests.support.fake_server import STATS
from wsctl.top.model import State


def update(uptime_s: float, busiest: Any = None, **changes: Any) -> dict[str, Any]:
    return {"type": "stats_update", "timestamp": "2024-01-15T14:30:00Z", "busiest": busiest,
            "stats": STATS | {"uptime_s": uptime_s} | changes}  # fmt: skip


def state_with(*updates: dict[str, Any]) -> State:
    state = State("http://server", 0.0)
    for number, push in enumerate(updates):
        state.take(push, float(number))
    return state
