"""``PendingReservations``: this node's connects in progress, which count as connections."""

from __future__ import annotations

import secrets
import time

from wsserver.cluster.directory import RESERVATION_S

KEPT_S = RESERVATION_S + 5.0
"""Longer than Redis keeps them: what it still counts is confirmed."""


class PendingReservations:
    """Tokens of reservations that Redis may have.

    A token names its node, so that those of a node that was killed while it admitted clients are
    told from those of a living one.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._pending: dict[str, tuple[str, float]] = {}
        """By token: the user, and the monotonic time until it is kept; the oldest first."""

    def begin(self, user_id: str) -> str:
        """A new token."""
        now = time.monotonic()
        while self._pending:
            oldest = next(iter(self._pending))
            if self._pending[oldest][1] > now:
                break
            del self._pending[oldest]
        token = f"{secrets.token_hex(8)}:{self._node}"
        self._pending[token] = user_id, now + KEPT_S
        return token

    def end(self, token: str) -> None:
        """Redis has the connection instead, or nothing."""
        self._pending.pop(token, None)

    def of(self, user_id: str) -> list[str]:
        """The tokens of a user."""
        return [token for token, (each, _) in self._pending.items() if each == user_id]
