"""Who of a target's connections a message is for; kept with the message, and asked again later."""

from __future__ import annotations

import msgspec

from wsserver.identity.claims import Claims


class Audience(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A filter by organization, role and name; the default one lets everybody pass."""

    organization_id: str | None = None
    """Only people of this organization."""
    with_unaffiliated: bool = False
    """And of none: widens ``organization_id``, for sessions whose customers belong to none."""
    role: str | None = None
    """Only people with this role."""
    exclude_users: frozenset[str] = frozenset()

    def exclusion(self, claims: Claims) -> str | None:
        """Why the bearer of these claims is not meant; None: is meant."""
        return self.excludes(claims.sub, claims.organization_id, claims.role)

    def excludes(self, user_id: str, organization_id: str | None, role: str) -> str | None:
        """Why somebody is not meant: ``excluded``, ``other_organization``, ``other_role``."""
        if user_id in self.exclude_users:
            return "excluded"
        if self.organization_id is not None and organization_id != self.organization_id:
            if not (self.with_unaffiliated and organization_id is None):
                return "other_organization"
        if self.role is not None and role != self.role:
            return "other_role"
        return None

    def admits(self, claims: Claims) -> bool:
        """Is the message for the bearer of these claims?"""
        return self.exclusion(claims) is None


EVERYBODY = Audience()


def read_audience(text: str | None) -> Audience | None:
    """An audience as it was stored; None stands for everybody."""
    return None if text is None else msgspec.json.decode(text, type=Audience)


def write_audience(audience: Audience | None) -> str | None:
    """An audience to be stored; None for everybody."""
    return None if audience is None else msgspec.json.encode(audience).decode()
