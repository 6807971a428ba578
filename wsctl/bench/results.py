"""Counts what happens under load, and says what it comes to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from wsctl.bench.plan import Plan

_ENOUGH_ERRORS = 5
"""Fewer of them are no reason to stop, whatever their share is."""


class Results:
    """What one load has done so far. Times come from the caller, in monotonic seconds."""

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
        """How long opening all connections has taken."""
        self.publishing_s = 0.0
        self._sent_at: dict[int, float] = {}
        self._taken: set[int] = set()
        self._got: dict[int, set[int]] = {}
        """Which messages each connection has."""

    # What happens

    def connected(self, number: int, seconds: float) -> None:
        """A connection is in the session."""
        self.tried += 1
        self.connect_s.append(seconds)
        self._got[number] = set()

    def failed(self, error: str, *, is_try: bool = True) -> None:
        """Something went wrong; ``is_try``: it counts as tried just now."""
        self.tried += is_try
        self.errors[error] += 1

    def publishing(self, message: int, now: float) -> None:
        """A message is sent off."""
        self.tried += 1
        self.sent += 1
        self._sent_at[message] = now

    def published(self, message: int, now: float) -> None:
        """The server has taken it."""
        self._taken.add(message)
        self.publish_s.append(now - self._sent_at[message])

    def not_published(self, error: str) -> None:
        """The server has refused one."""
        self.refused += 1
        self.failed(error, is_try=False)

    def received(self, number: int, message: int, now: float) -> None:
        """A connection has got a message."""
        if message not in self._sent_at:
            return
        got = self._got[number]
        if message in got:
            self.duplicated += 1
            return
        got.add(message)
        self.deliver_s.append(now - self._sent_at[message])

    def ponged(self, seconds: float) -> None:
        """A ping over a connection was answered."""
        self.tried += 1
        self.ping_s.append(seconds)

    # What it comes to

    @property
    def opened(self) -> int:
        """Connections that were in the session."""
        return len(self._got)

    @property
    def expected(self) -> int:
        """Deliveries that there should be, of what the server says it has taken."""
        return len(self._taken) * self.opened

    @property
    def delivered(self) -> int:
        """Those that there were."""
        return sum(len(got & self._taken) for got in self._got.values())

    @property
    def unanswered(self) -> int:
        """Messages of which nobody knows whether the server has them."""
        return self.sent - self.refused - len(self._taken)

    @property
    def is_complete(self) -> bool:
        """Has everything that was published an answer, and come everywhere?"""
        return not self.unanswered and self.delivered >= self.expected

    @property
    def is_too_bad(self) -> bool:
        """Do too many tries fail for going on?"""
        count = self.errors.total()
        return count >= _ENOUGH_ERRORS and count > self._plan.max_error_share * self.tried

    def result(self) -> dict[str, Any]:
        """All figures."""
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
