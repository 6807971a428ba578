"""The description of the API, made once from the route table: as OpenAPI and as a page."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from wsserver.web.api.documents import Documents
from wsserver.web.api.endpoint import Endpoint
from wsserver.web.openapi.document import SocketRow, build_document
from wsserver.web.openapi.page import STYLESHEET, render_index, render_page


def make_documents(endpoints: Sequence[Endpoint], sockets: Sequence[SocketRow]) -> Documents:
    """Describe the rows of the table."""
    document = build_document(endpoints, sockets)
    return Documents(
        openapi=document,
        openapi_json=msgspec.json.encode(document),
        page_html=render_page(document).encode(),
        index_html=render_index().encode(),
        stylesheet=STYLESHEET.encode(),
    )
