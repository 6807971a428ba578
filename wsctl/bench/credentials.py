"""Tokens for a load: one for all connections, or some of created test users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wsctl.config.tokens import sign

USERS = "wsctl-bench"
"""Prefix of the names of test users, which are the same in each run, so that the server's list of
known users does not grow."""
_MARGIN_S = 120.0


@dataclass(frozen=True)
class Credentials:
    """Tokens of the publisher and of the listeners."""

    publisher: Callable[[], str]
    listener: Callable[[int], str]
    """The token of a connection, by its number from 0."""


def one_for_all(token: Callable[[], str]) -> Credentials:
    """One token for all connections."""
    return Credentials(token, lambda _: token())


def created_users(secret: bytes, session_id: str, per_user: int, duration_s: float) -> Credentials:
    """Tokens of test users, each for ``per_user`` connections.

    They only permit joining the one session, or publishing, and expire soon after.
    """
    ttl_s = duration_s + _MARGIN_S

    def publisher() -> str:
        claims = {"sub": f"{USERS}-publisher", "role": "service"}
        return sign(secret, {**claims, "permissions": ["monitor", "messages:publish"]}, ttl_s)

    def listener(number: int) -> str:
        claims = {"sub": f"{USERS}-{number // max(1, per_user) + 1}", "role": "user"}
        return sign(secret, {**claims, "sessions": [session_id]}, ttl_s)

    return Credentials(publisher, listener)
