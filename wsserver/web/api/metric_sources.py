"""Where ``/metrics`` gets its metrics from: this process, or all workers of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct
from prometheus_client.core import GaugeMetricFamily, Metric

from wsserver.cluster.control import Control, Request
from wsserver.cluster.worker_identity import WorkerIdentity

TIMEOUT_S = 1.0

Collect = Callable[[], Iterable[Metric]]


class MetricSample(Struct, frozen=True):
    """A value of a metric."""

    name: str
    labels: dict[str, str]
    value: float


class MetricValues(Struct, frozen=True):
    """A metric of a worker, with its values."""

    name: str
    help: str
    type: str
    samples: list[MetricSample]


class CollectMetrics(Request[list[MetricValues]], frozen=True):
    """The metrics of a worker."""


class MetricSource(Protocol):
    """Gathers metrics for one scrape."""

    def register(self, own: Collect) -> None:
        """Set how this process's metrics are collected; called once."""

    async def gather(self) -> Iterable[Metric]:
        """The metrics, each once."""
        ...


class OwnMetrics:
    """The metrics of this process, as they are."""

    def register(self, own: Collect) -> None:
        """Set how they are collected."""
        self._own = own

    async def gather(self) -> Iterable[Metric]:
        """Collect them."""
        return self._own()


class WorkerMetrics:
    """The metrics of all workers of one machine, with the label ``worker``: ``1``, ``2``, …

    A worker that does not answer within ``TIMEOUT_S`` is missing; ``wsserver_worker_up`` is 0 then.
    """

    def __init__(self, control: Control, worker: WorkerIdentity) -> None:
        self._control = control
        self._names = worker.names

    def register(self, own: Collect) -> None:
        """Set how this process's metrics are collected, also for other workers."""
        self._control.add_handler(CollectMetrics, lambda _: values_of(own()))

    async def gather(self) -> Iterable[Metric]:
        """Ask all workers at once."""
        request = CollectMetrics()
        answers = await asyncio.gather(
            *(self._control.ask(name, request, TIMEOUT_S) for name in self._names)
        )
        return merge_metrics(
            {
                str(number): answer.by_node.get(name)
                for number, (name, answer) in enumerate(
                    zip(self._names, answers, strict=True), start=1
                )
            }
        )


def values_of(metrics: Iterable[Metric]) -> list[MetricValues]:
    """Metrics in a form for the wire."""
    return [
        MetricValues(
            metric.name,
            metric.documentation,
            metric.type,
            [MetricSample(each.name, each.labels, each.value) for each in metric.samples],
        )
        for metric in metrics
    ]


def merge_metrics(by_worker: Mapping[str, Sequence[MetricValues] | None]) -> list[Metric]:
    """Each metric once, with the values of all workers; None: a worker that has not answered."""
    up = GaugeMetricFamily(
        "wsserver_worker_up", "1 for each worker that has answered", labels=("worker",)
    )
    merged: dict[str, Metric] = {}
    for worker, metrics in by_worker.items():
        up.add_metric((worker,), int(metrics is not None))
        for values in metrics or ():
            metric = merged.get(values.name)
            if metric is None:
                metric = Metric(values.name, values.help, values.type)
                merged[values.name] = metric
            for sample in values.samples:
                metric.add_sample(sample.name, {**sample.labels, "worker": worker}, sample.value)
    return [up, *merged.values()]
