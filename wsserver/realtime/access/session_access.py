"""Authorization to enter a session, and to monitor the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from wsserver.errors import Forbidden
from wsserver.identity.claims import Claims
from wsserver.identity.permissions import UNCONFINED_ROLES, Permissions
from wsserver.realtime.observability.events import CONTENT_PERMISSION
from wsserver.realtime.streams.retention_policy import (
    BROADCAST,
    INBOX,
    ORGANIZATION,
    SESSION,
    organization_stream_of,
)

ANY = "sessions:any"


class SessionOwners(Protocol):
    """Ownership of sessions by organizations, implemented by ``Tenancy``."""

    async def owns(self, organization_id: str, session_id: str) -> bool:
        """Whether the session belongs to the organization; may read storage."""
        ...

    def is_known_to_own(self, organization_id: str, session_id: str) -> bool:
        """The latest result of ``owns``; False if there is none."""
        ...


class SessionAccess:
    """Authorizes entering a session (by claim, member list or permission) and monitoring.

    The permission ``sessions:any`` gives access to every session, for roles confined to an
    organization to every session of it. To find out the owner of a session may require storage:
    call ``prepare`` before a session is entered; ``allows`` uses its result.
    """

    def __init__(
        self, permissions: Permissions, is_member: Callable[[str, str], bool], owners: SessionOwners
    ) -> None:
        self._permissions = permissions
        self._is_member = is_member
        self._owners = owners

    def allows(self, claims: Claims, session_id: str) -> bool:
        """Whether the claims allow entering the session."""
        if claims.opens(session_id) or self._is_member(session_id, claims.sub):
            return True
        if not self._permissions.allows(claims, ANY):
            return False
        if claims.role in UNCONFINED_ROLES:
            return True
        mine = claims.organization_id
        return mine is not None and self._owners.is_known_to_own(mine, session_id)

    def allows_stream(self, claims: Claims, bound_to: str | None, stream: str) -> bool:
        """Whether the claims allow reading a stream on a connection, bound to a session or not."""
        if stream == BROADCAST:
            return True
        if stream.startswith(INBOX):
            return stream == INBOX + claims.sub
        if stream.startswith(ORGANIZATION):
            return stream == organization_stream_of(claims)
        session_id = stream.removeprefix(SESSION)
        return bound_to in (None, session_id) and self.allows(claims, session_id)

    def needs_preparing(self, claims: Claims, session_id: str) -> bool:
        """Whether the result of ``allows`` depends on the owner of the session."""
        return (
            claims.role not in UNCONFINED_ROLES
            and claims.organization_id is not None
            and self._permissions.allows(claims, ANY)
            and not claims.opens(session_id)
            and not self._is_member(session_id, claims.sub)
        )

    async def prepare(self, claims: Claims, session_id: str) -> None:
        """Look up the owner of a session if access depends on it. Raises ``StorageUnavailable``."""
        if claims.organization_id is not None and self.needs_preparing(claims, session_id):
            await self._owners.owns(claims.organization_id, session_id)

    def require(self, claims: Claims, session_id: str) -> None:
        """Raise ``Forbidden`` without access, whether or not the session exists."""
        if not self.allows(claims, session_id):
            raise Forbidden(f"no access to session {session_id}")

    def allows_monitoring(self, claims: Claims) -> bool:
        """Whether the claims allow monitoring; not for confined roles: monitors see all users."""
        return claims.role in UNCONFINED_ROLES and self._permissions.allows(claims, "monitor")

    def shows_contents(self, claims: Claims) -> bool:
        """Whether monitors with these claims see the contents of messages."""
        return self._permissions.allows(claims, CONTENT_PERMISSION)
