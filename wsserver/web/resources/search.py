"""Search: ``/search``, messages of sessions by their text."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from wsserver.protocol.types import MAX_FOUND, Id, SearchText
from wsserver.web.api.answers import Answer, Cursor, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource

RESOURCE = Resource("Messages")


class FoundMessage(Answer):
    """A message that was found: the push as in histories, and a part of its text."""

    type: str
    id: str
    session_id: str
    message: dict[str, Any]
    timestamp: Time
    stream: str
    epoch: str
    offset: int
    snippet: Annotated[str, Meta(description="the text around what was found")]


class FoundMessages(Answer):
    """A page of a search, the newest message first."""

    messages: list[FoundMessage]
    next_cursor: Annotated[
        Cursor | None, Meta(description="also of a page that has fewer messages, or none")
    ]


class SearchQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """What to search, and where."""

    query: Annotated[SearchText, Meta(description="words that a message has, 2-200 characters")]
    session_id: Annotated[Id, Meta(description="only in this session")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_FOUND)] = 20
    cursor: (
        Annotated[
            str, Meta(min_length=1, max_length=1024, description="next_cursor of the previous page")
        ]
        | None
    ) = None


@RESOURCE.endpoint("GET /search", "messages:read", FoundMessages, query=SearchQuery)
async def _search(context: WebContext, call: Call) -> dict[str, Any]:
    """Search messages of sessions by their text."""
    query = call.query
    return await context.search.of_actor(
        call.caller, query.query, query.session_id, query.limit, query.cursor
    )
