"""Metrics of several workers, merged for one scrape."""

from __future__ import annotations

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from wsserver.web.api.metric_sources import MetricValues, merge_metrics, values_of
from wsserver.web.resources.metrics import Gathered


def metrics(node: str, count: float) -> list[Metric]:
    """Metrics of every type that the server has."""
    requests = CounterMetricFamily("wsserver_http_requests", "Requests", labels=("status",))
    requests.add_metric(("200",), count)
    histogram = HistogramMetricFamily("wsserver_http_request_duration_seconds", "Time")
    histogram.add_metric([], [("0.1", 1.0), ("+Inf", count)], 2.0)
    quantiles = Metric("wsserver_deliver_seconds", "Duration", "summary")
    quantiles.add_sample(quantiles.name, {"quantile": "0.5"}, 0.25)
    return [
        InfoMetricFamily("wsserver", "Name of the node", {"node": node}),
        GaugeMetricFamily("wsserver_connections", "Connections", value=count),
        requests,
        histogram,
        quantiles,
    ]


def sent(found: list[Metric]) -> list[MetricValues]:
    """As they arrive from another worker."""
    encoded = msgspec.msgpack.encode(values_of(found))
    return msgspec.msgpack.decode(encoded, type=list[MetricValues])


def registry(merged: list[Metric]) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(Gathered(merged))
    return made


def test_each_metric_comes_once_with_the_values_of_all_workers() -> None:
    both = {"1": sent(metrics("box/1", 3.0)), "2": sent(metrics("box/2", 4.0))}
    text = generate_latest(registry(merge_metrics(both))).decode()
    assert text.count("# TYPE wsserver_connections gauge") == 1
    assert 'wsserver_connections{worker="1"} 3.0' in text
    assert 'wsserver_connections{worker="2"} 4.0' in text
    assert 'wsserver_http_requests_total{status="200",worker="2"} 4.0' in text
    assert 'wsserver_info{node="box/1",worker="1"} 1.0' in text
    assert 'wsserver_worker_up{worker="2"} 1.0' in text
    assert len(list(text_string_to_metric_families(text))) == 6


def test_the_merged_metrics_are_valid_openmetrics() -> None:
    both = {"1": sent(metrics("box/1", 3.0)), "2": sent(metrics("box/2", 4.0))}
    text = exposition.generate_latest(registry(merge_metrics(both))).decode()
    assert {family.name for family in openmetrics(text)} >= {
        "wsserver_connections",
        "wsserver_http_requests",
        "wsserver_http_request_duration_seconds",
    }


def test_a_worker_that_does_not_answer_is_missing_and_marked() -> None:
    text = generate_latest(
        registry(merge_metrics({"1": sent(metrics("box/1", 3.0)), "2": None}))
    ).decode()
    assert 'wsserver_worker_up{worker="1"} 1.0' in text
    assert 'wsserver_worker_up{worker="2"} 0.0' in text
    assert 'wsserver_connections{worker="2"}' not in text
