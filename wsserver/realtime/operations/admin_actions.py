"""Admin actions: disconnect, ping, member lists, revocations, tickets."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from msgspec import UNSET

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.control import Answers, Control
from wsserver.cluster.nodes import Nodes
from wsserver.errors import Forbidden, NotFound, ValidationFailed
from wsserver.identity.permissions import Permissions
from wsserver.identity.revocations import Revocations
from wsserver.identity.tickets import Tickets
from wsserver.protocol.requests import DisconnectRequest, MembersRequest, RevokeRequest
from wsserver.protocol.validation import Fault
from wsserver.realtime.access.actor import Actor, Audit, AuditRecorder
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.tenancy import SPREAD_S, Scope, Tenancy
from wsserver.realtime.operations.access_changes import (
    MembersReplaced,
    MembersStored,
    RevokeTokens,
    TokensRevoked,
)
from wsserver.realtime.operations.node_actions import (
    CloseConnections,
    Closed,
    PingUser,
    TokenUsers,
)
from wsserver.realtime.operations.node_queries import DrainNode
from wsserver.storage.tables.access_lists import RevocationStore

DISCONNECTED_REASON = "disconnected by an administrator"
ANSWER_S = 0.3
"""Time for the answers of other nodes, in addition to the timeout of a ping."""


class AdminActions:
    """Admin actions on all nodes, each with a check of permission and scope, and an audit entry.

    Answers name the nodes that did not act in time as ``unreachable``.
    """

    def __init__(
        self,
        control: Control,
        permissions: Permissions,
        members: Members,
        tenancy: Tenancy,
        revocations: Revocations,
        revocation_store: RevocationStore,
        tickets: Tickets,
        audit: Audit,
        clock: Clock,
        nodes: Nodes,
    ) -> None:
        self._control = control
        self._nodes = nodes
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
        reason = request.reason if request.reason is not UNSET else ""
        answers = await self._control.ask_all(
            CloseConnections(
                reason or DISCONNECTED_REASON,
                user_id=request.user_id,
                connection_id=wanted if wanted is not UNSET else None,
                organization_id=scope.organization_id,
            )
        )
        found = _joined(answers)
        self._audit.record(
            actor,
            "disconnect",
            target,
            connections=[c.connection_id for c in found[:100]],
            reason=reason,
        )
        return {"disconnected": len(found), **_unreachable(answers)}

    async def disconnect_connection(self, actor: Actor, connection_id: str) -> dict[str, Any]:
        """Close one connection with 4502.

        Raises ``NotFound``, unless it may be of a node that has not answered.
        """
        target = f"connection:{connection_id}"
        with self._audit.denials(actor, "disconnect", target):
            scope = self._scope(actor, "connections:disconnect")
        answers = await self._control.ask_all(
            CloseConnections(
                DISCONNECTED_REASON,
                connection_id=connection_id,
                organization_id=scope.organization_id,
            )
        )
        closed = _joined(answers)
        if not closed and not answers.unreachable:
            raise NotFound("connection", connection_id)
        user_id = closed[0].user_id if closed else None
        self._audit.record(actor, "disconnect", target, user_id=user_id)
        return {"disconnected": len(closed), **_unreachable(answers)}

    async def ping_user(self, actor: Actor, user_id: str, timeout_s: float) -> dict[str, Any]:
        """Ping all connections of a user, and wait for the pongs."""
        scope = self._scope(actor, "connections:read")
        await scope.find_user(user_id)
        answers = await self._control.ask_all(
            PingUser(user_id, timeout_s, scope.organization_id), timeout_s + ANSWER_S
        )
        pongs = [pong for each in answers.by_node.values() for pong in each]
        return {
            "user_id": user_id,
            "online": bool(pongs),
            "connections": [
                {
                    "connection_id": pong.connection_id,
                    "alive": pong.rtt_ms is not None,
                    "rtt_ms": pong.rtt_ms,
                }
                for pong in pongs
            ],
            **_unreachable(answers),
        }

    async def drain_node(self, actor: Actor, node: str) -> dict[str, Any]:
        """Drain a node as SIGTERM does. Raises ``NotFound``.

        ``Forbidden`` for a role confined to an organization: nodes serve all organizations.
        """
        target = f"node:{node}"
        with self._audit.denials(actor, "drain", target):
            if self._scope(actor, "connections:disconnect").organization_id is not None:
                raise Forbidden(f"node {node} serves other organizations, too")
        at = rfc3339(self._clock.wall())
        answers = await self._nodes.ask(DrainNode(), node)
        is_draining = any(answers.by_node.values())
        self._audit.record(actor, "drain", target, draining=is_draining)
        return {
            "node": node,
            "draining": is_draining,
            "at": at,
            **_unreachable(answers),
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
        change = await self._members.store(
            session_id, user_ids, actor.claims.sub, self._clock.wall()
        )
        replaced = MembersReplaced(session_id, tuple(user_ids), change.version)
        self._control.notify(MembersStored(replaced))
        answers = await self._control.ask_all(replaced, SPREAD_S)
        self._audit.record(
            actor,
            "members",
            target,
            members=len(user_ids),
            removed=change.removed[:100],
        )
        return {**await self._shown_members(scope, session_id), **_unreachable(answers)}

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
            version = await self._revocation_store.add("jti", request.jti, now)
            revoked = RevokeTokens(version, jti=request.jti)
            answer = {"jti": request.jti}
        else:
            assert request.user_id is not UNSET  # noqa: S101 - one of the two is given
            now = await self._revocation_store.time(now)
            at = self._revocations.revoke_user(request.user_id, now)
            version = await self._revocation_store.add("user", request.user_id, at)
            revoked = RevokeTokens(version, user_id=request.user_id, issued_until=at)
            answer = {"user_id": request.user_id}
        self._control.notify(TokensRevoked(revoked))
        answers = await self._control.ask_all(revoked, SPREAD_S)
        count = sum(answers.by_node.values())
        self._audit.record(actor, "revoke", _revoked(request), disconnected=count)
        return {**answer, "disconnected": count, **_unreachable(answers)}

    async def ticket(self, actor: Actor) -> dict[str, Any]:
        """A ticket that replaces the actor's token once, within 30 seconds."""
        ticket, expires_at = self._tickets.issue(actor.claims)
        await self._tickets.share(ticket)
        return {"ticket": ticket, "expires_at": rfc3339(expires_at)}

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
        answers = await self._control.ask_all(TokenUsers(request.jti))
        using = [each for found in answers.by_node.values() for each in found]
        is_own = bool(using) or actor.claims.jti == request.jti
        if not is_own or set(using) - {scope.organization_id}:
            raise Forbidden(f"token {request.jti} is outside of your organization")


def _joined(answers: Answers[list[Closed]]) -> list[Closed]:
    return [closed for each in answers.by_node.values() for closed in each]


def _unreachable(answers: Answers[Any]) -> dict[str, list[str]]:
    return {"unreachable": sorted(answers.unreachable)} if answers.unreachable else {}


def revoke_faults(request: RevokeRequest, bad: Collection[str] = ()) -> list[Fault]:
    """Faults unless exactly one of ``jti`` and ``user_id`` is set; ``bad``: invalid fields."""
    given = [n for n in ("jti", "user_id") if n in bad or getattr(request, n) is not UNSET]
    if len(given) == 1:
        return []
    return [{"field": "jti", "message": "exactly one of jti and user_id is required"}]


def _revoked(request: RevokeRequest) -> str:
    """Object of a revocation in the audit trail."""
    return f"user:{request.user_id}" if request.jti is UNSET else f"jti:{request.jti}"
