"""Tickets: single-use credentials for URLs, issued to the bearer of a token."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from wsserver.clock import Clock
from wsserver.errors import TokenExpired, TokenInvalid
from wsserver.identity.claims import Claims, as_signed
from wsserver.identity.revocations import Revocations

_BYTES = 32
_Owner = tuple[str | None, str]
_LONGEST = 128  # more than any ticket that was ever issued: not worth hashing


class _Issued(NamedTuple):
    claims: Claims
    ends_monotonic: float


@dataclass(eq=False, repr=False)
class Tickets:
    """Issued tickets, at most ``capacity``, each valid for ``ttl_s``.

    Only hashes are kept, so that a memory dump reveals no ticket. When it is full, expired
    tickets are removed first, then the oldest one of the user who has the most: one user's tickets
    never push out those of others. With ``revocations``, a ticket of a token that
    was revoked in the meantime is refused. Tokens end ``leeway_s`` seconds after their ``exp``.
    ``resolve`` puts the user's organization as it is now into the claims.
    """

    clock: Clock
    ttl_s: float = 30
    capacity: int = 10_000
    revocations: Revocations | None = None
    leeway_s: float = 0.0
    resolve: Callable[[Claims], Claims] = as_signed

    def __post_init__(self) -> None:
        self._issued: dict[bytes, _Issued] = {}
        self._by_owner: dict[_Owner, dict[bytes, None]] = {}
        """The digests of each user's tickets, the oldest first; never empty."""

    def __len__(self) -> int:
        return len(self._issued)

    def issue(self, claims: Claims, ttl_s: float | None = None) -> tuple[str, float]:
        """Issue a ticket; returns it and the wall time (seconds) at which it expires.

        It never outlives the token. Raises ``TokenExpired`` if that has expired.
        """
        wall = self.clock.wall()
        lasts_s = min(self.ttl_s if ttl_s is None else ttl_s, claims.exp + self.leeway_s - wall)
        if lasts_s <= 0:
            raise TokenExpired
        self._make_room()
        ticket = secrets.token_urlsafe(_BYTES)
        digest = _digest(ticket)
        self._issued[digest] = _Issued(claims, self.clock.monotonic() + lasts_s)
        self._by_owner.setdefault(_owner(claims), {})[digest] = None
        return ticket, wall + lasts_s

    def redeem(self, ticket: str) -> Claims:
        """Return the claims of a ticket, once.

        Raises ``TokenInvalid`` for an unknown, used or expired ticket, ``TokenRevoked`` if its
        token has been revoked since.
        """
        claims = self.peek(ticket)
        self._forget(_digest(ticket))
        return claims

    def peek(self, ticket: str) -> Claims:
        """Return the claims of a ticket without using it up; raises as ``redeem`` does."""
        is_possible = len(ticket) <= _LONGEST and ticket.isascii()
        issued = self._issued.get(_digest(ticket)) if is_possible else None
        if (
            issued is None
            or issued.ends_monotonic <= self.clock.monotonic()
            or issued.claims.exp + self.leeway_s <= self.clock.wall()
        ):
            raise TokenInvalid("the ticket is unknown, used or expired")
        if self.revocations is not None:
            self.revocations.check(issued.claims)
        return self.resolve(issued.claims)

    def _make_room(self) -> None:
        if len(self._issued) < self.capacity:
            return
        now = self.clock.monotonic()
        for digest in [d for d, issued in self._issued.items() if issued.ends_monotonic <= now]:
            self._forget(digest)
        while len(self._issued) >= self.capacity:
            most = max(self._by_owner.values(), key=len)
            self._forget(next(iter(most)))  # a dict keeps its order: the oldest

    def _forget(self, digest: bytes) -> None:
        owner = _owner(self._issued.pop(digest).claims)
        held = self._by_owner[owner]
        del held[digest]
        if not held:
            del self._by_owner[owner]


def _owner(claims: Claims) -> _Owner:
    return claims.organization_id, claims.sub


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
