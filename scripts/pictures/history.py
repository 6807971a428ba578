"""A month of made-up statistics, as a server would have stored them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

DAY_S = 86_400.0
HOUR_S = 3600.0
_SPACING = ((30 * DAY_S, 1800.0), (DAY_S, 300.0), (HOUR_S, 60.0))
"""Age from which on, and seconds between two snapshots."""


def snapshots(now: float, node: str) -> Iterator[dict[str, Any]]:
    """Snapshots of the last 30 days, the oldest first: busy by day, with an outage."""
    chance = random.Random(7)  # noqa: S311 - the same each time
    totals = dict.fromkeys(
        ("messages_sent", "messages_received", "connects", "disconnections", "refused_commands"),
        0.0,
    )
    failed = internal = sent_by_mail = 0.0
    before = now - 30 * DAY_S
    for number, at in enumerate(_moments(now), 1):
        step, before = at - before, at
        day = 0.5 + 0.5 * math.cos((at - now) / DAY_S * 2 * math.pi + 0.4)
        growth = 1 + (at - now) / (60 * DAY_S)
        connections = int((40 + 125 * day) * growth + chance.gauss(0, 2))
        is_outage = 5.2 * DAY_S < now - at < 5.3 * DAY_S
        connections = connections // 6 if is_outage else connections
        sent = connections * (0.5 + 0.05 * chance.random())
        totals["messages_sent"] += sent * step
        totals["messages_received"] += sent * step * 0.64
        totals["connects"] += connections * step * 0.0004
        totals["disconnections"] += connections * step * (0.0004 + 0.003 * is_outage)
        totals["refused_commands"] += step * 0.02 * chance.random() * day
        failed += step * (0.9 if is_outage else 0.004 * chance.random())
        internal += step * 0.001 * (chance.random() < 0.02)
        sent_by_mail += step * 0.02 * day * chance.random()
        users = int(connections * 0.82)
        sessions = int(connections * 0.44)
        errors = totals["refused_commands"] + failed + internal
        deliver = 0.25 + 0.5 * day + (6 if is_outage else 0) + abs(chance.gauss(0, 0.05))
        rtt = 24 + 9 * day + abs(chance.gauss(0, 2))
        yield {
            **{name: int(total) for name, total in totals.items()},
            "timestamp": at,
            "sequence": number,
            "node": node,
            "total_connections": connections,
            "active_connections": int(connections * 0.985),
            "errors": int(errors),
            "failed_sends": int(failed),
            "internal_errors": int(internal),
            "active_users": users,
            "active_sessions": sessions,
            "total_user_connections": connections,
            "total_session_connections": int(sessions * 2.1),
            "queued_bytes": int(connections * 90 * chance.random() + is_outage * 4e6),
            "deliver_ms_p50": round(deliver * 0.4, 3),
            "deliver_ms_p95": round(deliver * 1.6, 3),
            "deliver_ms_p99": round(deliver * 2.7, 3),
            "rtt_ms_p50": round(rtt, 1),
            "rtt_ms_p95": round(rtt * 2.2, 1),
            "rtt_ms_p99": round(rtt * 4.1 + 40 * is_outage, 1),
            "notifications_email_sent": int(sent_by_mail),
            "notifications_email_failed": int(sent_by_mail * 0.03),
            "notifications_email_retried": int(sent_by_mail * 0.07),
            "notifications_websocket_sent": int(sent_by_mail * 6),
            "notifications_websocket_failed": 0,
            "notifications_websocket_acknowledged": int(sent_by_mail * 5.4),
        }


def _moments(now: float) -> Iterator[float]:
    for (oldest, spacing), latest in zip(_SPACING, (DAY_S, HOUR_S, 60.0), strict=True):
        at = now - oldest
        while at < now - latest:
            yield at
            at += spacing
