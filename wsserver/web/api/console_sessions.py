"""Console sessions: sign-ins of the console, which its pages present as a cookie.

The cookie alone authenticates nothing: a request also needs the header ``X-Wsserver-Console``,
which a page of another origin cannot send (CORS refuses it), and an ``Origin``, if there is one,
has to be the server's own.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from wsserver.clock import Clock
from wsserver.errors import (
    StorageUnavailable,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    TokenRevoked,
)
from wsserver.identity.claims import Claims
from wsserver.identity.revocations import Revocations
from wsserver.storage.tables.console_sessions import ConsoleSession, ConsoleSessionStore
from wsserver.web.http.headers import Headers

HEADER: Final = "X-Wsserver-Console"
"""Marks requests of the console; they are authenticated by the cookie."""
PATH: Final = "/api/v1/websocket"
"""``Path`` of the cookie."""
LIFETIME_S = 12 * 3600.0
TRUSTED_S = 2.0
"""How long a sign-in that was read is used without reading it again, as another node may end it."""
CACHED = 1000

_BYTES = 32
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")


class _Read(NamedTuple):
    claims: Claims
    ends_at: float
    until: float
    """Monotonic seconds until which the database need not be asked again."""


@dataclass(eq=False, repr=False)
class ConsoleSessions:
    """Sign-ins of the console, in the database: they outlive restarts and hold on all nodes.

    A sign-in has the claims of the token that it was made with, and ends with it, after
    ``LIFETIME_S``, by ``end``, or when the token or its user is revoked. Only digests are stored.
    While the database is away, a node accepts the sign-ins that it has read before.
    """

    store: ConsoleSessionStore
    clock: Clock
    revocations: Revocations
    resolve: Callable[[Claims], Claims]
    """Puts the user's organization as it is now into the claims."""

    def __post_init__(self) -> None:
        self._read: OrderedDict[str, _Read] = OrderedDict()

    @property
    def cookie_name(self) -> str:
        """The name of the cookie, different for each database.

        Browsers send the cookies of a host to all its ports, where other servers may listen.
        """
        digest = hashlib.sha256(self.store.database_id.encode()).hexdigest()
        return f"wsserver_console_{digest[:8]}"

    async def begin(self, claims: Claims) -> tuple[str, float]:
        """Store a sign-in; returns the cookie's value and the end, in seconds since the epoch.

        Raises ``StorageUnavailable``, ``StorageFull``.
        """
        now = self.clock.wall()
        ends_at = min(now + LIFETIME_S, claims.exp)
        value = secrets.token_urlsafe(_BYTES)
        limited = msgspec.structs.replace(claims, exp=ends_at)
        session = ConsoleSession(msgspec.json.encode(limited).decode(), ends_at)
        await self.store.add(_digest(value), claims.sub, session, now)
        return value, ends_at

    async def claims_of(self, headers: Headers) -> Claims:
        """The claims of the sign-in whose cookie a request has.

        Raises ``TokenMissing``, ``TokenInvalid`` for an unknown one or one that was ended,
        ``TokenExpired``, ``TokenRevoked``, ``StorageUnavailable``.
        """
        value = self.value_in(headers)
        if value is None:
            raise TokenMissing("not signed in at the console")
        read = await self._find(_digest(value))
        if self.clock.wall() >= read.ends_at:
            raise TokenExpired("the sign-in has expired")
        self.revocations.check(read.claims)
        return self.resolve(read.claims)

    async def known_claims(self, headers: Headers) -> Claims | None:
        """As ``claims_of``; None for a request without a valid sign-in."""
        try:
            return await self.claims_of(headers)
        except (TokenMissing, TokenInvalid, TokenExpired, TokenRevoked):
            return None

    async def end(self, headers: Headers) -> bool:
        """End the sign-in whose cookie a request has; False: there is none.

        Raises ``StorageUnavailable``, ``StorageFull``.
        """
        value = self.value_in(headers)
        if value is None:
            return False
        digest = _digest(value)
        try:
            return await self.store.delete(digest)
        finally:
            self._read.pop(digest, None)  # it may be deleted all the same

    def value_in(self, headers: Headers) -> str | None:
        """The value of the cookie in a request; None: missing, malformed or given twice."""
        found = []
        for header in headers.get_list("Cookie"):
            for part in header.split(";"):
                name, _, value = part.strip().partition("=")
                if name == self.cookie_name:
                    found.append(value)
        return found[0] if len(found) == 1 and _VALUE.fullmatch(found[0]) else None

    def cookie(self, value: str, lasts_s: float, *, is_secure: bool) -> str:
        """The header ``Set-Cookie``; with an empty value it deletes the cookie."""
        attributes = f"Path={PATH}; Max-Age={max(0, int(lasts_s))}; HttpOnly; SameSite=Strict"
        return f"{self.cookie_name}={value}; {attributes}{'; Secure' if is_secure else ''}"

    async def _find(self, digest: str) -> _Read:
        known = self._read.get(digest)
        if known is not None and self.clock.monotonic() < known.until:
            return known
        try:
            stored = await self.store.get(digest)
        except StorageUnavailable:
            if known is not None:
                return known
            raise
        if stored is None:
            self._read.pop(digest, None)
            raise TokenInvalid("the sign-in has ended")
        claims = msgspec.json.decode(stored.claims, type=Claims)
        read = _Read(claims, stored.ends_at, self.clock.monotonic() + TRUSTED_S)
        self._read[digest] = read
        self._read.move_to_end(digest)
        if len(self._read) > CACHED:
            self._read.popitem(last=False)
        return read


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
