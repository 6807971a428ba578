"""The tokens of a load: one for everybody, or some of users made up for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wsctl.config.tokens import sign

USERS = "wsctl-bench"
"""What the names of such users begin with. They are the same each time, so that few are left in
the server's list of who was ever there."""
_MARGIN_S = 120.0


@dataclass(frozen=True)
class Credentials:
    """Who connects, and who publishes."""

    publisher: Callable[[], str]
    listener: Callable[[int], str]
    """The token of a connection, by its number from 0."""


def one_for_all(token: Callable[[], str]) -> Credentials:
    """Everything with one token."""
    return Credentials(token, lambda _: token())


def made_up(secret: bytes, session_id: str, per_user: int, duration_s: float) -> Credentials:
    """As many users as it takes, each with as many connections as one may have.

    They may do nothing but enter the one session, or publish; the tokens end soon after.
    """
    ttl_s = duration_s + _MARGIN_S

    def publisher() -> str:
        claims = {"sub": f"{USERS}-publisher", "role": "service"}
        return sign(secret, {**claims, "permissions": ["monitor", "messages:publish"]}, ttl_s)

    def listener(number: int) -> str:
        claims = {"sub": f"{USERS}-{number // max(1, per_user) + 1}", "role": "user"}
        return sign(secret, {**claims, "sessions": [session_id]}, ttl_s)

    return Credentials(publisher, listener)
