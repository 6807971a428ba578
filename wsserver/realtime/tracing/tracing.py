"""Message traces: recipients and delivery states, from the trace buffer and from storage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from wsserver.clock import Clock, rfc3339
from wsserver.errors import NotFound
from wsserver.identity.permissions import Permissions
from wsserver.protocol.origin import Origin, read_origin
from wsserver.protocol.targets import TargetType
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.trace_buffer import TraceBuffer, TraceEntry
from wsserver.realtime.messages.audience import EVERYBODY, read_audience
from wsserver.realtime.streams.retention_policy import target_of_kept
from wsserver.realtime.tracing.audience_at import PastAudience
from wsserver.realtime.tracing.trace_query import TraceQuery
from wsserver.realtime.tracing.trace_recipients import (
    StoredReceipt,
    TraceRecipients,
    add_receipt,
    connected_recipient,
    excluded_recipient,
    later_recipient,
    offline_recipient,
)
from wsserver.storage.messages.streams import Located

SLICE = 500
"""Connections processed before other tasks get their turn: about two milliseconds."""

LISTS_FILTERED = frozenset(
    {TargetType.USER, TargetType.SESSION, TargetType.ORGANIZATION, TargetType.CONNECTION}
)
"""Targets whose filtered-out connections are listed too. For a broadcast or a role, filters only
select the recipients."""


class MessageStore(Protocol):
    """The part of the stream storage that is used here."""

    async def locate(self, message_ids: Sequence[str], now: float) -> Sequence[Located]:
        """The messages that are stored and not expired."""
        ...


class ReceiptStore(Protocol):
    """The part of the receipt storage that is used here."""

    async def of_message(self, message_id: str) -> Sequence[StoredReceipt]:
        """The receipts of a message."""
        ...


class Tracing:
    """Message traces, for ``GET /messages/{message_id}``.

    The trace buffer has the connections that recent messages were sent to; storage has the
    receipts of kept messages, as long as they are kept.
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
        """The trace of a message; ``user_id``: for one user, with the reason if it was not sent.

        Raises ``NotFound`` for a message that is unknown or outside of the scope; ``Forbidden``
        for a user outside of it, unless a customer in the message's session;
        ``StorageUnavailable``.
        """
        self._permissions.require(actor.claims, "messages:read")
        scope = self._tenancy.scope(self._permissions.confined_to(actor.claims))
        query = await self._query(message_id, scope, user_id)
        if query is None or not await query.is_visible():
            raise NotFound(
                "message",
                message_id,
                f"live messages are traced for {self._traces.retention_s:g} s, others while they"
                " are kept",
            )
        await scope.learn(self._users(query))
        recipients = await self._recipients(query)
        if user_id is not None and not len(recipients):
            await scope.require_users([user_id])
        entry = query.entry
        is_whole = query.past.is_complete and (entry.is_whole or bool(entry.stream))
        return {
            **_head(entry, scope),
            "recipients": recipients.listing(),
            "truncated": recipients.is_truncated or not is_whole,
            "summary": recipients.summary(),
        }

    async def _query(self, message_id: str, scope: Scope, user_id: str | None) -> TraceQuery | None:
        entry = self._traces.find(message_id)
        receipts: dict[str, StoredReceipt] = {}
        expired_at: float | None = None
        if entry is None or entry.stream:
            now = self._clock.wall()
            found = await self._messages.locate([message_id], now)
            if entry is None and found:
                entry = _entry_of(found[0])
            elif entry is not None and not found:
                expired_at = min(entry.expires_at, now)
            if found:
                of_message = await self._receipts.of_message(message_id)
                receipts = {receipt.user_id: receipt for receipt in of_message}
        if entry is None:
            return None
        past = PastAudience(self._hub, entry.tick)
        query = TraceQuery(entry, receipts, expired_at, past, scope, user_id)
        query.receipts = {
            receipt.user_id: receipt for receipt in filter(query.confirms, receipts.values())
        }
        return query

    async def _recipients(self, query: TraceQuery) -> TraceRecipients:
        recipients = TraceRecipients()
        await self._add_present(query, recipients)
        entry = query.entry
        for user_id in sorted(filter(query.includes_excluded, entry.exclude_users)):
            recipients.add(excluded_recipient(entry, user_id, "excluded"))
        await self._add_absent(query, recipients)
        if query.user_id is not None and not len(recipients):
            reason = await self._why_not(query, query.user_id)
            if reason is not None:
                recipients.add(excluded_recipient(entry, query.user_id, reason))
        return recipients

    async def _add_present(self, query: TraceQuery, recipients: TraceRecipients) -> None:
        """Add connections of the time of delivery, and later ones that got it from the stream."""
        entry, ends, receipts = query.entry, query.past.ends, query.receipts
        audience = query.audience
        at = self._traces.wall_of(entry.delivered_at) if entry.tick else entry.accepted_at
        marked = dict(entry.marks or {})
        for number, interval in enumerate(query.past.of(entry.target), 1):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            if not query.shows(interval):
                continue
            reason = audience.excludes(interval.user_id, interval.organization_id, interval.role)
            if reason is None:
                marked.pop((interval.user_id, interval.connection_id), None)
                has_failed = interval.connection_id in entry.failed
                receipt = None if has_failed else receipts.pop(interval.user_id, None)
                end = ends.get(interval.connection_id)
                recipients.add(connected_recipient(entry, interval, end, receipt, at))
            elif reason != "excluded" and entry.target.type in LISTS_FILTERED:
                recipients.add(
                    excluded_recipient(entry, interval.user_id, reason, interval.connection_id)
                )
        if entry.stream:  # a live message is not sent later, whatever is acknowledged
            for user_id, connection_id in marked:
                if query.includes(user_id) and user_id not in entry.exclude_users:
                    later = later_recipient(entry, user_id, connection_id)
                    receipt = receipts.pop(user_id, None)
                    if receipt is not None:
                        add_receipt(later, receipt)
                    recipients.add(later)

    async def _add_absent(self, query: TraceQuery, recipients: TraceRecipients) -> None:
        """Add the users named by the target, and those who have acknowledged the message since."""
        entry, receipts = query.entry, query.receipts
        for number, user_id in enumerate(self._named(entry), 1):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            was_connected = query.past.had(user_id)
            if (
                user_id in recipients.reached
                or user_id in entry.exclude_users
                or (user_id in recipients.users and not entry.stream)
                or not query.includes(user_id)
            ):
                continue
            reason: str | None = "offline"
            if not entry.tick:
                reason = None  # unknown
            elif was_connected:
                reason = "not_joined" if entry.target.type is TargetType.SESSION else None
            recipients.add(
                offline_recipient(
                    entry, user_id, reason, receipts.pop(user_id, None), query.expired_at
                )
            )
        for user_id in list(filter(query.includes, receipts)):
            receipt = receipts.pop(user_id)
            recipients.add(offline_recipient(entry, user_id, None, receipt, query.expired_at))

    def _users(self, query: TraceQuery) -> set[str]:
        """The users that a trace may name although they are not connected."""
        entry = query.entry
        marked = {user_id for user_id, _ in entry.marks or ()}
        asked = {query.user_id} if query.user_id is not None else set()
        return marked.union(asked, entry.exclude_users, query.receipts, self._named(entry))

    def _named(self, entry: TraceEntry) -> Sequence[str]:
        match entry.target.type:
            case TargetType.USER:
                return [entry.target.id]
            case TargetType.SESSION:
                return self._members.of_session(entry.target.id)
            case _:
                return ()

    async def _why_not(self, query: TraceQuery, user_id: str) -> str | None:
        """The reason why a user was not a recipient; None: not of the target, or unknown."""
        entry, past = query.entry, query.past
        if (
            not entry.tick
            or entry.target.type in (TargetType.USER, TargetType.CONNECTION)
            or not query.scope.is_own(user_id)
        ):
            return None
        if not past.had(user_id):
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
                return next(query.exclusions(user_id), None)


def _head(entry: TraceEntry, scope: Scope) -> dict[str, Any]:
    """The fields of a trace about the message itself."""
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
    """The origin; a confined requester does not see users of other organizations in it."""
    shown = origin.view()
    if scope.organization_id is not None and origin.organization_id not in (
        None,
        scope.organization_id,
    ):
        shown["user_id"] = shown["id"] = None
    return shown


def _entry_of(found: Located) -> TraceEntry:
    """A trace entry of a stored message; its delivery is unknown."""
    audience = read_audience(found.audience) or EVERYBODY
    target = target_of_kept(found.stream, audience)
    return TraceEntry(
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
