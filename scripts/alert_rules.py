"""Alert rules for Prometheus, as a table; ``scripts/monitoring`` writes them as a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

NOTE = "# Made by scripts/monitoring. Do not edit.\n"


@dataclass(frozen=True)
class Alert:
    """One rule."""

    name: str
    expression: str
    for_: str
    """How long the expression has to hold."""
    severity: str
    summary: str
    """One line; ``{{ $labels.x }}`` is replaced by Prometheus."""
    advice: str
    """What to do."""


ALERTS: Final = (
    Alert(
        "WsserverDown",
        'up{job="wsserver"} == 0',
        "1m",
        "critical",
        "{{ $labels.instance }} cannot be scraped",
        "Is the process running, and may Prometheus read /metrics (permission stats:read)?",
    ),
    Alert(
        "WsserverNotOk",
        'wsserver_health{status="ok"} == 0',
        "2m",
        "warning",
        "{{ $labels.instance }} is not ok",
        "wsctl health names the check that fails.",
    ),
    Alert(
        "WsserverCheckFails",
        "wsserver_check == 0",
        "5m",
        "warning",
        "{{ $labels.instance }}: the check {{ $labels.check }} fails",
        "wsctl doctor says why, and what to do.",
    ),
    Alert(
        "WsserverWorkerDown",
        "wsserver_worker_up == 0",
        "1m",
        "warning",
        "{{ $labels.instance }}: worker {{ $labels.worker }} does not answer",
        "The log says why it ended; the supervisor starts it again.",
    ),
    Alert(
        "WsserverConnectionsDropped",
        "sum(wsserver_connections) < 0.5 * sum(wsserver_connections offset 10m)"
        " and sum(wsserver_connections offset 10m) > 100",
        "2m",
        "critical",
        "Half of the connections of ten minutes ago are gone",
        "A proxy or a network between the clients and the servers? wsctl nodes lists the nodes.",
    ),
    Alert(
        "WsserverFull",
        'increase(wsserver_handshakes_refused_total{code="server_full"}[5m]) > 0',
        "0m",
        "critical",
        "{{ $labels.instance }} refuses clients: it has its maximum of connections",
        "Raise max_connections and the limit of descriptors, or add a node.",
    ),
    Alert(
        "WsserverTokensRefused",
        'sum(rate(wsserver_handshakes_refused_total{code="token_invalid"}[5m])) > 1',
        "10m",
        "warning",
        "More than one token a second is invalid",
        "Do the keys of backend and server differ, or does somebody guess?",
    ),
    Alert(
        "WsserverInternalErrors",
        "increase(wsserver_internal_errors_total[10m]) > 0",
        "0m",
        "warning",
        "{{ $labels.instance }} has had internal errors",
        "The log has the traceback of each.",
    ),
    Alert(
        "WsserverRequestsFail",
        'sum by (instance) (rate(wsserver_http_requests_total{status=~"5.."}[5m]))'
        " > 0.05 * sum by (instance) (rate(wsserver_http_requests_total[5m]))",
        "5m",
        "warning",
        "{{ $labels.instance }} answers over 5 % of the requests with 5xx",
        "The access log names them; /health says what is not available.",
    ),
    Alert(
        "WsserverSlowDeliveries",
        "histogram_quantile(0.99, sum by (le, instance)"
        " (rate(wsserver_delivery_duration_seconds_bucket[5m]))) > 0.1",
        "10m",
        "warning",
        "{{ $labels.instance }}: one fan-out in a hundred takes over 100 ms",
        "The process is busy: wsctl top shows who sends so much. Add workers or nodes.",
    ),
    Alert(
        "WsserverSlowConsumers",
        "rate(wsserver_wire_slow_consumers_total[10m]) > 0.1",
        "10m",
        "warning",
        "{{ $labels.instance }} closes clients that read too slowly",
        "A proxy that buffers, or more messages than their networks take.",
    ),
    Alert(
        "WsserverDatabaseBehind",
        "wsserver_database_queued > 100",
        "5m",
        "warning",
        "{{ $labels.instance }}: {{ $value }} writes wait for the database",
        "The disk, or PostgreSQL, does not keep up.",
    ),
    Alert(
        "WsserverSlowCommits",
        "histogram_quantile(0.99, sum by (le, instance)"
        " (rate(wsserver_database_commit_duration_seconds_bucket[5m]))) > 0.25",
        "10m",
        "warning",
        "{{ $labels.instance }}: one commit in a hundred takes over 250 ms",
        "The disk, or PostgreSQL, is busy.",
    ),
    Alert(
        "WsserverLostWrites",
        "increase(wsserver_database_lost_writes_total[10m]) > 0",
        "0m",
        "critical",
        "{{ $labels.instance }} has lost writes",
        "The disk is full or failing: wsserver db check.",
    ),
    Alert(
        "WsserverNotificationsFail",
        "sum by (channel) (rate(wsserver_notifications_failed_total[15m])) > 0.2 *"
        " (sum by (channel) (rate(wsserver_notifications_failed_total[15m]))"
        " + sum by (channel) (rate(wsserver_notifications_sent_total[15m])))",
        "15m",
        "warning",
        "Over 20 % of the deliveries by {{ $labels.channel }} fail for good",
        "wsctl notifications list --state failed shows the attempts.",
    ),
    Alert(
        "WsserverAnswersInterrupted",
        'sum(rate(wsserver_answers_ended_total{state=~"interrupted|failed"}[15m]))'
        " > 0.2 * sum(rate(wsserver_answers_ended_total[15m]))",
        "15m",
        "warning",
        "Over 20 % of the answers of AIs do not come to their end",
        "wsctl answer MESSAGE_ID tells how one went.",
    ),
)
"""In the order of the file."""


def rules_file() -> str:
    """The rules as YAML."""
    lines = [NOTE, "groups:\n", "  - name: wsserver\n", "    rules:\n"]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}\n",
            f"        expr: {json.dumps(alert.expression)}\n",
            f"        for: {alert.for_}\n",
            "        labels:\n",
            f"          severity: {alert.severity}\n",
            "        annotations:\n",
            f"          summary: {json.dumps(alert.summary)}\n",
            f"          description: {json.dumps(alert.advice)}\n",
        ]
    return "".join(lines)
