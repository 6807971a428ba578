"""The audit trail."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from wsserver.clock import rfc3339
from wsserver.errors import Forbidden
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call
from wsserver.web.api.queries import moment_of


async def listing(context: WebContext, call: Call) -> dict[str, Any]:
    """Who did what, newest first."""
    if context.permissions.confined_to(call.who.claims) is not None:
        raise Forbidden(
            "the audit trail is the whole server's, and your role is one organization's"
        )
    query = call.query
    since, until = (
        None if text is None else moment_of(text, name, context.clock)
        for name, text in (("since", query.since), ("until", query.until))
    )
    page = await context.audit.page(
        query.limit,
        query.cursor,
        actor=query.actor,
        action=query.action,
        since=since,
        until=until,
    )
    return {
        "entries": [{**asdict(entry), "at": rfc3339(entry.at)} for entry in page.items],
        "total": page.total,
        "next_cursor": page.next_cursor,
    }
