"""Exports: ``/export/stats``, ``/export/audit``, ``/export/notifications``, in commit order."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from wsserver.clock import rfc3339
from wsserver.protocol.notifications import ChannelName, DeliveryState, NotificationType
from wsserver.realtime.operations.paging import MAX_LIMIT
from wsserver.storage.tables.exports import Batch, Part
from wsserver.web.api.answers import Answer, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import PREFIX, Call, Endpoint
from wsserver.web.api.queries import Limit, Moment, time_range
from wsserver.web.resources.audit import AuditEntry, require_unconfined
from wsserver.web.resources.notifications import DeliveryAttempt
from wsserver.web.resources.stats import Snapshot

Position = Annotated[int, Meta(ge=0, description="of the row, in the order of committing")]


class Exported(Answer):
    """What all exports have."""

    position: Annotated[int, Meta(ge=0, description="``after`` for what comes next")]
    end: Annotated[
        int, Meta(ge=0, description="what was committed last; nothing is left at this position")
    ]
    epoch: Annotated[
        str, Meta(description="the name of the numbering; with another one begin anew")
    ]


class ExportedSnapshot(Snapshot):
    """A snapshot with its position."""

    position: Position


class ExportedSnapshots(Exported):
    """Snapshots; hourly means of what left the retention before it was asked for."""

    snapshots: list[ExportedSnapshot]


class ExportedEntry(AuditEntry):
    """An entry with its position, which is its ``id``."""

    position: Position


class ExportedAudit(Exported):
    """Entries of the audit trail."""

    entries: list[ExportedEntry]


class ExportedDelivery(Answer):
    """A delivery, its notification's fields, and the attempts at it."""

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
    next_attempt_at: Time | None
    sent_at: Time | None
    acknowledged_at: Time | None
    is_escalation: Annotated[bool, Meta(description="true: called off by an acknowledgement")]
    title: Annotated[str | None, Meta(description="null where there is a template")]
    message: str | None
    action_url: str | None
    params: Annotated[dict[str, Any] | None, Meta(description="of the template")]
    attempts: list[DeliveryAttempt]


class ExportedDeliveries(Exported):
    """Deliveries of notifications."""

    deliveries: list[ExportedDelivery]


class ExportQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which stored rows; ``since`` is inclusive, ``until`` exclusive."""

    after: Annotated[int, Meta(ge=0, description="position of the answer before; 0: all")] = 0
    limit: Limit = MAX_LIMIT
    since: Moment | None = None
    until: Moment | None = None


class OutcomesQuery(ExportQuery, kw_only=True):
    """Which deliveries; the times are those at which their notifications were accepted.

    ``settled``: only those that have come to their end, in the order in which they did.
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


async def _export_stats(context: WebContext, call: Call) -> dict[str, Any]:
    context.permissions.confined_to(call.who.claims)  # refuses a role that belongs nowhere
    return _answer("snapshots", await context.exports.snapshots(_part(context, call.query)))


async def _export_audit(context: WebContext, call: Call) -> dict[str, Any]:
    require_unconfined(context, call)
    context.audit.flush()
    return _answer("entries", await context.exports.audit(_part(context, call.query)))


async def _export_notifications(context: WebContext, call: Call) -> dict[str, Any]:
    scope = context.permissions.confined_to(call.who.claims)
    part = _part(context, call.query)
    if call.query.order == "settled":
        return _answer("deliveries", await context.exports.outcomes(part, scope))
    return _answer("deliveries", await context.exports.deliveries(part, scope))


def _part(context: WebContext, query: ExportQuery) -> Part:
    since, until = time_range(query, context.clock)
    return Part(query.after, query.limit, since, until)


def _answer(name: str, batch: Batch) -> dict[str, Any]:
    return {
        name: [{"position": position, **_with_texts(row)} for position, row in batch.rows],
        "position": batch.position,
        "end": batch.end,
        "epoch": batch.epoch,
    }


def _with_texts(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its times as texts."""
    for name in _TIMES:
        if row.get(name) is not None:
            row[name] = rfc3339(row[name])
    for attempt in row.get("attempts", ()):
        attempt["at"] = rfc3339(attempt["at"])
    return row


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path=f"{PREFIX}/export/stats",
        access="stats:read",
        handle=_export_stats,
        query=ExportQuery,
        answer=ExportedSnapshots,
        summary="Snapshots in the order of storing, after a position",
        tag="Exports",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/export/audit",
        access="audit:read",
        handle=_export_audit,
        query=ExportQuery,
        answer=ExportedAudit,
        summary="The audit trail in the order of storing, after a position",
        tag="Exports",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/export/notifications",
        access="notifications:read",
        handle=_export_notifications,
        query=OutcomesQuery,
        answer=ExportedDeliveries,
        summary="Deliveries of notifications with their attempts, after a position",
        tag="Exports",
    ),
)
