"""Permissions of the roles: the default table, and the check against the one in force."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from wsserver.errors import Forbidden
from wsserver.identity.claims import LATEST_S, ROLES, Claims

ALL_PERMISSIONS = frozenset(
    {
        "monitor",  # the monitor endpoint: live statistics, events, admin commands
        "stats:read",
        "connections:read",
        "connections:disconnect",
        "connections:record",  # what goes over the wires of users
        "sessions:manage",  # member lists
        "sessions:any",  # enter any session without being named
        "messages:read",
        "messages:publish",
        "messages:moderate",  # edit and delete messages of others
        "notifications:send",
        "notifications:read",
        "users:erase",  # export and erase what is stored about a user
        "tokens:revoke",
        "audit:read",
    }
)
"""All permissions. Configuration and tokens can grant no other."""

DEFAULT_ROLES: Mapping[str, frozenset[str]] = {
    "admin": ALL_PERMISSIONS,
    "service": frozenset(
        {
            "monitor",
            "stats:read",
            "connections:read",
            "sessions:manage",
            "messages:read",
            "messages:publish",
            "notifications:send",
            "notifications:read",
        }
    ),
    "manager": frozenset(
        {
            "stats:read",
            "connections:read",
            "messages:read",
            "messages:publish",
            "messages:moderate",
            "notifications:send",
        }
    ),
    "user": frozenset(),
}
"""Role → permissions, unless configured otherwise."""

UNCONFINED_ROLES = frozenset({"admin", "service"})
"""Roles that see every organization; all others see only the one in their token."""

PROGRAM = Claims(sub="(server)", exp=LATEST_S, role="service")
"""The requester of what plugins and embedding programs do. ``Permissions`` grants this one object
everything, whatever is configured for its role. No user can have its id (``ids.is_user_id``)."""


class Permissions:
    """The role table in force.

    ``table`` replaces whole rows of ``DEFAULT_ROLES``; roles it leaves out keep theirs. ``more``:
    permissions of extensions, each with the roles that have it by default. Raises ``ValueError``
    that lists every unknown role and permission in the table.
    """

    def __init__(
        self,
        table: Mapping[str, Iterable[str]] | None = None,
        more: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        more = more or {}
        known = ALL_PERMISSIONS | more.keys()
        rows = {role: frozenset(names) for role, names in (table or {}).items()}
        faults = [f"unknown role {role!r}" for role in sorted(rows.keys() - set(ROLES))]
        faults += [
            f"unknown permission {name!r} for role {role!r}"
            for role, names in rows.items()
            for name in sorted(names - known)
        ]
        if faults:
            raise ValueError("; ".join(faults))
        defaults = {
            role: names | {name for name, roles in more.items() if role in roles}
            for role, names in DEFAULT_ROLES.items()
        }
        self._rows = {**defaults, **rows}

    def allows(self, claims: Claims, permission: str) -> bool:
        """Whether the bearer may do this: by the role's row, narrowed by the token's own list."""
        return claims is PROGRAM or (
            permission in self._rows[claims.role]
            and (claims.permissions is None or permission in claims.permissions)
        )

    def of(self, claims: Claims) -> frozenset[str]:
        """The permissions of the bearer."""
        row = self._rows[claims.role]
        return row if claims.permissions is None else row & claims.permissions

    def require(self, claims: Claims, permission: str) -> None:
        """Raise ``Forbidden`` unless the bearer may do this."""
        if not self.allows(claims, permission):
            raise Forbidden(f"this needs the permission {permission}")

    def confined_to(self, claims: Claims) -> str | None:
        """The one organization that the bearer may see and reach; None: all of them.

        Raises ``Forbidden`` for a confined role whose token names no organization.
        """
        if claims.role in UNCONFINED_ROLES:
            return None
        if claims.organization_id is None:
            raise Forbidden("this needs a token with an organization_id")
        return claims.organization_id
