"""Whether the server should get traffic."""

from __future__ import annotations

from wsserver.web.context import WebContext
from wsserver.web.endpoint import Call, Reply, json_reply


async def health(context: WebContext, call: Call) -> Reply:
    """The state and its checks; 503 while nobody is let in."""
    state = context.health()
    return json_reply(state, 503 if state["status"] == "draining" else 200)
