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

from wsserver.histogram import Histogram
from wsserver.realtime.answers.owned_answers import END_STATES
from wsserver.realtime.connections.connection import SSE, WEBSOCKET
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource
from wsserver.web.http.replies import Reply
from wsserver.web.http.traffic import Traffic
from wsserver.web.resources.metric_table import BY_NAME, INFO, PREFIX

RESOURCE = Resource("Server", prefix="")

OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


_STATS = {
    "total_connections": "connections",
    "active_connections": "connections_active",
    "active_users": "users_active",
    "active_sessions": "sessions_active",
    "total_session_connections": "session_connections",
    "queued_bytes": "queued_bytes",
    "uptime_s": "uptime_seconds",
    "messages_sent": "messages_sent",
    "messages_received": "messages_received",
    "connects": "connects",
    "disconnections": "disconnections",
    "errors": "errors",
    "refused_commands": "refused_commands",
    "failed_sends": "failed_sends",
    "internal_errors": "internal_errors",
    "handler_failures": "event_handler_failures",
}
"""Figures of the statistics, with the names of their metrics."""
_WIRE = ("bytes_in", "bytes_out", "frames_in", "writes", "slow_consumers")
_DELIVERIES = ("sent", "failed", "retried", "expired", "acknowledged")
_DATABASE = {
    "queued": ("database_queued", 1.0),
    "file_bytes": ("database_bytes", 1.0),
    "last_commit_ms": ("database_commit_seconds", 0.001),
    "commits": ("database_commits", 1.0),
    "lost_writes": ("database_lost_writes", 1.0),
}
"""Figures of the health check, with the names of their metrics and factors."""
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
    yield InfoMetricFamily("wsserver", INFO.help, {"node": str(stats["node"])})
    for key, name in _STATS.items():
        yield _family(name, [((), stats[key])])
    yield _of_transports(context)
    for key, name in (("deliver_ms", "deliver_seconds"), ("rtt_ms", "rtt_seconds")):
        yield _family(name, _quantiles((), stats[key]))
    yield from _of_answers(stats["answers"])
    yield from _of_channels(stats["notifications"])
    if "files" in stats:
        yield _family("file_orphans_removed", [((), stats["files"]["orphans_removed"])])
    counters = context.poller.counters
    for name in _WIRE:
        yield _family(f"wire_{name}", [((), getattr(counters, name))])
    yield from _of_health(context.health())
    yield from _of_traffic(context.traffic)
    for name, by_labels in context.histograms().items():
        yield _histogram(name, by_labels)


def _of_transports(context: WebContext) -> Metric:
    sse = context.poller.event_streams
    values = [((WEBSOCKET,), context.poller.connections - sse), ((SSE,), sse)]
    return _family("connections_by_transport", values)


def _of_answers(figures: Mapping[str, int]) -> Iterator[Metric]:
    yield _family("answers_growing", [((), figures["growing"])])
    yield _family("answers_begun", [((), figures["begun"])])
    yield _family("answer_appends", [((), figures["appends"])])
    yield _family("answers_ended", [((state,), figures[state]) for state in END_STATES])


def _of_channels(channels: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    for key in _DELIVERIES:
        values = [((channel,), figures[key]) for channel, figures in channels.items()]
        yield _family(f"notifications_{key}", values)
    acknowledged = [
        value
        for channel, figures in channels.items()
        for value in _quantiles((channel,), figures["acknowledged_ms"])
    ]
    yield _family("notification_acknowledged_seconds", acknowledged)


def _of_health(health: Mapping[str, Any]) -> Iterator[Metric]:
    yield _family("health", [((state,), int(health["status"] == state)) for state in STATES])
    checks = health["checks"]
    results = [((name,), int(bool(check["ok"]))) for name, check in checks.items()]
    yield _family("check", results)
    database = checks.get("database", {})
    for key, (name, factor) in _DATABASE.items():
        if database.get(key) is not None:
            yield _family(name, [((), database[key] * factor)])


def _of_traffic(traffic: Traffic) -> Iterator[Metric]:
    yield _family("http_requests_under_way", [((), traffic.under_way)])
    answered = [
        ((method, route, str(status)), count)
        for (method, route, status), count in traffic.answered.items()
    ]
    yield _family("http_requests", answered)
    refused = [((code,), count) for code, count in traffic.refused.items()]
    yield _family("handshakes_refused", refused)
    yield _histogram("http_request_duration_seconds", {(): traffic.durations})


def _family(name: str, values: Values) -> Metric:
    """A gauge, a counter, or quantiles of recent values, which have neither sum nor count."""
    row = BY_NAME[name]
    if row.kind == "summary":
        summary = Metric(PREFIX + name, row.help, "summary")
        for key, value in values:
            summary.add_sample(summary.name, dict(zip(row.labels, key, strict=True)), value)
        return summary
    kind = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
    family = kind(PREFIX + name, row.help, labels=row.labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _histogram(name: str, by_labels: Mapping[tuple[str, ...], Histogram]) -> Metric:
    row = BY_NAME[name]
    family = HistogramMetricFamily(PREFIX + name, row.help, labels=row.labels)
    for key, histogram in by_labels.items():
        buckets = [(bound, float(count)) for bound, count in histogram.buckets()]
        family.add_metric(key, buckets, histogram.sum)
    return family


def _quantiles(key: tuple[str, ...], figures: Mapping[str, float | None]) -> Values:
    """Percentiles in milliseconds as values of a summary, in seconds."""
    for rank, quantile in _QUANTILES.items():
        value = figures[rank]
        if value is not None:
            yield (*key, quantile), value / 1000


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
