"""API description: the OpenAPI document, its readable page, and the index page."""

from __future__ import annotations

from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import PUBLIC, Call, Endpoint
from wsserver.web.http.replies import Reply

HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"


async def _get_document(context: WebContext, call: Call) -> Reply:
    return Reply(context.documents.openapi_json)


async def _get_page(context: WebContext, call: Call) -> Reply:
    return Reply(context.documents.page_html, HTML)


async def _get_stylesheet(context: WebContext, call: Call) -> Reply:
    return Reply(context.documents.stylesheet, CSS)


async def _get_index(context: WebContext, call: Call) -> Reply:
    return Reply(context.documents.index_html, HTML)


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/api/v1/openapi.json",
        access=PUBLIC,
        handle=_get_document,
        answer=dict,
        summary="API description as OpenAPI 3.1",
        tag="Server",
    ),
    Endpoint(
        method="GET",
        path="/api/v1/docs",
        access=PUBLIC,
        handle=_get_page,
        answer=HTML,
        summary="API description as a readable page",
        tag="Server",
        is_page=True,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/docs.css",
        access=PUBLIC,
        handle=_get_stylesheet,
        answer=CSS,
        summary="Style sheet of the readable page",
        tag="Server",
        is_page=True,
    ),
    Endpoint(
        method="GET",
        path="/",
        access=PUBLIC,
        handle=_get_index,
        answer=HTML,
        summary="Index page with links to the console and the API description",
        tag="Server",
        is_page=True,
    ),
)
