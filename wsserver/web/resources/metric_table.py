"""The table of all metrics: names that stay, types, labels, and where a dashboard shows them.

``/metrics`` is made by it, and ``scripts/monitoring`` makes a dashboard and alert rules from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram", "info", "summary"]
Unit = Literal["", "bytes", "s"]

CONNECTIONS: Final = "Connections"
MESSAGES: Final = "Messages"
NOTIFICATIONS: Final = "Notifications"
REQUESTS: Final = "HTTP"
STORAGE: Final = "Storage"
HEALTH: Final = "Health"
SECTIONS: Final = (HEALTH, CONNECTIONS, MESSAGES, REQUESTS, NOTIFICATIONS, STORAGE)
"""Of the dashboard, from top to bottom."""

PREFIX: Final = "wsserver_"


@dataclass(frozen=True)
class MetricRow:
    """One metric."""

    name: str
    """Without prefix, and without the ``_total`` of a counter."""
    kind: Kind
    help: str
    section: str
    labels: tuple[str, ...] = ()
    unit: Unit = ""

    @property
    def full_name(self) -> str:
        """As in a query: a counter's ends with ``_total``."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its series."""
        if self.kind == "histogram":
            return tuple(f"{self.full_name}{end}" for end in ("_bucket", "_sum", "_count"))
        return (self.full_name,)


METRICS: Final = (
    MetricRow("health", "gauge", "1 for the current state of the server", HEALTH, ("status",)),
    MetricRow("check", "gauge", "1 for each check that passes", HEALTH, ("check",)),
    MetricRow("uptime_seconds", "gauge", "Time since the start", HEALTH, unit="s"),
    MetricRow("errors", "counter", "Refused commands, failed sends and internal errors", HEALTH),
    MetricRow("internal_errors", "counter", "Internal errors of the server", HEALTH),
    MetricRow("event_handler_failures", "counter", "Event handlers that raised", HEALTH),
    MetricRow("connections", "gauge", "Connections registered now", CONNECTIONS),
    MetricRow(
        "connections_active",
        "gauge",
        "Connections heard from within the heartbeat timeout",
        CONNECTIONS,
    ),
    MetricRow(
        "connections_by_transport",
        "gauge",
        "Connections by transport: websocket, sse",
        CONNECTIONS,
        ("transport",),
    ),
    MetricRow("users_active", "gauge", "Users with a connection", CONNECTIONS),
    MetricRow("sessions_active", "gauge", "Sessions with at least one connection", CONNECTIONS),
    MetricRow("session_connections", "gauge", "Connections summed over sessions", CONNECTIONS),
    MetricRow("connects", "counter", "Connections accepted", CONNECTIONS),
    MetricRow("disconnections", "counter", "Connections ended", CONNECTIONS),
    MetricRow("handshakes_refused", "counter", "Handshakes refused", CONNECTIONS, ("code",)),
    MetricRow(
        "rtt_seconds",
        "summary",
        "Round-trip time of the connections' latest pings",
        CONNECTIONS,
        ("quantile",),
        "s",
    ),
    MetricRow(
        "ping_duration_seconds", "histogram", "From each ping to its pong", CONNECTIONS, unit="s"
    ),
    MetricRow("messages_sent", "counter", "Messages pushed", MESSAGES),
    MetricRow("messages_received", "counter", "Messages received from clients", MESSAGES),
    MetricRow("refused_commands", "counter", "Commands answered with an error", MESSAGES),
    MetricRow(
        "failed_sends", "counter", "Messages that could not be written to a connection", MESSAGES
    ),
    MetricRow(
        "queued_bytes", "gauge", "Bytes in send queues of connections", MESSAGES, unit="bytes"
    ),
    MetricRow(
        "deliver_seconds",
        "summary",
        "Duration of the latest fan-outs",
        MESSAGES,
        ("quantile",),
        "s",
    ),
    MetricRow(
        "delivery_duration_seconds",
        "histogram",
        "Duration of fan-outs: writing a message to all its connections of this node",
        MESSAGES,
        unit="s",
    ),
    MetricRow("answers_growing", "gauge", "Answers whose text grows", MESSAGES),
    MetricRow("answers_begun", "counter", "Answers begun", MESSAGES),
    MetricRow("answer_appends", "counter", "Appends to answers", MESSAGES),
    MetricRow("answers_ended", "counter", "Answers that have ended", MESSAGES, ("state",)),
    MetricRow("file_orphans_removed", "counter", "Stored files without a row, removed", MESSAGES),
    MetricRow("wire_bytes_in", "counter", "Bytes read from connections", MESSAGES, unit="bytes"),
    MetricRow("wire_bytes_out", "counter", "Bytes written to connections", MESSAGES, unit="bytes"),
    MetricRow("wire_frames_in", "counter", "Frames received", MESSAGES),
    MetricRow("wire_writes", "counter", "Writes to sockets", MESSAGES),
    MetricRow(
        "wire_slow_consumers",
        "counter",
        "Connections closed because the client read too slowly",
        MESSAGES,
    ),
    MetricRow("http_requests_under_way", "gauge", "Requests in progress", REQUESTS),
    MetricRow(
        "http_requests", "counter", "Requests answered", REQUESTS, ("method", "route", "status")
    ),
    MetricRow(
        "http_request_duration_seconds",
        "histogram",
        "Time from request headers to answer",
        REQUESTS,
        unit="s",
    ),
    MetricRow(
        "notifications_sent", "counter", "Deliveries that were sent", NOTIFICATIONS, ("channel",)
    ),
    MetricRow(
        "notifications_failed",
        "counter",
        "Deliveries that failed for good",
        NOTIFICATIONS,
        ("channel",),
    ),
    MetricRow(
        "notifications_retried",
        "counter",
        "Attempts that were retried",
        NOTIFICATIONS,
        ("channel",),
    ),
    MetricRow(
        "notifications_expired", "counter", "Deliveries that expired", NOTIFICATIONS, ("channel",)
    ),
    MetricRow(
        "notifications_acknowledged",
        "counter",
        "Deliveries that were acknowledged",
        NOTIFICATIONS,
        ("channel",),
    ),
    MetricRow(
        "notification_acknowledged_seconds",
        "summary",
        "Time from sending to acknowledgement, of the latest",
        NOTIFICATIONS,
        ("channel", "quantile"),
        "s",
    ),
    MetricRow(
        "notification_acknowledgement_duration_seconds",
        "histogram",
        "Time from sending to acknowledgement",
        NOTIFICATIONS,
        ("channel",),
        "s",
    ),
    MetricRow("database_queued", "gauge", "Writes that wait for the database", STORAGE),
    MetricRow("database_bytes", "gauge", "Size of the database", STORAGE, unit="bytes"),
    MetricRow(
        "database_commit_seconds", "gauge", "Duration of the latest commit", STORAGE, unit="s"
    ),
    MetricRow(
        "database_commit_duration_seconds", "histogram", "Duration of commits", STORAGE, unit="s"
    ),
    MetricRow("database_commits", "counter", "Transactions committed", STORAGE),
    MetricRow(
        "database_lost_writes",
        "counter",
        "Failed writes without a caller to report to",
        STORAGE,
    ),
)

INFO: Final = MetricRow("info", "info", "Name of the node", HEALTH, ("node",))
"""``wsserver_info``: 1, with the name of the node as its label."""
WORKER_UP: Final = MetricRow(
    "worker_up", "gauge", "1 for each worker that has answered", HEALTH, ("worker",)
)
"""Only with several workers, whose other metrics have the label ``worker``, too."""

BY_NAME: Final[Mapping[str, MetricRow]] = {row.name: row for row in METRICS}
