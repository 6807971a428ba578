"""Where a message went: what memory and storage know of it, for those who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from wsserver.clock import Clock, rfc3339
from wsserver.errors import NotFound
from wsserver.identity.permissions import Permissions
from wsserver.protocol.origin import Origin, read_origin
from wsserver.protocol.targets import TargetType
from wsserver.realtime.access.access import SessionAccess
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.access.members import Members
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.trace_buffer import Entry, TraceBuffer
from wsserver.realtime.messages.audience import EVERYBODY, read_audience
from wsserver.realtime.streams.retention_policy import target_of_kept
from wsserver.realtime.tracing.audience_at import PastAudience
from wsserver.realtime.tracing.trace_query import TraceRequest
from wsserver.realtime.tracing.trace_recipients import (
    Receipt,
    Recipients,
    add_receipt,
    left_out,
    who_came_later,
    who_was_absent,
    who_was_there,
)
from wsserver.storage.messages.streams import Located

SLICE = 500
"""Connections looked at before the loop gets its turn: about two milliseconds."""

ACCOUNTED = frozenset(
    {TargetType.USER, TargetType.SESSION, TargetType.ORGANIZATION, TargetType.CONNECTION}
)
"""Targets of which everybody is accounted for, also who was filtered out. Of everybody, or of a
role, the filters only say who is meant."""


class MessageStore(Protocol):
    """What is needed of the storage of streams."""

    async def locate(self, message_ids: Sequence[str], now: float) -> Sequence[Located]:
        """The messages that exist."""
        ...


class ReceiptStore(Protocol):
    """What is needed of the storage of receipts."""

    async def of_message(self, message_id: str) -> Sequence[Receipt]:
        """Who has got a message."""
        ...


class Tracing:
    """``GET /messages/{message_id}``.

    Of a message that went out lately, memory knows whom it was written to; of a kept one, storage
    knows who has acknowledged it, for as long as it is kept.
    """

    def __init__(
        self,
        traces: TraceBuffer,
        hub: Hub,
        members: Members,
        access: SessionAccess,
        permissions: Permissions,
        tenancy: Tenancy,
        messages: MessageStore,
        receipts: ReceiptStore,
        clock: Clock,
    ) -> None:
        self._traces = traces
        self._hub = hub
        self._members = members
        self._access = access
        self._permissions = permissions
        self._tenancy = tenancy
        self._messages = messages
        self._receipts = receipts
        self._clock = clock

    async def trace(
        self, actor: Actor, message_id: str, user_id: str | None = None
    ) -> dict[str, Any]:
        """Where a message went; ``user_id``: with one user, and if it did not get there, why.

        Raises ``NotFound`` for one that nothing is known of, or that is outside of the scope;
        ``Forbidden`` for a user outside of it, unless as a customer in the message's session;
        ``StorageUnavailable``.
        """
        self._permissions.require(actor.claims, "messages:read")
        scope = self._tenancy.scope(self._permissions.confined_to(actor.claims))
        inquiry = await self._inquire(message_id, scope, user_id)
        if inquiry is None or not await inquiry.is_visible():
            raise NotFound(
                "message",
                message_id,
                f"live messages are traced for {self._traces.retention_s:g} s, others while they"
                " are kept",
            )
        await scope.learn(self._people(inquiry))
        recipients = await self._recipients(inquiry)
        if user_id is not None and not len(recipients):
            await scope.require_users([user_id])
        entry = inquiry.entry
        is_whole = inquiry.roll.is_complete and (entry.is_whole or bool(entry.stream))
        return {
            **_head(entry, scope),
            "recipients": recipients.listing(),
            "truncated": recipients.is_truncated or not is_whole,
            "summary": recipients.summary(),
        }

    async def _inquire(
        self, message_id: str, scope: Scope, user_id: str | None
    ) -> TraceRequest | None:
        entry = self._traces.find(message_id)
        receipts: dict[str, Receipt] = {}
        gone_at: float | None = None
        if entry is None or entry.stream:
            now = self._clock.wall()
            found = await self._messages.locate([message_id], now)
            if entry is None and found:
                entry = _entry_of(found[0])
            elif entry is not None and not found:
                gone_at = min(entry.expires_at, now)
            if found:
                of_message = await self._receipts.of_message(message_id)
                receipts = {receipt.user_id: receipt for receipt in of_message}
        if entry is None:
            return None
        roll = PastAudience(self._hub, entry.tick)
        inquiry = TraceRequest(entry, receipts, gone_at, roll, scope, user_id)
        inquiry.receipts = {
            receipt.user_id: receipt for receipt in filter(inquiry.believes, receipts.values())
        }
        return inquiry

    async def _recipients(self, inquiry: TraceRequest) -> Recipients:
        recipients = Recipients()
        await self._add_present(inquiry, recipients)
        entry = inquiry.entry
        for user_id in sorted(filter(inquiry.names, entry.exclude_users)):
            recipients.add(left_out(entry, user_id, "excluded"))
        await self._add_absent(inquiry, recipients)
        if inquiry.user_id is not None and not len(recipients):
            reason = await self._why_not(inquiry, inquiry.user_id)
            if reason is not None:
                recipients.add(left_out(entry, inquiry.user_id, reason))
        return recipients

    async def _add_present(self, inquiry: TraceRequest, recipients: Recipients) -> None:
        """Those who were connected, and those who connected later and were given it then."""
        entry, ends, receipts = inquiry.entry, inquiry.roll.ends, inquiry.receipts
        audience = inquiry.audience
        at = self._traces.wall_of(entry.delivered_at) if entry.tick else entry.accepted_at
        marked = dict(entry.marks or {})
        for number, stay in enumerate(inquiry.roll.of(entry.target), 1):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            if not inquiry.shows(stay):
                continue
            reason = audience.excludes(stay.user_id, stay.organization_id, stay.role)
            if reason is None:
                marked.pop((stay.user_id, stay.connection_id), None)
                has_failed = stay.connection_id in entry.failed
                receipt = None if has_failed else receipts.pop(stay.user_id, None)
                end = ends.get(stay.connection_id)
                recipients.add(who_was_there(entry, stay, end, receipt, at))
            elif reason != "excluded" and entry.target.type in ACCOUNTED:
                recipients.add(left_out(entry, stay.user_id, reason, stay.connection_id))
        if entry.stream:  # a live message is given to nobody later, whatever is acknowledged
            for user_id, connection_id in marked:
                if inquiry.concerns(user_id) and user_id not in entry.exclude_users:
                    later = who_came_later(entry, user_id, connection_id)
                    receipt = receipts.pop(user_id, None)
                    if receipt is not None:
                        add_receipt(later, receipt)
                    recipients.add(later)

    async def _add_absent(self, inquiry: TraceRequest, recipients: Recipients) -> None:
        """Those whom the target names, and those who have acknowledged it since."""
        entry, receipts = inquiry.entry, inquiry.receipts
        for number, user_id in enumerate(self._named(entry), 1):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            was_connected = inquiry.roll.had(user_id)
            if (
                user_id in recipients.reached
                or user_id in entry.exclude_users
                or (user_id in recipients.users and not entry.stream)
                or not inquiry.concerns(user_id)
            ):
                continue
            reason: str | None = "offline"
            if not entry.tick:
                reason = None  # nobody remembers
            elif was_connected:
                reason = "not_joined" if entry.target.type is TargetType.SESSION else None
            recipients.add(
                who_was_absent(entry, user_id, reason, receipts.pop(user_id, None), inquiry.gone_at)
            )
        for user_id in list(filter(inquiry.concerns, receipts)):
            receipt = receipts.pop(user_id)
            recipients.add(who_was_absent(entry, user_id, None, receipt, inquiry.gone_at))

    def _people(self, inquiry: TraceRequest) -> set[str]:
        """The users that a trace may name who need not be connected."""
        entry = inquiry.entry
        marked = {user_id for user_id, _ in entry.marks or ()}
        asked = {inquiry.user_id} if inquiry.user_id is not None else set()
        return marked.union(asked, entry.exclude_users, inquiry.receipts, self._named(entry))

    def _named(self, entry: Entry) -> Sequence[str]:
        match entry.target.type:
            case TargetType.USER:
                return [entry.target.id]
            case TargetType.SESSION:
                return self._members.of_session(entry.target.id)
            case _:
                return ()

    async def _why_not(self, inquiry: TraceRequest, user_id: str) -> str | None:
        """Why a message did not concern somebody; None: it was for others, or nobody remembers."""
        entry, roll = inquiry.entry, inquiry.roll
        if (
            not entry.tick
            or entry.target.type in (TargetType.USER, TargetType.CONNECTION)
            or not inquiry.scope.is_own(user_id)
        ):
            return None
        if not roll.had(user_id):
            return "offline"
        match entry.target.type:
            case TargetType.SESSION:
                connections = self._hub.of_user(user_id)
                session_id = entry.target.id
                for connection in connections:
                    await self._access.prepare(connection.claims, session_id)
                may_enter = any(self._access.allows(c.claims, session_id) for c in connections)
                return "not_joined" if may_enter or not connections else "no_access"
            case TargetType.ORGANIZATION:
                return "other_organization"
            case TargetType.ROLE:
                return "other_role"
            case _:
                return next(inquiry.exclusions(user_id), None)


def _head(entry: Entry, scope: Scope) -> dict[str, Any]:
    """What a trace says of the message itself."""
    head: dict[str, Any] = {
        "message_id": entry.message_id,
        "type": entry.type,
        "class": "kept" if entry.stream else "live",
        "target": entry.target.view(),
    }
    if entry.target.type is TargetType.ORGANIZATION:
        head["organization_id"] = entry.target.id
    elif entry.organization_id is not None:
        head["organization_id"] = entry.organization_id
    if entry.role is not None:
        head["role"] = entry.role
    head["accepted_at"] = rfc3339(entry.accepted_at)
    head["accepted_from"] = _accepted_from(entry.origin or Origin(), scope)
    if entry.stream:
        head |= {"stream": entry.stream, "epoch": entry.epoch, "offset": entry.offset}
    return head


def _accepted_from(origin: Origin, scope: Scope) -> dict[str, Any]:
    """Who published it; people of other organizations are not named to one that is confined."""
    shown = origin.view()
    if scope.organization_id is not None and origin.organization_id not in (
        None,
        scope.organization_id,
    ):
        shown["user_id"] = shown["id"] = None
    return shown


def _entry_of(found: Located) -> Entry:
    """What storage knows of a message, as memory would know it; its delivery is forgotten."""
    audience = read_audience(found.audience) or EVERYBODY
    target = target_of_kept(found.stream, audience)
    return Entry(
        message_id=found.message_id,
        type=found.type,
        target=target,
        origin=read_origin(found.origin),
        organization_id=audience.organization_id,
        with_unaffiliated=audience.with_unaffiliated,
        role=audience.role,
        exclude_users=audience.exclude_users,
        accepted_at=found.at,
        stream=found.stream,
        epoch=found.epoch,
        offset=found.offset,
        expires_at=found.expires_at,
        tick=0,
        delivered_at=0.0,
    )
