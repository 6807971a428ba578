"""``OtelTelemetry``: spans by the SDK of OpenTelemetry, sent by OTLP over HTTP from a thread."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from wsserver.telemetry.spans import Attributes, Kind, Span
from wsserver.telemetry.trace_context import TraceContext
from wsserver.version import __version__

log = logging.getLogger(__name__)

KINDS: Final = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT}
EXPORT_TIMEOUT_S: Final = 5


class OtelSpan:
    """A span of the SDK."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def context(self) -> TraceContext | None:
        """What is part of this work belongs to it."""
        found = self._span.get_span_context()
        return TraceContext(
            trace.format_trace_id(found.trace_id),
            trace.format_span_id(found.span_id),
            int(found.trace_flags),
            found.trace_state.to_header(),
        )

    def end(self, attributes: Attributes, fault: str = "") -> None:
        """The work is done."""
        for name, value in attributes.items():
            self._span.set_attribute(name, value)
        if fault:
            self._span.set_status(Status(StatusCode.ERROR, fault))
        self._span.end()


class OtelTelemetry:
    """Sends spans to a collector. Traces of others are sampled as these decide, else ``sample``."""

    def __init__(self, url: str, node: str, sample: float) -> None:
        resource = Resource.create(
            {
                "service.name": "wsserver",
                "service.version": __version__,
                "service.instance.id": node,
            }
        )
        self._provider = TracerProvider(
            resource=resource,
            sampler=ParentBased(TraceIdRatioBased(sample)),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(url, timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("wsserver", __version__)

    def begin(
        self, name: str, kind: Kind, parent: TraceContext | None, attributes: Attributes
    ) -> Span:
        """Begin a span."""
        context = trace.set_span_in_context(trace.NonRecordingSpan(_remote(parent)))
        return OtelSpan(
            self._tracer.start_span(
                name, None if parent is None else context, KINDS[kind], attributes=attributes
            )
        )

    async def close(self) -> None:
        """Send what was measured; a collector that is away costs a few seconds."""
        await asyncio.to_thread(self._provider.shutdown)


def _remote(parent: TraceContext | None) -> SpanContext:
    if parent is None:
        return trace.INVALID_SPAN_CONTEXT
    return SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(parent.flags),
        trace_state=TraceState.from_header([parent.state] if parent.state else []),
    )
