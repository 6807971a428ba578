"""Counters and latencies of a load, and the result computed from them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from wsctl.bench.plan import Plan

_ENOUGH_ERRORS = 5
"""Fewer errors do not stop the load, whatever their share is."""


class Results:
    """Results of one load so far. The caller passes times, in monotonic seconds."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.connect_s: list[float] = []
        self.publish_s: list[float] = []
        self.deliver_s: list[float] = []
        self.ping_s: list[float] = []
        self.errors: Counter[str] = Counter()
        self.tried = 0
        """Connects, publishes and pings."""
        self.sent = 0
        self.refused = 0
        self.duplicated = 0
        self.connecting_s = 0.0
        """Duration of opening all connections."""
        self.publishing_s = 0.0
        self._sent_at: dict[int, float] = {}
        self._taken: set[int] = set()
        self._got: dict[int, set[int]] = {}
        """Messages that each connection has received."""

    # Recording

    def connected(self, number: int, seconds: float) -> None:
        """Record a connection that joined the session."""
        self.tried += 1
        self.connect_s.append(seconds)
        self._got[number] = set()

    def failed(self, error: str, *, is_try: bool = True) -> None:
        """Record an error; ``is_try``: it also counts as an operation."""
        self.tried += is_try
        self.errors[error] += 1

    def publishing(self, message: int, now: float) -> None:
        """Record a message that is sent."""
        self.tried += 1
        self.sent += 1
        self._sent_at[message] = now

    def published(self, message: int, now: float) -> None:
        """Record that the server accepted a message."""
        self._taken.add(message)
        self.publish_s.append(now - self._sent_at[message])

    def not_published(self, error: str) -> None:
        """Record that the server refused a message."""
        self.refused += 1
        self.failed(error, is_try=False)

    def received(self, number: int, message: int, now: float) -> None:
        """Record a message received by a connection."""
        if message not in self._sent_at:
            return
        got = self._got[number]
        if message in got:
            self.duplicated += 1
            return
        got.add(message)
        self.deliver_s.append(now - self._sent_at[message])

    def ponged(self, seconds: float) -> None:
        """Record an answered ping."""
        self.tried += 1
        self.ping_s.append(seconds)

    # Result

    @property
    def opened(self) -> int:
        """Connections that joined the session."""
        return len(self._got)

    @property
    def expected(self) -> int:
        """Expected deliveries of the accepted messages."""
        return len(self._taken) * self.opened

    @property
    def delivered(self) -> int:
        """Actual deliveries of the accepted messages."""
        return sum(len(got & self._taken) for got in self._got.values())

    @property
    def unanswered(self) -> int:
        """Messages without an answer of the server."""
        return self.sent - self.refused - len(self._taken)

    @property
    def is_complete(self) -> bool:
        """Whether every message was answered and delivered to every connection."""
        return not self.unanswered and self.delivered >= self.expected

    @property
    def is_too_bad(self) -> bool:
        """Whether too many operations failed to go on."""
        count = self.errors.total()
        return count >= _ENOUGH_ERRORS and count > self._plan.max_error_share * self.tried

    def result(self) -> dict[str, Any]:
        """The result as JSON-ready values."""
        lost = self.expected - self.delivered
        return {
            "connections": {
                "wanted": self._plan.connections,
                "opened": self.opened,
                "per_s": _per_s(self.opened, self.connecting_s),
            },
            "messages": {
                "published": len(self._taken),
                "refused": self.refused,
                "unanswered": self.unanswered,
                "per_s": _per_s(self.sent, self.publishing_s),
            },
            "deliveries": {
                "expected": self.expected,
                "received": self.delivered,
                "lost": lost,
                "duplicated": self.duplicated,
                "per_s": _per_s(self.delivered, self.publishing_s),
            },
            "connect_ms": percentiles(self.connect_s),
            "publish_ms": percentiles(self.publish_s),
            "receive_ms": percentiles(self.deliver_s),
            "ping_ms": percentiles(self.ping_s),
            "pings": len(self.ping_s),
            "errors": dict(self.errors.most_common()),
        }


def percentiles(seconds: Sequence[float]) -> dict[str, float | None]:
    """Milliseconds: the 50th, 95th and 99th percentile (nearest rank) and the maximum."""
    ranks = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    if not seconds:
        return dict.fromkeys(ranks)
    ordered = sorted(seconds)
    return {
        name: round(ordered[math.ceil(len(ordered) * rank / 100) - 1] * 1000, 3)
        for name, rank in ranks.items()
    }


def _per_s(count: int, seconds: float) -> float | None:
    return round(count / seconds, 1) if count and seconds > 0 else None
