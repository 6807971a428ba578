"""Prometheus metrics: ``/metrics``, read from the live objects at each scrape."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from wsserver.realtime.answers.owned_answers import END_STATES
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource
from wsserver.web.http.replies import Reply
from wsserver.web.http.traffic import BUCKETS_S, Traffic

RESOURCE = Resource("Server", prefix="")

OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


_GAUGES = {
    "total_connections": ("connections", "Connections registered now"),
    "active_connections": (
        "connections_active",
        "Connections heard from within the heartbeat timeout",
    ),
    "active_users": ("users_active", "Users with a connection"),
    "active_sessions": ("sessions_active", "Sessions with at least one connection"),
    "total_session_connections": ("session_connections", "Connections summed over sessions"),
    "queued_bytes": ("queued_bytes", "Bytes in send queues of connections"),
    "uptime_s": ("uptime_seconds", "Time since the start"),
}
_COUNTERS = {
    "messages_sent": ("messages_sent", "Messages pushed"),
    "messages_received": ("messages_received", "Messages received from clients"),
    "connects": ("connects", "Connections accepted"),
    "disconnections": ("disconnections", "Connections ended"),
    "errors": ("errors", "Refused commands, failed sends and internal errors"),
    "refused_commands": ("refused_commands", "Commands answered with an error"),
    "failed_sends": ("failed_sends", "Messages that could not be written to a connection"),
    "internal_errors": ("internal_errors", "Internal errors of the server"),
    "handler_failures": ("event_handler_failures", "Event handlers that raised"),
}
_WIRE = {
    "bytes_in": "Bytes read from WebSockets",
    "bytes_out": "Bytes written to WebSockets",
    "frames_in": "Frames received",
    "writes": "Writes to sockets",
    "slow_consumers": "Connections closed because the client read too slowly",
}
_DELIVERIES = {
    "sent": "Deliveries that were sent",
    "failed": "Deliveries that failed for good",
    "retried": "Attempts that were retried",
    "expired": "Deliveries that expired",
    "acknowledged": "Deliveries that were acknowledged",
}
Values = Iterable[tuple[tuple[str, ...], float]]
"""Pairs of label values and measured value."""

STATES = ("ok", "degraded", "starting", "draining")
_QUANTILES = {"p50": "0.5", "p95": "0.95", "p99": "0.99", "max": "1.0"}
"""Percentiles of the latest values by ``quantile`` label, in OpenMetrics' number format."""


class Gathered(Collector):
    """Prometheus collector of metrics that have been gathered for a scrape."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are not checked at the registration, which would collect them twice."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The metrics."""
        return self._metrics


def own_metrics(context: WebContext) -> Iterator[Metric]:
    """Current values of all metrics of this process."""
    stats = context.manager.stats()
    yield InfoMetricFamily("wsserver", "Name of the node", {"node": str(stats["node"])})
    yield from _of_stats(stats)
    yield from _of_answers(stats["answers"])
    yield from _of_channels(stats["notifications"])
    counters = context.poller.counters
    for name, text in _WIRE.items():
        yield _counter(f"wire_{name}", text, [((), getattr(counters, name))])
    yield from _of_health(context.health())
    yield from _of_traffic(context.traffic)


def _of_stats(stats: Mapping[str, Any]) -> Iterator[Metric]:
    for key, (name, text) in _GAUGES.items():
        yield _gauge(name, text, [((), stats[key])])
    for key, (name, text) in _COUNTERS.items():
        yield _counter(name, text, [((), stats[key])])
    for key, name, text in (
        ("deliver_ms", "deliver_seconds", "Duration of the latest fan-outs"),
        ("rtt_ms", "rtt_seconds", "Round-trip time of the connections' latest pings"),
    ):
        values = [
            ((quantile,), stats[key][rank] / 1000)
            for rank, quantile in _QUANTILES.items()
            if stats[key][rank] is not None
        ]
        yield _quantiles(name, text, values, ("quantile",))


def _of_answers(figures: Mapping[str, int]) -> Iterator[Metric]:
    yield _gauge("answers_growing", "Answers whose text grows", [((), figures["growing"])])
    yield _counter("answers_begun", "Answers begun", [((), figures["begun"])])
    yield _counter("answer_appends", "Appends to answers", [((), figures["appends"])])
    ended = [((state,), figures[state]) for state in END_STATES]
    yield _counter("answers_ended", "Answers that have ended", ended, ("state",))


def _of_channels(channels: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    for key, text in _DELIVERIES.items():
        values = [((channel,), figures[key]) for channel, figures in channels.items()]
        yield _counter(f"notifications_{key}", text, values, ("channel",))
    acknowledged = [
        ((channel, quantile), figures["acknowledged_ms"][rank] / 1000)
        for channel, figures in channels.items()
        for rank, quantile in _QUANTILES.items()
        if figures["acknowledged_ms"][rank] is not None
    ]
    name, text = "notification_acknowledged_seconds", "Time from sending to acknowledgement"
    yield _quantiles(name, text, acknowledged, ("channel", "quantile"))


def _of_health(health: Mapping[str, Any]) -> Iterator[Metric]:
    states = [((state,), int(health["status"] == state)) for state in STATES]
    yield _gauge("health", "1 for the current state of the server", states, ("status",))
    checks = health["checks"]
    results = [((name,), int(bool(check["ok"]))) for name, check in checks.items()]
    yield _gauge("check", "1 for each check that passes", results, ("check",))
    database = checks.get("database", {})
    for key, name, text, factor in (
        ("queued", "database_queued", "Writes that wait for the database", 1),
        ("file_bytes", "database_bytes", "Size of the database", 1),
        ("last_commit_ms", "database_commit_seconds", "Duration of the latest commit", 0.001),
    ):
        if database.get(key) is not None:
            yield _gauge(name, text, [((), database[key] * factor)])
    for key, name, text in (
        ("commits", "database_commits", "Transactions committed"),
        ("lost_writes", "database_lost_writes", "Failed writes without a caller to report to"),
    ):
        if key in database:
            yield _counter(name, text, [((), database[key])])


def _of_traffic(traffic: Traffic) -> Iterator[Metric]:
    yield _gauge("http_requests_under_way", "Requests in progress", [((), traffic.under_way)])
    answered = [
        ((method, route, str(status)), count)
        for (method, route, status), count in traffic.answered.items()
    ]
    labels = ("method", "route", "status")
    yield _counter("http_requests", "Requests answered", answered, labels)
    refused = [((code,), count) for code, count in traffic.refused.items()]
    yield _counter("handshakes_refused", "Handshakes refused", refused, ("code",))
    buckets, below = [], 0
    for bound in BUCKETS_S:
        below += traffic.durations[bound]
        buckets.append((str(bound), float(below)))
    buckets.append(("+Inf", float(sum(traffic.answered.values()))))
    histogram = HistogramMetricFamily(
        "wsserver_http_request_duration_seconds", "Time from request headers to answer"
    )
    histogram.add_metric([], buckets, traffic.seconds)
    yield histogram


def _gauge(name: str, text: str, values: Values, labels: tuple[str, ...] = ()) -> Metric:
    family = GaugeMetricFamily(f"wsserver_{name}", text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _counter(name: str, text: str, values: Values, labels: tuple[str, ...] = ()) -> Metric:
    family = CounterMetricFamily(f"wsserver_{name}", text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _quantiles(name: str, text: str, values: Values, labels: tuple[str, ...]) -> Metric:
    """A summary metric with quantiles of recent values, without sum and count."""
    family = Metric(f"wsserver_{name}", text, "summary")
    for key, value in values:
        family.add_sample(family.name, dict(zip(labels, key, strict=True)), value)
    return family


def wants_openmetrics(accept: str) -> bool:
    """Whether ``Accept`` (RFC 9110 §12.5.1) prefers OpenMetrics 1.0 to the text format 0.0.4.

    The text format is the default, also if only other versions are accepted.
    """
    openmetrics_quality = text_quality = 0.0
    any_quality: float | None = None
    for item in accept.split(","):
        kind, _, rest = item.partition(";")
        parameters = dict(_parameter(each) for each in rest.split(";"))
        quality = _quality(parameters.get("q", "1"))
        match kind.strip().lower(), parameters.get("version"):
            case "application/openmetrics-text", None | "1.0.0":
                openmetrics_quality = max(openmetrics_quality, quality)
            case "text/plain", None | "0.0.4":
                text_quality = max(text_quality, quality)
            case (("*/*" | "text/*"), None):
                any_quality = max(any_quality or 0.0, quality)
    if not text_quality and any_quality is not None:
        text_quality = any_quality
    return openmetrics_quality > 0 and openmetrics_quality >= text_quality


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')


def _quality(text: str) -> float:
    return float(text) if _QUALITY.fullmatch(text) else 0.0


@RESOURCE.endpoint(
    "GET /metrics",
    "stats:read",
    "text/plain, application/openmetrics-text",
    is_open_to_loopback=True,
    takes_any_host=True,
)
async def _get_metrics(context: WebContext, call: Call) -> Reply:
    """Metrics for Prometheus; no token needed from loopback."""
    registry = CollectorRegistry()
    registry.register(Gathered(await context.metrics.gather()))
    headers = {"Vary": "Origin, Accept"}
    if wants_openmetrics(call.headers.get("Accept", "")):
        text: bytes = openmetrics.generate_latest(registry)
        return Reply(text, OPENMETRICS_TYPE, headers=headers)
    return Reply(generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4, headers=headers)
