"""REST endpoints of quotas and usage."""

from __future__ import annotations

from typing import Any

from wsserver.extending.extension import ExtensionResource
from wsserver.extensions.quotas.service import MANAGE, READ, REPORT, Quotas
from wsserver.extensions.quotas.views import (
    DeletedQuota,
    QuotaRequest,
    QuotasQuery,
    QuotaUse,
    QuotaView,
    Scope,
    UsageExport,
    UsageExportQuery,
    UsageQuery,
    UsageRequest,
    UsageSeries,
    quota_faults,
    usage_faults,
)
from wsserver.extensions.quotas.views import Quotas as QuotaList
from wsserver.web.api.endpoint import Call

RESOURCE = ExtensionResource(
    "quotas", "Quotas", "What organizations and users may use in a period, and what they used."
)

_SCOPE = {"scope": Scope}
_QUOTA = {
    "limit": 1_000_000,
    "unit": "tokens",
    "period": "month",
    "timezone": "Asia/Shanghai",
    "at_limit": "stop",
    "budget": 500,
    "currency": "CNY",
}
_USE = {
    "scope": "organization:org_123",
    "used": 812,
    "limit": 1_000_000,
    "remaining": 999_188,
    "unit": "tokens",
    "period": "month",
    "starts_at": "2029-12-31T16:00:00.000Z",
    "resets_at": "2030-01-31T16:00:00.000Z",
}


@RESOURCE.endpoint("GET /quotas", READ, QuotaList, query=QuotasQuery)
async def _list(quotas: Quotas, call: Call) -> dict[str, Any]:
    """List quotas with their use."""
    return await quotas.listing(call.caller, call.query)


@RESOURCE.endpoint(
    "PUT /quotas/{scope}",
    MANAGE,
    QuotaView,
    part_types=_SCOPE,
    action="set_quota",
    request=QuotaRequest,
    rules=quota_faults,
    request_example=_QUOTA,
    errors=("not_found", "storage_full"),
)
async def _put(quotas: Quotas, call: Call) -> dict[str, Any]:
    """Set a quota."""
    return await quotas.put(call.caller, call.path["scope"], call.body)


@RESOURCE.endpoint(
    "GET /quotas/{scope}", MANAGE, QuotaView, part_types=_SCOPE, errors=("not_found",)
)
async def _get(quotas: Quotas, call: Call) -> dict[str, Any]:
    """Get a quota with its use."""
    return await quotas.get(call.caller, call.path["scope"])


@RESOURCE.endpoint(
    "DELETE /quotas/{scope}",
    MANAGE,
    DeletedQuota,
    part_types=_SCOPE,
    action="delete_quota",
    errors=("not_found",),
)
async def _delete(quotas: Quotas, call: Call) -> dict[str, Any]:
    """Delete a quota; what was used stays."""
    return await quotas.delete(call.caller, call.path["scope"])


@RESOURCE.endpoint(
    "POST /usage",
    REPORT,
    QuotaUse,
    action="report_usage",
    request=UsageRequest,
    rules=usage_faults,
    request_example={"scope": "organization:org_123", "amount": 812, "source": "fastgpt"},
    answer_example=_USE,
)
async def _report(quotas: Quotas, call: Call) -> dict[str, Any]:
    """Count usage."""
    return await quotas.report(call.caller, call.body)


@RESOURCE.endpoint("GET /usage", READ, UsageSeries, query=UsageQuery)
async def _series(quotas: Quotas, call: Call) -> dict[str, Any]:
    """Usage over time, by scope and source."""
    return await quotas.series(call.caller, call.query)


@RESOURCE.endpoint("GET /export/usage", READ, UsageExport, query=UsageExportQuery)
async def _export(quotas: Quotas, call: Call) -> dict[str, Any]:
    """Export reports of usage in the order of storing."""
    return await quotas.export(call.caller, call.query)
