"""The claims of a token as one typed value."""

from __future__ import annotations

from typing import Literal

import msgspec

ROLES = ("user", "manager", "admin", "service")
"""All roles; case counts."""

EMPTY: frozenset[str] = frozenset()
LATEST_S = 253_402_300_799
"""9999-12-31T23:59:59Z; later ones overflow datetime and floats."""


class Claims(msgspec.Struct, frozen=True, gc=False):
    """The claims of a verified token; all connections of the same token share one object."""

    sub: str
    """User id, from the claim ``sub`` or the one that ``jwt_user_claim`` names."""
    exp: float
    """Seconds since the epoch at which the token expires."""
    role: str = "user"
    """One of ``ROLES``."""
    username: str | None = None
    organization_id: str | None = None
    """The organization that the user belongs to: the token's, unless another one was entered."""
    sessions: frozenset[str] | Literal["*"] = EMPTY
    """Ids of the sessions it opens, or ``"*"`` for all."""
    permissions: frozenset[str] | None = None
    """Narrows the role's permissions; None: all of them. May have unknown names in it."""
    jti: str | None = None
    """The token's own id, by which it can be revoked."""
    iat: float | None = None
    """Seconds since the epoch when it was issued; not refused in the future, unlike ``nbf``."""
    nbf: float | None = None
    """Seconds since the epoch before which it is not valid."""
    signed_organization_id: str | msgspec.UnsetType | None = msgspec.UNSET
    """The token's own organization, where ``organization_id`` is one that was entered instead."""

    @property
    def token_organization_id(self) -> str | None:
        """The organization that the token itself names."""
        signed = self.signed_organization_id
        return self.organization_id if signed is msgspec.UNSET else signed

    def belonging_to(self, entered: str | None) -> Claims:
        """The claims with an entered organization; None: with that of the token."""
        if entered is None and self.signed_organization_id is msgspec.UNSET:
            return self
        own = self.token_organization_id
        wanted = own if entered is None else entered
        if wanted == self.organization_id:
            return self
        signed = msgspec.UNSET if wanted == own else own
        return msgspec.structs.replace(self, organization_id=wanted, signed_organization_id=signed)

    def opens(self, session_id: str) -> bool:
        """Whether the token itself names this session, or all of them."""
        return self.sessions == "*" or session_id in self.sessions


def as_signed(claims: Claims) -> Claims:
    """The claims as the token has them: the default where no organizations can be entered."""
    return claims
