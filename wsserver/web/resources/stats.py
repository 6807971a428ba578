"""Statistics: ``/stats`` and ``/stats/history``."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from wsserver.clock import rfc3339
from wsserver.errors import BadRequest
from wsserver.web.api.answers import Answer, ClusterAnswer, Listing, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource
from wsserver.web.api.queries import Moment, NodeQuery, PageQuery, Step, moment_of, step_of

RESOURCE = Resource("Statistics")


class Percentiles(Answer):
    """Percentiles in milliseconds; null without values."""

    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


class Rates(Answer):
    """Rates per second, over the last ten seconds."""

    messages_sent_per_s: float
    messages_received_per_s: float
    connects_per_s: float


class ChannelFigures(Answer):
    """Deliveries of notifications by one channel, since the start."""

    sent: Annotated[int, Meta(description="accepted by the provider, or stored in the inbox")]
    failed: Annotated[int, Meta(description="failed for good")]
    retried: Annotated[int, Meta(description="attempts that were followed by another one")]
    expired: int
    acknowledged: int
    acknowledged_ms: Annotated[Percentiles, Meta(description="from sending to acknowledgement")]


class AnswerFigures(Answer):
    """Answers that grow now, and since the start those begun and ended, by state."""

    growing: int
    begun: int
    appends: int
    completed: int
    failed: int
    cancelled: int
    interrupted: int


class Stats(ClusterAnswer):
    """Current statistics of all nodes together, or of one; counters are since the start.

    Percentiles are those of the node where they are largest.
    """

    total_connections: Annotated[int, Meta(description="registered now")]
    active_connections: Annotated[int, Meta(description="heard from within the heartbeat timeout")]
    messages_sent: int
    messages_received: int
    disconnections: int
    errors: Annotated[int, Meta(description="refused commands, failed sends and internal errors")]
    active_users: int
    active_sessions: int
    total_user_connections: Annotated[int, Meta(description="connections, summed over users")]
    total_session_connections: Annotated[int, Meta(description="connections, summed over sessions")]
    uptime_s: Annotated[float, Meta(description="of the node that runs the longest")]
    connects: int
    refused_commands: int
    failed_sends: int
    internal_errors: int
    handler_failures: int
    queued_bytes: int
    rates: Rates
    deliver_ms: Percentiles
    rtt_ms: Percentiles
    node: Annotated[str, Meta(description="`*`: all nodes together")]
    answers: AnswerFigures
    notifications: Annotated[
        dict[str, ChannelFigures], Meta(description="by channel, of the whole server")
    ]
    files: Annotated[dict[str, int], Meta(description="of the extension")] | UnsetType = UNSET
    responders: Annotated[dict[str, int], Meta(description="of the extension")] | UnsetType = UNSET


class Snapshot(Answer):
    """Statistics at one time, or means of one hour; may have further fields."""

    timestamp: Time
    node: str
    sequence: int | None
    samples: Annotated[int, Meta(description="how many snapshots were averaged; 1: not a mean")]
    total_connections: float
    active_connections: float
    messages_sent: float
    messages_received: float
    disconnections: float
    errors: float
    active_users: float
    active_sessions: float
    total_user_connections: float
    total_session_connections: float


class Snapshots(Listing):
    """Snapshots, oldest first."""

    snapshots: list[Snapshot]


class HistoryQuery(PageQuery, kw_only=True):
    """Time range of snapshots; ``since`` is inclusive, ``until`` exclusive."""

    since: Moment = "24h"
    until: Moment | None = None
    step: Step | None = None


_PERCENTILES = {"p50": 0.2, "p95": 0.9, "p99": 1.4, "max": 3.0}
_STATS = {
    "total_connections": 156,
    "active_connections": 142,
    "messages_sent": 15420,
    "messages_received": 8930,
    "disconnections": 45,
    "errors": 12,
    "active_users": 89,
    "active_sessions": 67,
    "total_user_connections": 156,
    "total_session_connections": 134,
    "uptime_s": 86400.0,
    "connects": 201,
    "refused_commands": 9,
    "failed_sends": 3,
    "internal_errors": 0,
    "handler_failures": 0,
    "queued_bytes": 0,
    "rates": {"messages_sent_per_s": 12.0, "messages_received_per_s": 4.5, "connects_per_s": 0.1},
    "deliver_ms": _PERCENTILES,
    "rtt_ms": _PERCENTILES,
    "node": "node-1",
    "answers": {
        "growing": 3,
        "begun": 120,
        "appends": 9100,
        "completed": 110,
        "failed": 2,
        "cancelled": 4,
        "interrupted": 1,
    },
    "notifications": {
        "email": {
            "sent": 12,
            "failed": 1,
            "retried": 3,
            "expired": 0,
            "acknowledged": 0,
            "acknowledged_ms": {"p50": None, "p95": None, "p99": None, "max": None},
        }
    },
}


@RESOURCE.endpoint(
    "GET /stats",
    "stats:read",
    Stats,
    query=NodeQuery,
    answer_example=_STATS,
    errors=("not_found",),
)
async def _get_stats(context: WebContext, call: Call) -> dict[str, Any]:
    """Get current statistics."""
    return await context.admin_queries.stats(call.caller, call.query.node)


@RESOURCE.endpoint("GET /stats/history", "stats:read", Snapshots, query=HistoryQuery)
async def _list_snapshots(context: WebContext, call: Call) -> dict[str, Any]:
    """List snapshots of statistics in a time range, oldest first."""
    context.permissions.confined_to(call.caller.claims)  # refuses a manager without an organization
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
