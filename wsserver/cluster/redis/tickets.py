"""``RedisTickets``: tickets that any node redeems, each once, as keys that expire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from wsserver.cluster.redis.link import UNREACHABLE, RedisLink
from wsserver.identity.tickets import TicketsUnreachable


class RedisTickets:
    """``wsserver:{ticket:DIGEST}`` has the claims of a ticket, until it is taken or has expired."""

    is_shared = True

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def put(self, digest: str, claims: bytes, lasts_s: float) -> bool:
        """Store a ticket; False: Redis is away."""
        if self._link.fault is not None:
            return False
        try:
            await self._link.commands.set(self._key(digest), claims, px=max(1, int(lasts_s * 1000)))
        except (*UNREACHABLE, RedisError):
            return False
        return True

    async def get(self, digest: str) -> bytes | None:
        """The claims of a ticket that was not taken yet."""
        return await self._read(self._link.commands.get, digest)

    async def take(self, digest: str) -> bytes | None:
        """As ``get``, once: the ticket is deleted."""
        return await self._read(self._link.commands.getdel, digest)

    async def _read(self, command: Callable[[str], Any], digest: str) -> bytes | None:
        try:
            found: bytes | None = await command(self._key(digest))
        except (*UNREACHABLE, RedisError):
            raise TicketsUnreachable from None
        return found

    def _key(self, digest: str) -> str:
        return self._link.key(f"ticket:{digest}")
