"""Audit trail: ``/audit``."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta
from msgspec.structs import asdict

from wsserver.clock import rfc3339
from wsserver.errors import Forbidden
from wsserver.protocol.types import UserId
from wsserver.web.api.answers import Answer, Listing, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource
from wsserver.web.api.queries import Moment, PageQuery, time_range

RESOURCE = Resource("Server")


class AuditEntry(Answer):
    """One action of an administrator."""

    id: int
    at: Time
    actor: str
    role: str
    action: str
    target: str
    detail: dict[str, Any]
    outcome: str
    request_id: str
    remote_ip: str


class AuditTrail(Listing):
    """Entries, newest first."""

    entries: list[AuditEntry]


class AuditQuery(PageQuery, kw_only=True):
    """Filters of the audit trail; ``since`` is inclusive, ``until`` exclusive."""

    actor: UserId | None = None
    action: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    since: Moment | None = None
    until: Moment | None = None


def require_unconfined(context: WebContext, call: Call) -> None:
    """Raise ``Forbidden`` for a role confined to one organization: the trail has all of them."""
    if context.permissions.confined_to(call.caller.claims) is not None:
        raise Forbidden("the audit trail covers all organizations; your role is confined to one")


@RESOURCE.endpoint("GET /audit", "audit:read", AuditTrail, query=AuditQuery)
async def _list_entries(context: WebContext, call: Call) -> dict[str, Any]:
    """List the audit trail, newest first."""
    require_unconfined(context, call)
    query = call.query
    since, until = time_range(query, context.clock)
    page = await context.audit.page(
        query.limit, query.cursor, actor=query.actor, action=query.action, since=since, until=until
    )
    return {
        "entries": [{**asdict(entry), "at": rfc3339(entry.at)} for entry in page.items],
        "total": page.total,
        "next_cursor": page.next_cursor,
    }
