"""The rendered description of the API: OpenAPI, its readable page, and the index page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Documents:
    """Ready to be sent."""

    openapi: dict[str, Any]
    openapi_json: bytes
    page_html: bytes
    index_html: bytes
    stylesheet: bytes
