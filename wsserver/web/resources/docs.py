"""API description: the OpenAPI document, its readable page, and the index page."""

from __future__ import annotations

from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import PUBLIC, Call, Resource
from wsserver.web.http.replies import Reply
from wsserver.web.openapi.page import STYLESHEET, render_index

RESOURCE = Resource("Server", prefix="")

HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"

_INDEX = render_index().encode()
_STYLESHEET = STYLESHEET.encode()


@RESOURCE.endpoint("GET /api/v1/openapi.json", PUBLIC, dict)
async def _get_document(context: WebContext, call: Call) -> Reply:
    """API description as OpenAPI 3.1."""
    return Reply((await context.documents.get()).openapi_json)


@RESOURCE.endpoint("GET /api/v1/docs", PUBLIC, HTML, is_page=True)
async def _get_page(context: WebContext, call: Call) -> Reply:
    """API description as a readable page."""
    return Reply((await context.documents.get()).page_html, HTML)


@RESOURCE.endpoint("GET /api/v1/docs.css", PUBLIC, CSS, is_page=True)
async def _get_stylesheet(context: WebContext, call: Call) -> Reply:
    """Style sheet of the readable page."""
    return Reply(_STYLESHEET, CSS)


@RESOURCE.endpoint("GET /", PUBLIC, HTML, is_page=True)
async def _get_index(context: WebContext, call: Call) -> Reply:
    """Index page with links to the console and the API description."""
    return Reply(_INDEX, HTML)
