"""Tokens: ``TokenSigner`` makes them, ``TokenCache`` keeps the client's own one fresh."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import jwt

Provider = Callable[[], str | Awaitable[str]]
"""Returns a token, at once or (in ``AsyncClient``) as an awaitable."""
Source = str | Provider
"""A token that does not change, or what provides one whenever it is needed."""

RENEW_BEFORE_S = 30.0
"""A token is renewed so long before its end, or when four fifths of its time are over."""


class TokenSigner:
    """Makes tokens with a secret (HS256 …) or a private key (RS256, ES256, EdDSA …).

    For the users of your application, and for your backend itself: ``service`` gives what a client
    needs.
    """

    def __init__(
        self,
        key: str | bytes,
        *,
        algorithm: str = "HS256",
        issuer: str | None = None,
        audience: str | None = None,
        key_id: str | None = None,
    ) -> None:
        self._key = key
        self._algorithm = algorithm
        self._common = {"iss": issuer, "aud": audience}
        self._headers = {"kid": key_id} if key_id is not None else None

    def sign(
        self,
        user_id: str,
        *,
        role: str = "user",
        ttl_s: float = 3600.0,
        username: str | None = None,
        organization_id: str | None = None,
        sessions: Sequence[str] | Literal["*"] | None = None,
        permissions: Sequence[str] | None = None,
        **claims: Any,
    ) -> str:
        """A token for a user; further claims as keyword arguments, such as ``jti``."""
        now = time.time()
        everything = {
            "sub": user_id,
            "role": role,
            "iat": int(now),
            "exp": int(now + ttl_s),
            "username": username,
            "organization_id": organization_id,
            "sessions": sessions if sessions is None or sessions == "*" else list(sessions),
            "permissions": None if permissions is None else list(permissions),
            **self._common,
            **claims,
        }
        present = {name: value for name, value in everything.items() if value is not None}
        return jwt.encode(present, self._key, self._algorithm, self._headers)

    def service(self, user_id: str, *, ttl_s: float = 600.0, **claims: Any) -> Provider:
        """Tokens for a client of your backend, made anew whenever one is about to expire."""
        claims.setdefault("role", "service")
        return lambda: self.sign(user_id, ttl_s=ttl_s, **claims)


class TokenCache:
    """The token of a client: when it has to be renewed, and whether it can be."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._token = source if isinstance(source, str) else ""
        self._until = float("inf")

    @property
    def is_renewable(self) -> bool:
        """Whether there is a provider."""
        return not isinstance(self._source, str)

    @property
    def provider(self) -> Provider | None:
        """What is to be called for a token; None: the one that was given is used for ever."""
        return None if isinstance(self._source, str) else self._source

    def current(self, now: float) -> str | None:
        """The token in use; None: the provider has to be called, and its token kept."""
        return self._token if self._token and now < self._until else None

    def keep(self, token: str, now: float) -> None:
        """Use a token from now on (wall-clock seconds), until it is about to expire."""
        self._token = token
        expires_at = expiry_of(token)
        margin_s = max(0.0, min(RENEW_BEFORE_S, (expires_at - now) / 5))
        self._until = expires_at - margin_s

    def forget(self) -> None:
        """The server did not accept the token: the provider is called again."""
        if self.is_renewable:
            self._token = ""


def expiry_of(token: str) -> float:
    """The claim ``exp`` of a token, unverified; infinity if it cannot be read."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return float("inf")
