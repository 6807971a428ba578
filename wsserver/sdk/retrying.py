"""``RetryPolicy``: which outcomes of a request are worth another attempt, and when."""

from __future__ import annotations

from dataclasses import dataclass

from wsserver.sdk.errors import ApiError, Refused, Unreachable

TEMPORARY = frozenset({408, 429, 500, 502, 503, 504, 507})
"""Statuses that pass. All requests may be repeated: POSTs have an idempotency key."""
TEMPORARY_CODES = frozenset({"idempotency_pending"})
LASTING_CODES = frozenset({"connection_limit", "session_limit"})


@dataclass(frozen=True)
class RetryPolicy:
    """Up to ``attempts`` within ``timeout_s`` seconds from the first one.

    By default that outlasts the restart of a server. The delay is anything up to a limit that
    doubles from ``first_delay_s`` to ``longest_delay_s``, or what ``Retry-After`` says.
    """

    attempts: int = 12
    timeout_s: float = 30.0
    first_delay_s: float = 0.2
    longest_delay_s: float = 5.0

    def delay_s(
        self, error: ApiError, attempt: int, elapsed_s: float, chance: float
    ) -> float | None:
        """Seconds until the next attempt; None: there is none.

        ``attempt`` counts from 1; ``chance`` is a random number from 0 to 1, so that many clients
        do not come back in step.
        """
        if attempt >= self.attempts or not is_temporary(error):
            return None
        limit_s = min(self.longest_delay_s, self.first_delay_s * 2 ** (attempt - 1))
        delay_s = limit_s * chance
        if isinstance(error, Refused) and error.retry_after_s is not None:
            delay_s = max(error.retry_after_s, delay_s)
        return delay_s if elapsed_s + delay_s < self.timeout_s else None


NO_RETRIES = RetryPolicy(attempts=1)
"""One attempt only."""


def is_temporary(error: ApiError) -> bool:
    """Whether the same request can succeed later."""
    if isinstance(error, Unreachable):
        return True
    if not isinstance(error, Refused) or error.code in LASTING_CODES:
        return False
    return error.status in TEMPORARY or error.code in TEMPORARY_CODES
