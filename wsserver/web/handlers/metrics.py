"""The figures for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from wsserver.web.context import WebContext
from wsserver.web.endpoint import Call, Reply
from wsserver.web.figures import ServerCollector


async def metrics(context: WebContext, call: Call) -> Reply:
    """All metrics as text."""
    registry = CollectorRegistry()
    registry.register(ServerCollector(context))
    return Reply(generate_latest(registry), CONTENT_TYPE_LATEST)
