"""Factory of the telemetry, from settings."""

from __future__ import annotations

from importlib import import_module

from wsserver.config import Settings
from wsserver.telemetry.spans import NoTelemetry, Telemetry


def telemetry_of(settings: Settings) -> Telemetry:
    """Spans for a collector, if one is configured; its packages are imported only then."""
    if settings.traces_url is None:
        return NoTelemetry()
    otel = import_module("wsserver.telemetry.otel")
    telemetry: Telemetry = otel.OtelTelemetry(
        settings.traces_url, settings.node, settings.traces_sample
    )
    return telemetry
