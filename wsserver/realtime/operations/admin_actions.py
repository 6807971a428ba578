"""Admin actions: disconnect, ping, member lists, revocations, tickets."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from msgspec import UNSET

from wsserver.clock import Clock, rfc3339
from wsserver.errors import Forbidden, ValidationFailed
from wsserver.identity.permissions import Permissions
from wsserver.identity.revocations import Revocations
from wsserver.identity.tickets import Tickets
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.requests import DisconnectRequest, MembersRequest, RevokeRequest
from wsserver.protocol.validation import Fault
from wsserver.realtime.access.actor import Actor, Audit, AuditRecorder
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.manager import WebSocketManager
from wsserver.storage.tables.access_lists import RevocationStore

DISCONNECTED_REASON = "disconnected by an administrator"


class AdminActions:
    """Admin actions, each with a check of permission and scope, and an audit entry."""

    def __init__(
        self,
        manager: WebSocketManager,
        permissions: Permissions,
        members: Members,
        tenancy: Tenancy,
        revocations: Revocations,
        revocation_store: RevocationStore,
        tickets: Tickets,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._manager = manager
        self._hub = manager.hub
        self._permissions = permissions
        self._members = members
        self._tenancy = tenancy
        self._revocations = revocations
        self._revocation_store = revocation_store
        self._tickets = tickets
        self._audit = AuditRecorder(audit, clock)
        self._clock = clock

    async def disconnect_user(self, actor: Actor, request: DisconnectRequest) -> dict[str, Any]:
        """Close a user's connections, or one of them, with 4502; returns their number."""
        target = f"user:{request.user_id}"
        with self._audit.denials(actor, "disconnect", target):
            scope = self._scope(actor, "connections:disconnect")
            await scope.require_users([request.user_id])
        wanted = request.connection_id
        found = [
            connection
            for connection in scope.filter(self._hub.of_user(request.user_id))
            if wanted is UNSET or connection.connection_id == wanted
        ]
        reason = request.reason if request.reason is not UNSET else ""
        self._disconnect(found, reason)
        self._audit.record(
            actor,
            "disconnect",
            target,
            connections=[c.connection_id for c in found[:100]],
            reason=reason,
        )
        return {"disconnected": len(found)}

    async def disconnect_connection(self, actor: Actor, connection_id: str) -> dict[str, Any]:
        """Close one connection with 4502; raises ``NotFound``."""
        target = f"connection:{connection_id}"
        with self._audit.denials(actor, "disconnect", target):
            scope = self._scope(actor, "connections:disconnect")
        connection = scope.find_connection(connection_id)
        self._disconnect([connection], "")
        self._audit.record(actor, "disconnect", target, user_id=connection.user_id)
        return {"disconnected": 1}

    async def ping_user(self, actor: Actor, user_id: str, timeout_s: float) -> dict[str, Any]:
        """Ping all connections of a user, and wait for the pongs."""
        scope = self._scope(actor, "connections:read")
        await scope.find_user(user_id)
        connections = scope.filter(self._hub.of_user(user_id))
        trips = await asyncio.gather(
            *(self._manager.heartbeat.measure(c, timeout_s) for c in connections)
        )
        return {
            "user_id": user_id,
            "online": bool(connections),
            "connections": [
                {
                    "connection_id": connection.connection_id,
                    "alive": rtt_ms is not None,
                    "rtt_ms": rtt_ms,
                }
                for connection, rtt_ms in zip(connections, trips, strict=True)
            ],
        }

    async def members(self, actor: Actor, session_id: str) -> dict[str, Any]:
        """A session's member list, may be empty.

        A confined role sees members of its organization and those without one. Raises
        ``NotFound`` for a session outside of the scope.
        """
        return await self._shown_members(await self._session_scope(actor, session_id), session_id)

    async def replace_members(
        self, actor: Actor, session_id: str, request: MembersRequest
    ) -> dict[str, Any]:
        """Replace a member list; users who lose access are removed from the session.

        A confined role can add users of its organization only; members that it cannot see stay.
        """
        target = f"session:{session_id}"
        with self._audit.denials(actor, "members", target):
            scope = await self._session_scope(actor, session_id)
            present = self._members.of_session(session_id)
            added = [each for each in dict.fromkeys(request.user_ids) if each not in set(present)]
            await scope.require_users(added)
            await scope.learn(present)
        present = self._members.of_session(session_id)  # may have changed while storage was read
        hidden = [user_id for user_id in present if not scope.is_shown_in_session(user_id)]
        user_ids = list(dict.fromkeys([*request.user_ids, *hidden]))
        removed = await self._members.replace(
            session_id, user_ids, actor.claims.sub, self._clock.wall()
        )
        self._manager.presence.listed(session_id, set(user_ids) - set(present), removed)
        for user_id in removed:
            for connection in self._hub.of_user(user_id):
                self._manager.sessions.enforce_access(connection)
        self._audit.record(
            actor,
            "members",
            target,
            members=len(user_ids),
            removed=sorted(removed)[:100],
        )
        return await self._shown_members(scope, session_id)

    async def revoke(self, actor: Actor, request: RevokeRequest) -> dict[str, Any]:
        """Revoke a token, or all of a user's tokens; their connections are closed with 4505."""
        with self._audit.denials(actor, "revoke", _revoked(request)):
            self._permissions.require(actor.claims, "tokens:revoke")
        if faults := revoke_faults(request):
            raise ValidationFailed(faults)
        with self._audit.denials(actor, "revoke", _revoked(request)):
            await self._require_own_token(actor, request)
        now = self._clock.wall()
        if request.jti is not UNSET:
            await self._revocation_store.add("jti", request.jti, now)
            self._revocations.revoke_jti(request.jti)
            answer = {"jti": request.jti}
        else:
            assert request.user_id is not UNSET  # noqa: S101 - one of the two is given
            at = self._revocations.revoke_user(request.user_id, now)
            await self._revocation_store.add("user", request.user_id, at)
            answer = {"user_id": request.user_id}
        revoked = [c for c in self._hub if self._revocations.is_revoked(c.claims)]
        for connection in revoked:
            self._manager.close(connection, CloseCode.TOKEN_REVOKED, "token revoked")
        self._audit.record(actor, "revoke", _revoked(request), disconnected=len(revoked))
        return {**answer, "disconnected": len(revoked)}

    def ticket(self, actor: Actor) -> dict[str, Any]:
        """A ticket that replaces the actor's token once, within 30 seconds."""
        ticket, expires_at = self._tickets.issue(actor.claims)
        return {"ticket": ticket, "expires_at": rfc3339(expires_at)}

    def _disconnect(self, connections: list[ConnectionInfo], reason: str) -> None:
        for connection in connections:
            self._manager.close(connection, CloseCode.DISCONNECTED, reason or DISCONNECTED_REASON)

    def _scope(self, actor: Actor, permission: str) -> Scope:
        self._permissions.require(actor.claims, permission)
        return self._tenancy.scope(self._permissions.confined_to(actor.claims))

    async def _session_scope(self, actor: Actor, session_id: str) -> Scope:
        scope = self._scope(actor, "sessions:manage")
        await scope.find_session(session_id)
        return scope

    async def _shown_members(self, scope: Scope, session_id: str) -> dict[str, Any]:
        members = self._members.of_session(session_id)
        await scope.learn(members)
        return {
            "session_id": session_id,
            "user_ids": list(filter(scope.is_shown_in_session, members)),
        }

    async def _require_own_token(self, actor: Actor, request: RevokeRequest) -> None:
        """Raise ``Forbidden`` unless the revoked token or user belongs to the actor's organization.

        The owner of a ``jti`` is known only while a connection uses the token.
        """
        scope = self._scope(actor, "tokens:revoke")
        if request.user_id is not UNSET:
            await scope.require_users([request.user_id])
        if request.jti is UNSET or scope.organization_id is None:
            return
        using = [c for c in self._hub if c.claims.jti == request.jti]
        is_own = bool(using) or actor.claims.jti == request.jti
        if not is_own or not all(map(scope.sees, using)):
            raise Forbidden(f"token {request.jti} is outside of your organization")


def revoke_faults(request: RevokeRequest, bad: Collection[str] = ()) -> list[Fault]:
    """Faults unless exactly one of ``jti`` and ``user_id`` is set; ``bad``: invalid fields."""
    given = [n for n in ("jti", "user_id") if n in bad or getattr(request, n) is not UNSET]
    if len(given) == 1:
        return []
    return [{"field": "jti", "message": "exactly one of jti and user_id is required"}]


def _revoked(request: RevokeRequest) -> str:
    """Object of a revocation in the audit trail."""
    return f"user:{request.user_id}" if request.jti is UNSET else f"jti:{request.jti}"
