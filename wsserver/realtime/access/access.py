"""Who may enter a session, and who may watch the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from wsserver.errors import Forbidden
from wsserver.identity.claims import Claims
from wsserver.identity.permissions import UNCONFINED_ROLES, Permissions
from wsserver.realtime.observability.event_contents import PERMISSION

ANY = "sessions:any"


class Owners(Protocol):
    """Which sessions belong to an organization: the tenancy's."""

    async def owns(self, organization_id: str, session_id: str) -> bool:
        """Does the session belong to the organization? May ask storage."""
        ...

    def is_known_to_own(self, organization_id: str, session_id: str) -> bool:
        """The latest answer of ``owns``; False where there was none."""
        ...


class SessionAccess:
    """Decides who may enter a session (by claim, member list, permission) and who may monitor.

    The permission ``sessions:any`` opens every session to roles that are not confined, and those
    of their own organization to the others. For these storage may have to be asked first:
    ``prepare`` does, wherever a session is about to be entered, and ``allows`` goes by what it
    found.
    """

    def __init__(
        self, permissions: Permissions, is_member: Callable[[str, str], bool], owners: Owners
    ) -> None:
        self._permissions = permissions
        self._is_member = is_member
        self._owners = owners

    def allows(self, claims: Claims, session_id: str) -> bool:
        """May the bearer of these claims enter the session?"""
        if claims.opens(session_id) or self._is_member(session_id, claims.sub):
            return True
        if not self._permissions.allows(claims, ANY):
            return False
        if claims.role in UNCONFINED_ROLES:
            return True
        mine = claims.organization_id
        return mine is not None and self._owners.is_known_to_own(mine, session_id)

    def needs_preparing(self, claims: Claims, session_id: str) -> bool:
        """Does the answer of ``allows`` depend on whose the session is?"""
        return (
            claims.role not in UNCONFINED_ROLES
            and claims.organization_id is not None
            and self._permissions.allows(claims, ANY)
            and not claims.opens(session_id)
            and not self._is_member(session_id, claims.sub)
        )

    async def prepare(self, claims: Claims, session_id: str) -> None:
        """Find out whose a session is, where that decides. Raises ``StorageUnavailable``."""
        if claims.organization_id is not None and self.needs_preparing(claims, session_id):
            await self._owners.owns(claims.organization_id, session_id)

    def require(self, claims: Claims, session_id: str) -> None:
        """Raise ``Forbidden``, in the same words for a session that exists and one that doesn't."""
        if not self.allows(claims, session_id):
            raise Forbidden(f"no access to session {session_id}")

    def allows_monitoring(self, claims: Claims) -> bool:
        """May the bearer watch the server? Not who is confined: a monitor sees everybody."""
        return claims.role in UNCONFINED_ROLES and self._permissions.allows(claims, "monitor")

    def shows_contents(self, claims: Claims) -> bool:
        """Are the bearer's monitors shown the contents of messages?"""
        return self._permissions.allows(claims, PERMISSION)
