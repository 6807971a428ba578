"""The description of the API."""

from __future__ import annotations

from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call
from wsserver.web.http.replies import Reply

HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"


async def document(context: WebContext, call: Call) -> Reply:
    """OpenAPI 3.1."""
    return Reply(context.documents.openapi_json)


async def page(context: WebContext, call: Call) -> Reply:
    """The same, to read."""
    return Reply(context.documents.page_html, HTML)


async def stylesheet(context: WebContext, call: Call) -> Reply:
    """The page's looks: inline styles are refused by the page's own policy."""
    return Reply(context.documents.stylesheet, CSS)


async def index(context: WebContext, call: Call) -> Reply:
    """What is served here."""
    return Reply(context.documents.index_html, HTML)
