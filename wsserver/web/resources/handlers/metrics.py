"""The figures for Prometheus, in the format that it asks for."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call
from wsserver.web.http.replies import Reply
from wsserver.web.resources.metrics_page import ServerCollector

OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


async def metrics(context: WebContext, call: Call) -> Reply:
    """All metrics: OpenMetrics 1.0 or Prometheus' text format 0.0.4 (``Accept``)."""
    registry = CollectorRegistry()
    registry.register(ServerCollector(context))
    headers = {"Vary": "Origin, Accept"}
    if wants_openmetrics(call.headers.get("Accept", "")):
        text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return Reply(text, OPENMETRICS_TYPE, headers=headers)
    return Reply(generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4, headers=headers)


def wants_openmetrics(accept: str) -> bool:
    """Does ``Accept`` (RFC 9110 §12.5.1) prefer OpenMetrics 1.0 to the text format 0.0.4?

    The text format answers whatever is not understood, and what asks for other versions only.
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
