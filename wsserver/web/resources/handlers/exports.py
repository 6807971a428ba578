"""Stored rows in the order of committing, for programs that fetch what has come since."""

from __future__ import annotations

from typing import Any

from wsserver.clock import rfc3339
from wsserver.errors import Forbidden
from wsserver.storage.tables.exports import ExportBatch, ExportRange
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call
from wsserver.web.api.queries import ExportQuery, moment_of

_TIMES = (
    "timestamp",
    "at",
    "created_at",
    "expires_at",
    "next_attempt_at",
    "sent_at",
    "acknowledged_at",
)


async def stats(context: WebContext, call: Call) -> dict[str, Any]:
    """Snapshots."""
    context.permissions.confined_to(call.who.claims)  # refuses a role that belongs nowhere
    return _answer("snapshots", await context.exports.snapshots(_part(context, call.query)))


async def audit(context: WebContext, call: Call) -> dict[str, Any]:
    """Entries of the audit trail."""
    if context.permissions.confined_to(call.who.claims) is not None:
        raise Forbidden(
            "the audit trail is the whole server's, and your role is one organization's"
        )
    context.audit.flush()
    return _answer("entries", await context.exports.audit(_part(context, call.query)))


async def notifications(context: WebContext, call: Call) -> dict[str, Any]:
    """Deliveries of notifications, with their attempts."""
    scope = context.permissions.confined_to(call.who.claims)
    part = _part(context, call.query)
    if call.query.order == "settled":
        return _answer("deliveries", await context.exports.outcomes(part, scope))
    return _answer("deliveries", await context.exports.deliveries(part, scope))


def _part(context: WebContext, query: ExportQuery) -> ExportRange:
    since, until = (
        None if text is None else moment_of(text, name, context.clock)
        for name, text in (("since", query.since), ("until", query.until))
    )
    return ExportRange(query.after, query.limit, since, until)


def _answer(name: str, batch: ExportBatch) -> dict[str, Any]:
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
