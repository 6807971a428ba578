"""``NodeActions``: handlers of the requests and notices that reach all nodes of a cluster.

Each acts on this node's connections only. Requests with ``organization_id`` act on connections of
that organization only; None: on all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from msgspec import Struct

from wsserver.cluster.control import Control, Notice, Request
from wsserver.identity.revocations import Revocations
from wsserver.protocol.close_codes import CloseCode
from wsserver.realtime.access.memberships import AssignedOrganizations, Members
from wsserver.realtime.access.tenancy import OrganizationAssigned, Tenancy
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.manager import WebSocketManager


class Closed(Struct, frozen=True):
    """A connection that was closed."""

    connection_id: str
    user_id: str


class CloseConnections(Request[list[Closed]], frozen=True):
    """Close a user's connections, or one connection, with 4502."""

    reason: str
    user_id: str | None = None
    connection_id: str | None = None
    organization_id: str | None = None


class Pong(Struct, frozen=True):
    """Result of the ping of a connection; ``rtt_ms`` is None without an answer in time."""

    connection_id: str
    rtt_ms: float | None


class PingUser(Request[list[Pong]], frozen=True):
    """Ping all connections of a user."""

    user_id: str
    timeout_s: float
    organization_id: str | None = None


class RevokeTokens(Request[int], frozen=True):
    """Add to the deny list, and close the connections; the answer is their number."""

    jti: str | None = None
    user_id: str | None = None
    issued_until: float = 0.0
    """Of a user: tokens issued up to this time, in seconds since the epoch."""


class TokenUsers(Request[list[str | None]], frozen=True):
    """The organizations of the connections that use the token with a ``jti``."""

    jti: str


class MembersReplaced(Notice, frozen=True):
    """The member list of a session was replaced in the database."""

    session_id: str
    user_ids: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]


class NodeActions:
    """Acts on this node's connections, on request of any node."""

    def __init__(
        self,
        manager: WebSocketManager,
        tenancy: Tenancy,
        members: Members,
        organizations: AssignedOrganizations,
        revocations: Revocations,
    ) -> None:
        self._manager = manager
        self._hub = manager.hub
        self._tenancy = tenancy
        self._members = members
        self._organizations = organizations
        self._revocations = revocations

    def register(self, control: Control) -> None:
        """Register all handlers and listeners."""
        control.add_handler(CloseConnections, self.close)
        control.add_handler(PingUser, self.ping)
        control.add_handler(RevokeTokens, self.revoke)
        control.add_handler(TokenUsers, self.token_users)
        control.add_listener(MembersReplaced, self.members_replaced)
        control.add_listener(OrganizationAssigned, self.organization_assigned)

    def close(self, request: CloseConnections) -> list[Closed]:
        """Close connections; returns those closed, oldest first."""
        found: Iterable[ConnectionInfo] = ()
        if request.user_id is not None:
            found = self._hub.of_user(request.user_id)
        elif request.connection_id in self._hub.connections:
            found = [self._hub.connections[request.connection_id]]
        concerned = [
            connection
            for connection in self._tenancy.scope(request.organization_id).filter(found)
            if request.connection_id in (None, connection.connection_id)
        ]
        for connection in concerned:
            self._manager.close(connection, CloseCode.DISCONNECTED, request.reason)
        return [Closed(each.connection_id, each.user_id) for each in concerned]

    async def ping(self, request: PingUser) -> list[Pong]:
        """Ping connections, and wait for the pongs."""
        scope = self._tenancy.scope(request.organization_id)
        connections = scope.filter(self._hub.of_user(request.user_id))
        trips = await asyncio.gather(
            *(self._manager.heartbeat.measure(each, request.timeout_s) for each in connections)
        )
        return [
            Pong(connection.connection_id, rtt_ms)
            for connection, rtt_ms in zip(connections, trips, strict=True)
        ]

    def revoke(self, request: RevokeTokens) -> int:
        """Deny tokens, and close the connections that use them."""
        if request.jti is not None:
            self._revocations.revoke_jti(request.jti)
        if request.user_id is not None:
            self._revocations.revoke_user(request.user_id, request.issued_until)
        revoked = [each for each in self._hub if self._revocations.is_revoked(each.claims)]
        for connection in revoked:
            self._manager.close(connection, CloseCode.TOKEN_REVOKED, "token revoked")
        return len(revoked)

    def token_users(self, request: TokenUsers) -> list[str | None]:
        """The organizations of the connections that use a token."""
        using = [each.claims for each in self._hub if each.claims.jti == request.jti]
        return [claims.organization_id for claims in using]

    def members_replaced(self, notice: MembersReplaced) -> None:
        """Apply a member list; users who lose access are removed from the session."""
        self._members.apply(notice.session_id, notice.user_ids)
        self._manager.presence.listed(notice.session_id, set(notice.added), set(notice.removed))
        for user_id in notice.removed:
            for connection in self._hub.of_user(user_id):
                self._manager.sessions.enforce_access(connection)

    def organization_assigned(self, notice: OrganizationAssigned) -> None:
        """Apply a user's organization; connections leave the sessions that it does not allow."""
        self._organizations.apply(notice.user_id, notice.organization_id)
        for connection in self._tenancy.reclaim(notice.user_id):
            self._manager.sessions.enforce_access(connection)
