"""Tickets: single-use credentials for URLs, issued to the bearer of a token."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from wsserver.clock import Clock
from wsserver.errors import TokenExpired, TokenInvalid
from wsserver.identity.claims import Claims, as_signed
from wsserver.identity.revocations import Revocations

_BYTES = 32
_REFUSED = "the ticket is unknown, used or expired"
_Owner = tuple[str | None, str]
_LONGEST = 128  # more than any ticket that was ever issued: not worth hashing


class TicketsUnreachable(Exception):
    """The tickets of other nodes cannot be reached."""


class TicketExchange(Protocol):
    """The tickets of all nodes, by digest; each is taken once."""

    is_shared: bool
    """Whether there may be other nodes."""

    async def put(self, digest: str, claims: bytes, lasts_s: float) -> bool:
        """Store a ticket of this node for all; False: only this node has it."""
        ...

    async def get(self, digest: str) -> bytes | None:
        """The claims of a ticket that was not taken yet. Raises ``TicketsUnreachable``."""
        ...

    async def take(self, digest: str) -> bytes | None:
        """As ``get``, once: the ticket is deleted. Raises ``TicketsUnreachable``."""
        ...


class NoExchange:
    """The tickets of a single node, which it has in memory."""

    is_shared = False

    async def put(self, digest: str, claims: bytes, lasts_s: float) -> bool:
        """Never."""
        return False

    async def get(self, digest: str) -> bytes | None:
        """None: there are no others."""
        return None

    async def take(self, digest: str) -> bytes | None:
        """None: there are no others."""
        return None


class _Issued(NamedTuple):
    claims: Claims
    ends_monotonic: float
    is_shared: bool = False
    """Whether the exchange has it, which then decides whether it was used."""


_decoder = msgspec.msgpack.Decoder(Claims)


@dataclass(eq=False, repr=False)
class Tickets:
    """Issued tickets, at most ``capacity``, each valid for ``ttl_s``.

    Only hashes are kept, so that a memory dump reveals no ticket. When it is full, expired
    tickets are removed first, then the oldest one of the user who has the most: one user's tickets
    never push out those of others. With ``revocations``, a ticket of a token that
    was revoked in the meantime is refused. Tokens end ``leeway_s`` seconds after their ``exp``.
    ``resolve`` puts the user's organization as it is now into the claims.

    By ``exchange``, tickets are redeemed on any node, in ``find`` and ``use``. While it cannot be
    reached, a node redeems those that it has issued.
    """

    clock: Clock
    ttl_s: float = 30
    capacity: int = 10_000
    revocations: Revocations | None = None
    leeway_s: float = 0.0
    resolve: Callable[[Claims], Claims] = as_signed
    exchange: TicketExchange = field(default_factory=NoExchange)

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
        issued = self._of(ticket)
        if issued is None or issued.ends_monotonic <= self.clock.monotonic():
            raise TokenInvalid(_REFUSED)
        return self._checked(issued.claims)

    # Tickets of several nodes

    def is_local(self, ticket: str) -> bool:
        """Whether this node alone has the ticket: ``peek`` and ``redeem`` are for it."""
        issued = self._of(ticket)
        return issued is not None and not issued.is_shared

    async def share(self, ticket: str) -> None:
        """Let all nodes redeem a ticket that was just issued."""
        issued = self._of(ticket)
        if issued is None:
            return
        lasts_s = issued.ends_monotonic - self.clock.monotonic()
        digest = _digest(ticket)
        claims = msgspec.msgpack.encode(issued.claims)
        is_shared = await self.exchange.put(digest.hex(), claims, lasts_s)
        if is_shared and digest in self._issued:
            self._issued[digest] = issued._replace(is_shared=True)

    async def find(self, ticket: str) -> Claims:
        """As ``peek``, for a ticket of any node."""
        if self._of(ticket) is not None:
            return self.peek(ticket)
        return await self._received(ticket, self.exchange.get)

    async def use(self, ticket: str) -> Claims:
        """As ``redeem``, for a ticket of any node."""
        await asyncio.sleep(0)  # callers that must not wait give up here, before it is used
        issued = self._of(ticket)
        if issued is None:
            return await self._received(ticket, self.exchange.take)
        claims = self.redeem(ticket)
        try:
            if issued.is_shared and await self.exchange.take(_digest(ticket).hex()) is None:
                raise TokenInvalid(_REFUSED)  # used on another node
        except TicketsUnreachable:
            pass  # better than to refuse the clients of this node
        return claims

    async def _received(
        self, ticket: str, receive: Callable[[str], Awaitable[bytes | None]]
    ) -> Claims:
        claims: bytes | None = None
        if _is_possible(ticket):
            await asyncio.sleep(0)  # as in ``use``
            with contextlib.suppress(TicketsUnreachable):
                claims = await receive(_digest(ticket).hex())
        if claims is None:
            raise TokenInvalid(_REFUSED)
        return self._checked(_decoder.decode(claims))

    def _of(self, ticket: str) -> _Issued | None:
        return self._issued.get(_digest(ticket)) if _is_possible(ticket) else None

    def _checked(self, claims: Claims) -> Claims:
        if claims.exp + self.leeway_s <= self.clock.wall():
            raise TokenInvalid(_REFUSED)
        if self.revocations is not None:
            self.revocations.check(claims)
        return self.resolve(claims)

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


def _is_possible(ticket: str) -> bool:
    return len(ticket) <= _LONGEST and ticket.isascii()


def _owner(claims: Claims) -> _Owner:
    return claims.organization_id, claims.sub


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
