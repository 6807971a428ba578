"""``Audience``: a filter of a message's recipients, stored with the message."""

from __future__ import annotations

import msgspec

from wsserver.identity.claims import Claims
from wsserver.storage.messages.participants import Reader


class Audience(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A filter by organization, role and user id; the default admits all users."""

    organization_id: str | None = None
    """Only users of this organization."""
    with_unaffiliated: bool = False
    """Widens ``organization_id`` to users without an organization."""
    role: str | None = None
    """Only users with this role."""
    exclude_users: frozenset[str] = frozenset()

    def exclusion(self, claims: Claims) -> str | None:
        """Why a user is excluded, see ``excludes``; None: is not."""
        return self.excludes(claims.sub, claims.organization_id, claims.role)

    def excludes(self, user_id: str, organization_id: str | None, role: str) -> str | None:
        """Why a user is excluded: ``excluded``, ``other_organization``, ``other_role`` or None."""
        if user_id in self.exclude_users:
            return "excluded"
        if self.organization_id is not None and organization_id != self.organization_id:
            if not (self.with_unaffiliated and organization_id is None):
                return "other_organization"
        if self.role is not None and role != self.role:
            return "other_role"
        return None

    def admits(self, claims: Claims) -> bool:
        """Whether the message is for a user."""
        return self.exclusion(claims) is None


EVERYBODY = Audience()
_AUDIENCE = msgspec.json.Decoder(Audience)


def is_for(text: str, reader: Reader) -> bool:
    """Whether a stored audience admits a user."""
    return _AUDIENCE.decode(text).excludes(*reader) is None


def read_audience(text: str | None) -> Audience | None:
    """Decode a stored audience; None: all users."""
    return None if text is None else _AUDIENCE.decode(text)


def write_audience(audience: Audience | None) -> str | None:
    """Encode an audience to be stored; None: all users."""
    return None if audience is None else msgspec.json.encode(audience).decode()
