"""How fast a connection may talk: a token bucket, and patience with those who ignore it."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

REFUSALS_UNTIL_CLOSE = 100
REFUSAL_WINDOW_S = 10.0


class MessageRate(NamedTuple):
    """The limit of one connection."""

    rate: float
    """Messages a second, sustained."""
    burst: float
    """Messages at once after a silence."""


class TokenBucket:
    """The allowance of one connection, refilled as time passes."""

    __slots__ = ("_refusals", "_tokens", "_updated")

    def __init__(self, limit: MessageRate, now: float) -> None:
        self._tokens = limit.burst
        self._updated = now
        self._refusals: deque[float] | None = None
        """When the latest were; most connections never have one."""

    def take(self, limit: MessageRate, now: float) -> int:
        """Spend one message; 0 if it is allowed, else the milliseconds until the next one is."""
        tokens = min(limit.burst, self._tokens + (now - self._updated) * limit.rate)
        self._updated = now
        if tokens >= 1.0:
            self._tokens = tokens - 1.0
            return 0
        self._tokens = tokens
        return int((1.0 - tokens) / limit.rate * 1000) + 1

    def is_hopeless(self, now: float) -> bool:
        """Count a refusal; True once there were 100 within 10 s."""
        if self._refusals is None:
            self._refusals = deque(maxlen=REFUSALS_UNTIL_CLOSE)
        self._refusals.append(now)
        return (
            len(self._refusals) == REFUSALS_UNTIL_CLOSE
            and now - self._refusals[0] <= REFUSAL_WINDOW_S
        )
