"""Changes of sessions by administrators and backends: title, state, organization, holder."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from wsserver.clock import Clock
from wsserver.cluster.control import Control
from wsserver.errors import ValidationFailed
from wsserver.identity.permissions import Permissions
from wsserver.protocol.requests import HolderRequest, SessionRequest, session_faults
from wsserver.protocol.strict_json import encode
from wsserver.realtime.access.actor import Actor, Audit, AuditRecorder
from wsserver.realtime.access.tenancy import SPREAD_S, Scope, Tenancy
from wsserver.realtime.operations.access_changes import SessionAssigned
from wsserver.realtime.sessions.conversations import Conversations, holder_view
from wsserver.storage.messages.conversations import Holder, HolderWish

MANAGE = "sessions:manage"


class SessionActions:
    """``PATCH /sessions/{id}`` and ``POST /sessions/{id}/holder``, checked and audited."""

    def __init__(
        self,
        conversations: Conversations,
        control: Control,
        permissions: Permissions,
        tenancy: Tenancy,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._conversations = conversations
        self._control = control
        self._permissions = permissions
        self._tenancy = tenancy
        self._audit = AuditRecorder(audit, clock)

    async def change(self, actor: Actor, session_id: str, request: SessionRequest) -> None:
        """Replace the fields that are given, creating a session that is new.

        Raises ``NotFound`` for a session outside of the scope, ``OrganizationSet``.
        """
        target = f"session:{session_id}"
        with self._audit.denials(actor, "session", target):
            scope = await self._scope(actor, session_id)
            if request.organization_id is not UNSET:
                scope.require_organization(request.organization_id)
        if faults := session_faults(request):
            raise ValidationFailed(faults)
        changed = await self._conversations.change(
            session_id, _values_of(request), actor.claims.sub
        )
        if "organization_id" in changed.fields:
            assigned = SessionAssigned(session_id, changed.version)
            await self._control.ask_all(assigned, SPREAD_S)
        self._audit.record(actor, "session", target, changed=list(changed.fields))

    async def hold(self, actor: Actor, session_id: str, request: HolderRequest) -> dict[str, Any]:
        """Give a session to a holder or to nobody; returns the holder and the term.

        Raises ``NotFound`` for a session outside of the scope, ``TermChanged``.
        """
        target = f"session:{session_id}"
        wanted = request.holder
        with self._audit.denials(actor, "holder", target):
            scope = await self._scope(actor, session_id)
            if wanted is not None and wanted.type == "user":
                await scope.require_users([wanted.id])
        holder = None if wanted is None else Holder(wanted.type, wanted.id)
        expected = request.expected_term
        wish = HolderWish(holder, expected_term=None if expected is UNSET else expected)
        after = (await self._conversations.hold(session_id, wish, actor.claims.sub)).after
        self._audit.record(
            actor, "holder", target, holder=holder_view(after.holder), term=after.term
        )
        return {"holder": holder_view(after.holder), "term": after.term}

    async def _scope(self, actor: Actor, session_id: str) -> Scope:
        self._permissions.require(actor.claims, MANAGE)
        scope = self._tenancy.scope(self._permissions.confined_to(actor.claims))
        await scope.find_session(session_id)
        return scope


def _values_of(request: SessionRequest) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    if request.title is not UNSET:
        values["title"] = request.title
    if request.state is not UNSET:
        values["state"] = request.state
    if request.metadata is not UNSET:
        values["metadata"] = encode(request.metadata).decode()
    if request.organization_id is not UNSET:
        values["organization_id"] = request.organization_id
    return values
