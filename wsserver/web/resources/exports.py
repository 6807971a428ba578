"""Exports: statistics, audit trail and notifications in commit order, messages by session."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from wsserver.clock import rfc3339
from wsserver.paging import MAX_LIMIT
from wsserver.protocol.notifications import ChannelName, DeliveryState, NotificationType
from wsserver.protocol.types import Id, UserId
from wsserver.storage.messages.message_exports import Selection
from wsserver.storage.tables.exports import ExportBatch, ExportRange
from wsserver.web.api.answers import Answer, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource
from wsserver.web.api.queries import Limit, Moment, PageQuery, time_range
from wsserver.web.resources.audit import AuditEntry, require_unconfined
from wsserver.web.resources.notifications import DeliveryAttempt, WithheldReason
from wsserver.web.resources.stats import Snapshot

RESOURCE = Resource("Exports")

Position = Annotated[int, Meta(ge=0, description="of the row, in commit order")]


class Exported(Answer):
    """Common fields of all exports."""

    position: Annotated[int, Meta(ge=0, description="``after`` of the next request")]
    end: Annotated[
        int, Meta(ge=0, description="position of the last committed row, where the export ends")
    ]
    epoch: Annotated[str, Meta(description="of the positions; start again from 0 when it changes")]


class ExportedSnapshot(Snapshot):
    """A snapshot with its position."""

    position: Position


class ExportedSnapshots(Exported):
    """Snapshots; hourly means for those past their retention."""

    snapshots: list[ExportedSnapshot]


class ExportedEntry(AuditEntry):
    """An audit entry with its position, which is its ``id``."""

    position: Position


class ExportedAudit(Exported):
    """Entries of the audit trail."""

    entries: list[ExportedEntry]


class ExportedDelivery(Answer):
    """A delivery with the fields of its notification and its attempts."""

    position: Position
    delivery_id: str
    notification_id: str
    created_at: Time
    expires_at: Time
    type: NotificationType
    template: str | None
    sender: str | None
    organization_id: str | None
    channel: ChannelName
    user_id: str
    state: DeliveryState
    reason: WithheldReason | None
    next_attempt_at: Time | None
    sent_at: Time | None
    acknowledged_at: Time | None
    is_escalation: Annotated[bool, Meta(description="true: cancelled by an acknowledgement")]
    title: Annotated[str | None, Meta(description="null where there is a template")]
    message: str | None
    action_url: str | None
    params: Annotated[dict[str, Any] | None, Meta(description="of the template")]
    attempts: list[DeliveryAttempt]


class ExportedDeliveries(Exported):
    """Deliveries of notifications."""

    deliveries: list[ExportedDelivery]


class ExportedMessage(Answer):
    """A message of a session in its newest version.

    Of a push of another type than ``new_message``, ``content`` has its ``data`` or other fields.
    """

    message_id: str
    session_id: str
    offset: int
    created_at: Time
    type: str
    user_id: Annotated[str | None, Meta(description="the sender")]
    username: str | None
    role: str | None
    content_type: str | None
    content: Annotated[Any, Meta(description="null of a deleted message")]
    reply_to: str | None
    state: Annotated[str | None, Meta(description="of an answer that has grown")]
    edited_at: str | None
    edited_by: str | None
    deleted: bool


class ExportedMessages(Answer):
    """Messages by session, in the order of their offsets."""

    messages: list[ExportedMessage]
    next_cursor: Annotated[
        str | None, Meta(description="null: these are the last; a page may be empty before that")
    ]


class MessagesQuery(PageQuery, kw_only=True):
    """Which messages to export; ``since`` is inclusive, ``until`` exclusive."""

    limit: Limit = MAX_LIMIT
    session_id: Id | None = None
    user_id: Annotated[UserId, Meta(description="only messages by this user")] | None = None
    organization_id: (
        Annotated[Id, Meta(description="only sessions of this organization")] | None
    ) = None
    since: Moment | None = None
    until: Moment | None = None


class ExportQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which rows to export; ``since`` is inclusive, ``until`` exclusive."""

    after: Annotated[int, Meta(ge=0, description="previous position; 0: from the start")] = 0
    limit: Limit = MAX_LIMIT
    since: Moment | None = None
    until: Moment | None = None


class OutcomesQuery(ExportQuery, kw_only=True):
    """Which deliveries to export; times are those at which notifications were accepted.

    ``settled``: only deliveries in a final state, in the order in which they reached it.
    """

    order: Literal["accepted", "settled"] = "accepted"


_TIMES = (
    "timestamp",
    "at",
    "created_at",
    "expires_at",
    "next_attempt_at",
    "sent_at",
    "acknowledged_at",
)


def _part(context: WebContext, query: ExportQuery) -> ExportRange:
    since, until = time_range(query, context.clock)
    return ExportRange(query.after, query.limit, since, until)


def _answer(name: str, batch: ExportBatch) -> dict[str, Any]:
    return {
        name: [{"position": position, **_with_texts(row)} for position, row in batch.rows],
        "position": batch.position,
        "end": batch.end,
        "epoch": batch.epoch,
    }


def _with_texts(row: dict[str, Any]) -> dict[str, Any]:
    """A row with times in RFC 3339."""
    for name in _TIMES:
        if row.get(name) is not None:
            row[name] = rfc3339(row[name])
    for attempt in row.get("attempts", ()):
        attempt["at"] = rfc3339(attempt["at"])
    return row


@RESOURCE.endpoint("GET /export/stats", "stats:read", ExportedSnapshots, query=ExportQuery)
async def _export_stats(context: WebContext, call: Call) -> dict[str, Any]:
    """Export snapshots of statistics in commit order, after a position."""
    context.permissions.confined_to(call.caller.claims)  # refuses a manager without an organization
    return _answer("snapshots", await context.exports.snapshots(_part(context, call.query)))


@RESOURCE.endpoint("GET /export/audit", "audit:read", ExportedAudit, query=ExportQuery)
async def _export_audit(context: WebContext, call: Call) -> dict[str, Any]:
    """Export the audit trail in commit order, after a position."""
    require_unconfined(context, call)
    context.audit.flush()
    return _answer("entries", await context.exports.audit(_part(context, call.query)))


@RESOURCE.endpoint(
    "GET /export/notifications", "notifications:read", ExportedDeliveries, query=OutcomesQuery
)
async def _export_notifications(context: WebContext, call: Call) -> dict[str, Any]:
    """Export notification deliveries with their attempts, after a position."""
    scope = context.permissions.confined_to(call.caller.claims)
    part = _part(context, call.query)
    if call.query.order == "settled":
        return _answer("deliveries", await context.exports.outcomes(part, scope))
    return _answer("deliveries", await context.exports.deliveries(part, scope))


@RESOURCE.endpoint("GET /export/messages", "messages:read", ExportedMessages, query=MessagesQuery)
async def _export_messages(context: WebContext, call: Call) -> dict[str, Any]:
    """Export the kept messages of sessions, in their newest versions, session by session."""
    query = call.query
    since, until = time_range(query, context.clock)
    rows, next_cursor = await context.archive_exports.page(
        call.caller,
        Selection(since, until, query.user_id),
        session_id=query.session_id,
        organization_id=query.organization_id,
        limit=query.limit,
        cursor=query.cursor,
    )
    return {"messages": [_with_texts(row) for row in rows], "next_cursor": next_cursor}
