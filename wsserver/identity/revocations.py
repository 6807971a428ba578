"""The deny list of revoked tokens, in memory; the storage keeps a copy."""

from __future__ import annotations

from collections.abc import Iterable

from wsserver.clock import Clock
from wsserver.errors import TokenRevoked
from wsserver.identity.claims import Claims


class Revocations:
    """Revoked tokens: single ones (``jti``), or all of a user up to a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._jtis: set[str] = set()
        self._users: dict[str, float] = {}

    def load(self, jtis: Iterable[str], users: Iterable[tuple[str, float]]) -> None:
        """Add what an earlier run stored: revoked ``jti``s, and users with their wall time."""
        self._jtis.update(jtis)
        for user_id, at_wall in users:
            self.revoke_user(user_id, at_wall)

    def revoke_jti(self, jti: str) -> None:
        """Refuse the one token with this ``jti`` from now on."""
        self._jtis.add(jti)

    def revoke_user(self, user_id: str, at_wall: float | None = None) -> float:
        """Refuse every token of this user issued up to ``at_wall`` (seconds, default now).

        Returns the time that is in force now, for storing: it never moves back.
        """
        at = max(
            self._clock.wall() if at_wall is None else at_wall,
            self._users.get(user_id, float("-inf")),
        )
        self._users[user_id] = at
        return at

    def is_revoked(self, claims: Claims) -> bool:
        """Whether the token is revoked.

        Issuers write ``iat`` in whole seconds, rounded down, so a token issued in the very second
        of the revocation cannot be distinguished from one issued just before it: both are refused.
        A token without ``iat`` may be older and is refused too.
        """
        if claims.jti is not None and claims.jti in self._jtis:
            return True
        at = self._users.get(claims.sub)
        return at is not None and (claims.iat is None or claims.iat <= at)

    def check(self, claims: Claims) -> None:
        """Raise ``TokenRevoked`` if the token is on the list."""
        if self.is_revoked(claims):
            raise TokenRevoked
