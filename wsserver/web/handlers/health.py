"""Whether the server should get traffic."""

from __future__ import annotations

from wsserver.web.context import WebContext
from wsserver.web.endpoint import Call, Reply, json_reply


async def health(context: WebContext, call: Call) -> Reply:
    """The state and its checks; 503 while nobody is let in: draining, or full."""
    state = context.health()
    is_closed = state["status"] == "draining" or not state["checks"]["connections"]["ok"]
    return json_reply(state, 503 if is_closed else 200)
