"""Single-use tickets that stand in for a token where only a URL can carry it."""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple

from wsserver.clock import Clock
from wsserver.errors import TokenExpired, TokenInvalid
from wsserver.identity.claims import Claims
from wsserver.identity.revocations import Revocations

_BYTES = 32
_LONGEST = 128  # more than any ticket that was ever issued: not worth hashing


class _Issued(NamedTuple):
    claims: Claims
    ends_monotonic: float


class Tickets:
    """Tickets that are out, at most ``capacity`` of them; ``ttl_s`` is how long one lasts.

    Only hashes are kept, so that a memory dump gives no ticket away. When it is full, expired
    tickets make room first, then the oldest one. With ``revocations``, a ticket of a token that
    was revoked in the meantime is refused. Tokens end ``leeway_s`` seconds after their ``exp``.
    """

    def __init__(
        self,
        clock: Clock,
        ttl_s: float = 30,
        capacity: int = 10_000,
        revocations: Revocations | None = None,
        leeway_s: float = 0.0,
    ) -> None:
        self._clock = clock
        self._ttl_s = ttl_s
        self._capacity = capacity
        self._revocations = revocations
        self._leeway_s = leeway_s
        self._issued: dict[bytes, _Issued] = {}

    def __len__(self) -> int:
        return len(self._issued)

    def issue(self, claims: Claims, ttl_s: float | None = None) -> tuple[str, float]:
        """Make a ticket; give it and the wall time (seconds) at which it ends.

        It never outlives the token. Raises ``TokenExpired`` if that is over already.
        """
        wall = self._clock.wall()
        lasts_s = min(self._ttl_s if ttl_s is None else ttl_s, claims.exp + self._leeway_s - wall)
        if lasts_s <= 0:
            raise TokenExpired
        self._make_room()
        ticket = secrets.token_urlsafe(_BYTES)
        self._issued[_digest(ticket)] = _Issued(claims, self._clock.monotonic() + lasts_s)
        return ticket, wall + lasts_s

    def redeem(self, ticket: str) -> Claims:
        """Give the claims that the ticket stands for, once.

        Raises ``TokenInvalid`` for an unknown, used or expired ticket, ``TokenRevoked`` if its
        token has been revoked since.
        """
        claims = self.peek(ticket)
        del self._issued[_digest(ticket)]
        return claims

    def peek(self, ticket: str) -> Claims:
        """Give the same without using the ticket up; raises what ``redeem`` raises."""
        is_possible = len(ticket) <= _LONGEST and ticket.isascii()
        issued = self._issued.get(_digest(ticket)) if is_possible else None
        if (
            issued is None
            or issued.ends_monotonic <= self._clock.monotonic()
            or issued.claims.exp + self._leeway_s <= self._clock.wall()
        ):
            raise TokenInvalid("the ticket is unknown, used or expired")
        if self._revocations is not None:
            self._revocations.check(issued.claims)
        return issued.claims

    def _make_room(self) -> None:
        if len(self._issued) < self._capacity:
            return
        now = self._clock.monotonic()
        self._issued = {
            digest: issued for digest, issued in self._issued.items() if issued.ends_monotonic > now
        }
        while len(self._issued) >= self._capacity:
            del self._issued[next(iter(self._issued))]  # a dict keeps its order: the oldest


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
