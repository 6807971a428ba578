"""The rows of the route table that give stored rows in the order of committing."""

from __future__ import annotations

from wsserver.web.api.endpoint import PREFIX, Endpoint
from wsserver.web.api.queries import ExportQuery, OutcomesQuery
from wsserver.web.resources.handlers import exports
from wsserver.web.schemas import exports as answers

EXPORT_ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path=f"{PREFIX}/export/stats",
        access="stats:read",
        handle=exports.stats,
        query=ExportQuery,
        answer=answers.ExportedSnapshots,
        summary="Snapshots in the order of storing, after a position",
        tag="Exports",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/export/audit",
        access="audit:read",
        handle=exports.audit,
        query=ExportQuery,
        answer=answers.ExportedAudit,
        summary="The audit trail in the order of storing, after a position",
        tag="Exports",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/export/notifications",
        access="notifications:read",
        handle=exports.notifications,
        query=OutcomesQuery,
        answer=answers.ExportedDeliveries,
        summary="Deliveries of notifications with their attempts, after a position",
        tag="Exports",
    ),
)
