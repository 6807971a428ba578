"""Who may enter a session, and what a role confined to an organization can see."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wsserver.errors import Forbidden
from wsserver.identity.claims import Claims
from wsserver.identity.permissions import UNCONFINED_ROLES, Permissions
from wsserver.realtime.connection import ConnectionInfo
from wsserver.realtime.event_contents import PERMISSION
from wsserver.realtime.hub import Hub


class SessionAccess:
    """Decides who may enter a session (by claim, member list, permission) and who may monitor."""

    def __init__(self, permissions: Permissions, is_member: Callable[[str, str], bool]) -> None:
        self._permissions = permissions
        self._is_member = is_member

    def allows(self, claims: Claims, session_id: str) -> bool:
        """May the bearer of these claims enter the session?"""
        return (
            claims.opens(session_id)
            or self._is_member(session_id, claims.sub)
            or self._permissions.allows(claims, "sessions:any")
        )

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


class Scope:
    """The part of the world that an administrator sees: everything, or one organization."""

    def __init__(self, hub: Hub, organization_id: str | None) -> None:
        self._hub = hub
        self.organization_id = organization_id

    def sees(self, connection: ConnectionInfo) -> bool:
        """Does the connection belong to it?"""
        mine = self.organization_id
        return mine is None or connection.claims.organization_id == mine

    def sees_in_session(self, connection: ConnectionInfo) -> bool:
        """Is the connection shown, and written to, as part of a session?

        A session's customers belong to no organization, but to the session: they are. The people
        of other organizations are not.
        """
        mine = self.organization_id
        return mine is None or connection.claims.organization_id in (None, mine)

    def of_session(self, session_id: str) -> list[ConnectionInfo]:
        """The connections in a session that are shown."""
        return list(filter(self.sees_in_session, self._hub.of_session(session_id)))

    def knows_member(self, user_id: str) -> bool:
        """May the user be named in a member list? Not who is connected from elsewhere alone."""
        connections = self._hub.of_user(user_id)
        return not connections or any(map(self.sees_in_session, connections))

    def filter(self, connections: Iterable[ConnectionInfo]) -> list[ConnectionInfo]:
        """Those of the connections that belong to it."""
        return [connection for connection in connections if self.sees(connection)]

    def has_user(self, user_id: str) -> bool:
        """False for a user who is connected, but from outside; nothing is known of the absent."""
        connections = self._hub.of_user(user_id)
        return not connections or any(map(self.sees, connections))

    def has_session(self, session_id: str) -> bool:
        """False for a session whose connections all belong to other organizations."""
        connections = self._hub.of_session(session_id)
        return not connections or any(map(self.sees_in_session, connections))

    def has_organization(self, organization_id: str) -> bool:
        """Is it this organization, or one of all?"""
        return self.organization_id in (None, organization_id)
