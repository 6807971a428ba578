"""Health check: ``/health``, for load balancers and supervisors."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from wsserver.errors import Starting
from wsserver.web.api.answers import Answer
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import PUBLIC, Call, Resource
from wsserver.web.api.problems import problem_headers
from wsserver.web.http.replies import Reply, json_reply

RESOURCE = Resource("Server")

CLOSED = frozenset({"starting", "draining"})
"""States in which all clients are refused."""


class Check(Answer):
    """Result of one check; further fields depend on the check."""

    ok: bool


class Health(Answer):
    """Health of the server."""

    status: Literal["ok", "degraded", "starting", "draining"]
    checks: dict[str, Check]


@RESOURCE.endpoint(
    "GET /health",
    PUBLIC,
    Health,
    takes_any_host=True,
    is_served_at_start=True,
    errors=("draining",),
)
async def _get_health(context: WebContext, call: Call) -> Reply:
    """Health check; 503 when the server must get no traffic."""
    state = context.health()
    is_full = not state["checks"]["connections"]["ok"]
    reply = json_reply(state, 503 if is_full or state["status"] in CLOSED else 200)
    if state["status"] != "starting":
        return reply
    return replace(reply, headers={**reply.headers, **problem_headers(Starting())})
