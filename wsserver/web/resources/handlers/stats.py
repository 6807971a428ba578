"""Statistics: now, and in the past."""

from __future__ import annotations

from typing import Any

from wsserver.clock import rfc3339
from wsserver.errors import BadRequest
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call
from wsserver.web.api.queries import moment_of, step_of


async def stats(context: WebContext, call: Call) -> dict[str, Any]:
    """The figures of now."""
    return context.admin_queries.stats(call.who)


async def history(context: WebContext, call: Call) -> dict[str, Any]:
    """Snapshots of a time range, oldest first."""
    context.permissions.confined_to(call.who.claims)  # refuses a role that belongs nowhere
    query = call.query
    since = moment_of(query.since, "since", context.clock)
    until = context.clock.wall()
    if query.until is not None:
        until = moment_of(query.until, "until", context.clock)
    if until < since:
        raise BadRequest("until: before since", field="until")
    page = await context.snapshots.history(
        since,
        until,
        step_s=None if query.step is None else step_of(query.step, "step"),
        limit=query.limit,
        cursor=query.cursor,
    )
    return {
        "snapshots": [{**row, "timestamp": rfc3339(row["timestamp"])} for row in page.items],
        "total": page.total,
        "next_cursor": page.next_cursor,
    }
