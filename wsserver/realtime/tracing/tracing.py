"""Message traces: recipients and delivery states, from the trace buffer and from storage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.control import Control, Request
from wsserver.cluster.nodes import Nodes, unreachable_in
from wsserver.errors import NotFound
from wsserver.identity.permissions import Permissions
from wsserver.protocol.origin import Origin, read_origin
from wsserver.protocol.targets import TargetType
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.trace_buffer import TraceBuffer
from wsserver.realtime.delivery.trace_entry import TraceEntry
from wsserver.realtime.messages.audience import EVERYBODY, read_audience
from wsserver.realtime.streams.retention_policy import target_of_kept
from wsserver.realtime.tracing.audience_at import PastAudience
from wsserver.realtime.tracing.trace_query import Elsewhere, TraceQuery
from wsserver.realtime.tracing.trace_recipients import (
    RecipientsPart,
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


OutsideSource = Callable[[str], Awaitable[Sequence[dict[str, Any]]]]
"""Gets a message id; returns what has become of the message outside of the server."""


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


class TracePart(Struct, frozen=True):
    """What another node has of a message."""

    entry: TraceEntry | None = None
    """Without failures and marks; None: not delivered there, or forgotten."""
    is_visible: bool = False
    """Whether the requester may see the message, by those who were connected there."""
    is_whole: bool = True
    recipients: RecipientsPart = RecipientsPart()
    receipts: list[str] = []
    """Users whose stored receipts are in the recipients."""
    elsewhere: Elsewhere = msgspec.field(default_factory=Elsewhere)


NOTHING = TracePart()


class TraceElsewhere(Request[TracePart], frozen=True):
    """The part of a node in a trace; the asking node has its own already."""

    asking: str
    message_id: str
    organization_id: str | None
    user_id: str | None


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
        control: Control,
        nodes: Nodes,
    ) -> None:
        self._nodes = nodes
        control.add_handler(TraceElsewhere, self._part)
        self._traces = traces
        self._hub = hub
        self._members = members
        self._access = access
        self._permissions = permissions
        self._tenancy = tenancy
        self._messages = messages
        self._receipts = receipts
        self._clock = clock
        self._outside: list[OutsideSource] = []

    def add_outside(self, source: OutsideSource) -> None:
        """Ask ``source`` for the deliveries of traced messages to others than connections."""
        self._outside.append(source)

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
        answers = await self._nodes.ask(
            TraceElsewhere(self._nodes.own, message_id, scope.organization_id, user_id)
        )
        parts = {node: part for node, part in answers.by_node.items() if part.entry is not None}
        query = self._with_parts(query, scope, user_id, list(parts.values()))
        is_visible = any(part.is_visible for part in parts.values())
        if query is None or not (is_visible or await query.is_visible()):
            raise NotFound(
                "message",
                message_id,
                f"live messages are traced for {self._traces.retention_s:g} s, others while they"
                " are kept",
            )
        await scope.learn(self._users(query))
        recipients = await self._recipients(query, parts)
        if user_id is not None and not len(recipients):
            await scope.require_users([user_id])
        entry = query.entry
        is_whole = query.past.is_complete and (entry.is_whole or bool(entry.stream))
        is_whole = is_whole and all(part.is_whole for part in parts.values())
        outside: list[dict[str, Any]] = []
        if user_id is None:
            for source in self._outside:
                outside += await source(message_id)
        return {
            **_head(entry, scope),
            "recipients": recipients.listing(),
            "truncated": recipients.is_truncated or not is_whole,
            "summary": recipients.summary(),
            **({"outside": outside} if outside else {}),
            **unreachable_in(answers),
        }

    async def _part(self, request: TraceElsewhere) -> TracePart:
        """What this node has of a message, for another one. Raises ``StorageUnavailable``."""
        if request.asking == self._nodes.own or self._traces.find(request.message_id) is None:
            return NOTHING
        scope = self._tenancy.scope(request.organization_id)
        query = await self._query(request.message_id, scope, request.user_id)
        if query is None:
            return NOTHING
        entry = query.entry
        await scope.learn(self._users(query))
        is_visible = await query.is_visible()
        named = self._users(query)
        before = set(query.receipts)
        recipients = TraceRecipients()
        await self._add_present(query, recipients)
        return TracePart(
            msgspec.structs.replace(entry, failed=frozenset(), marks=None),
            is_visible,
            query.past.is_complete and (entry.is_whole or bool(entry.stream)),
            recipients.part(),
            list(before.difference(query.receipts)),
            query.part_elsewhere(named),
        )

    def _with_parts(
        self,
        query: TraceQuery | None,
        scope: Scope,
        user_id: str | None,
        parts: Sequence[TracePart],
    ) -> TraceQuery | None:
        """The query with what other nodes have; None if no node has the message."""
        delivered = next((part.entry for part in parts if part.entry is not None), None)
        if delivered is None:
            return query
        if query is None:
            expired_at = min(delivered.expires_at, self._clock.wall()) if delivered.stream else None
            past = PastAudience(self._hub, 0)
            query = TraceQuery(delivered, {}, expired_at, past, scope, user_id)
        elif not query.entry.tick:
            query.entry = delivered  # it was not delivered on this node
        for part in parts:
            query.elsewhere.connected |= part.elsewhere.connected
            query.elsewhere.shown |= part.elsewhere.shown
            query.elsewhere.unseen |= part.elsewhere.unseen
            query.elsewhere.reasons += part.elsewhere.reasons
        return query

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

    async def _recipients(
        self, query: TraceQuery, parts: Mapping[str, TracePart]
    ) -> TraceRecipients:
        recipients = TraceRecipients()
        await self._add_present(query, recipients)
        if parts:
            recipients.name_node(self._nodes.own)
        for node, part in parts.items():
            recipients.add_part(part.recipients, node)
            for user_id in part.receipts:
                query.receipts.pop(user_id, None)
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
            was_connected = query.had(user_id)
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
        entry = query.entry
        if (
            not entry.tick
            or entry.target.type in (TargetType.USER, TargetType.CONNECTION)
            or not query.scope.is_own(user_id)
        ):
            return None
        if not query.had(user_id):
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
                return next(chain(query.exclusions(user_id), query.elsewhere.reasons), None)


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
