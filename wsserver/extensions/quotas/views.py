"""Shapes of quotas and usage in answers, and bodies and queries of requests."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from msgspec import Meta, Struct

from wsserver.clock import rfc3339
from wsserver.extensions.quotas.amounts import Amount, Limit, to_number
from wsserver.extensions.quotas.model import AtLimit
from wsserver.extensions.quotas.periods import Kind, zone_of
from wsserver.extensions.quotas.store import Point
from wsserver.protocol.requests import Request
from wsserver.protocol.types import Id
from wsserver.protocol.validation import Fault
from wsserver.web.api.answers import Answer, Listing, Time
from wsserver.web.api.queries import Limit as PageLimit
from wsserver.web.api.queries import Moment, Step

SCOPE_PATTERN = r"^(organization:[A-Za-z0-9._:@-]{1,128}|user:[A-Za-z0-9._:@|+-]{1,128})(?!\n)$"
Scope = Annotated[
    str,
    Meta(
        pattern=SCOPE_PATTERN,
        description="organization:ID or user:ID",
        examples=["organization:org_123"],
    ),
]
Line = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]*(?!\n)$")]
Unit = Annotated[Line, Meta(min_length=1, max_length=32, examples=["tokens"])]


class QuotaUse(Answer):
    """What is used of a quota in its current period."""

    scope: str
    used: float
    limit: float | None
    remaining: float | None
    unit: str | None
    period: Kind | None
    starts_at: Annotated[Time | None, Meta(description="null: there is no period")]
    resets_at: Annotated[Time | None, Meta(description="null: never")]


class QuotaView(QuotaUse, kw_only=True):
    """A quota with its use."""

    limit: float
    remaining: float
    unit: str
    period: Kind
    budget: float | None
    cost: float
    currency: str | None
    timezone: str
    at_limit: AtLimit
    exhausted: Annotated[bool, Meta(description="nothing is left, and at_limit is stop")]
    updated_at: Time
    updated_by: str


class DeletedQuota(Answer):
    """The scope whose quota was deleted."""

    deleted: str


class Quotas(Listing):
    """Quotas with their use, by scope."""

    quotas: list[QuotaView]


class UsagePoint(Answer):
    """Usage in one step of time."""

    at: Annotated[Time, Meta(description="beginning of the step")]
    scope: str
    source: str
    amount: float
    cost: float
    reports: int


class UsageSeries(Answer):
    """Usage by step, scope and source."""

    usage: list[UsagePoint]
    step_s: int
    truncated: Annotated[bool, Meta(description="true: there are more; ask for less time")]


class ExportedUsage(Answer):
    """A report of usage."""

    position: int
    at: Time
    scope: str
    unit: Annotated[str | None, Meta(description="of the quota at that time")]
    amount: float
    cost: float
    source: str
    session_id: str | None
    message_id: str | None
    reported_by: str


class UsageExport(Answer):
    """Reports of usage in the order of storing."""

    usage: list[ExportedUsage]
    position: int
    end: int
    epoch: str


class QuotaRequest(Request, kw_only=True):
    """A quota, in place of the former one."""

    limit: Limit
    unit: Unit
    period: Kind
    budget: Limit | None = None
    currency: Annotated[str, Meta(pattern=r"^[A-Za-z]{2,8}$", examples=["CNY"])] | None = None
    timezone: Annotated[str, Meta(min_length=1, max_length=64, examples=["Asia/Shanghai"])] = "UTC"
    at_limit: AtLimit = "warn"


class UsageRequest(Request, kw_only=True):
    """Usage to be counted, of a scope or of the organization of a session."""

    amount: Amount
    scope: Scope | None = None
    session_id: Id | None = None
    cost: Amount = 0.0
    source: Annotated[Line, Meta(max_length=64)] = ""
    message_id: Annotated[Line, Meta(min_length=1, max_length=128)] | None = None


class UsageQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which usage; ``since`` is inclusive, ``until`` exclusive."""

    scope: Scope | None = None
    since: Moment = "24h"
    until: Moment | None = None
    step: Step = "1h"


class QuotasQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """Page of quotas."""

    limit: PageLimit = 100
    cursor: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None


class UsageExportQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which reports to export; ``since`` is inclusive, ``until`` exclusive."""

    after: Annotated[int, Meta(ge=0, description="previous position; 0: from the start")] = 0
    limit: PageLimit = 1000
    since: Moment | None = None
    until: Moment | None = None


def quota_faults(request: QuotaRequest, bad: Collection[str] = ()) -> list[Fault]:
    """Faults of a quota that its type cannot express."""
    if "timezone" in bad:
        return []
    try:
        zone_of(request.timezone)
    except ValueError as error:
        return [{"field": "timezone", "message": str(error)}]
    return []


def usage_faults(request: UsageRequest, bad: Collection[str] = ()) -> list[Fault]:
    """Faults of a report that its type cannot express."""
    given = [
        name
        for name in ("scope", "session_id")
        if name in bad or getattr(request, name) is not None
    ]
    if len(given) == 1:
        return []
    return [{"field": given[-1] if given else "scope", "message": "one of scope and session_id"}]


def point_view(point: Point) -> dict[str, Any]:
    """A point of a series as the API returns it."""
    return {
        "at": rfc3339(point.at),
        "scope": point.scope,
        "source": point.source,
        "amount": to_number(point.amount),
        "cost": to_number(point.cost),
        "reports": point.reports,
    }


def report_view(row: dict[str, Any]) -> dict[str, Any]:
    """A report as the export has it."""
    shown = {name: value for name, value in row.items() if name != "request"}
    return {
        **shown,
        "at": rfc3339(row["at"]),
        "amount": to_number(row["amount"]),
        "cost": to_number(row["cost"]),
    }
