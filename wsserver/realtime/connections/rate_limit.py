"""Rate limit of a connection: a token bucket, and a limit on refusals."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

REFUSALS_UNTIL_CLOSE = 100
REFUSAL_WINDOW_S = 10.0


class MessageRate(NamedTuple):
    """Message rate limit of one connection."""

    rate: float
    """Messages a second, sustained."""
    burst: float
    """Messages in one burst after a pause."""


class TokenBucket:
    """Token bucket of one connection."""

    __slots__ = ("_refusals", "_tokens", "_updated")

    def __init__(self, limit: MessageRate, now: float) -> None:
        self._tokens = limit.burst
        self._updated = now
        self._refusals: deque[float] | None = None
        """Times of the latest refusals; None until the first."""

    def take(self, limit: MessageRate, now: float) -> int:
        """Take a token: 0 if there was one, else the milliseconds until there is."""
        rate, burst = limit
        tokens = self._tokens + (now - self._updated) * rate
        if tokens > burst:  # ``min`` costs as much as all the rest
            tokens = burst
        self._updated = now
        if tokens >= 1.0:
            self._tokens = tokens - 1.0
            return 0
        self._tokens = tokens
        return int((1.0 - tokens) / rate * 1000) + 1

    def exceeds_refusals(self, now: float) -> bool:
        """Count a refusal; True after 100 within 10 s."""
        if self._refusals is None:
            self._refusals = deque(maxlen=REFUSALS_UNTIL_CLOSE)
        self._refusals.append(now)
        return (
            len(self._refusals) == REFUSALS_UNTIL_CLOSE
            and now - self._refusals[0] <= REFUSAL_WINDOW_S
        )
