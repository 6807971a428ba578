"""Whether the server should get traffic."""

from __future__ import annotations

from dataclasses import replace

from wsserver.errors import Starting
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call
from wsserver.web.api.problems import problem_headers
from wsserver.web.http.replies import Reply, json_reply

CLOSED = frozenset({"starting", "draining"})
"""States in which every client is refused."""


async def health(context: WebContext, call: Call) -> Reply:
    """The state and its checks; 503 while no client is let in: starting, draining, or full."""
    state = context.health()
    is_full = not state["checks"]["connections"]["ok"]
    reply = json_reply(state, 503 if is_full or state["status"] in CLOSED else 200)
    if state["status"] != "starting":
        return reply
    return replace(reply, headers={**reply.headers, **problem_headers(Starting())})
