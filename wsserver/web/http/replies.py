"""HTTP replies: as values (``Reply``), and as bytes of a whole response."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import client
from typing import Any, Final

import msgspec

JSON_TYPE: Final = "application/json"
COMMON_HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Vary": "Origin",
}
"""Default headers of every response, errors included."""
PAGE_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'"
)
"""``Content-Security-Policy`` of HTML pages."""

_VALUE = re.compile(r"[\t -~\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers and body of a response."""

    body: bytes
    content_type: str = JSON_TYPE
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: AsyncGenerator[bytes, None] | None = None
    """A longer body, sent as it is made, instead of ``body``; of endpoints that are streamed."""
    is_routine: bool = False
    """Whether it is frequent and uninteresting, such as a health check: not written to the log."""


def json_reply(answer: Any, status: int = 200, *, is_routine: bool = False) -> Reply:
    """A reply with ``answer`` as JSON."""
    return Reply(msgspec.json.encode(answer), status=status, is_routine=is_routine)


def response_bytes(reply: Reply, request_id: str, wall: float, *, is_last: bool) -> bytes:
    """A whole response (RFC 9112 §4); ``wall`` is seconds since the epoch.

    ``is_last``: the connection is closed after it. Raises ``ValueError`` for a header that would
    start a new line.
    """
    own = reply.headers
    head = (
        f"HTTP/1.1 {reply.status} {client.responses.get(reply.status, 'Unknown')}\r\n"
        f"{_lines({**COMMON_HEADERS, **own}) if own else _COMMON_LINES}"
        f"Content-Type: {reply.content_type}\r\n"
        f"X-Request-ID: {request_id}\r\n"
        f"Date: {_date(int(wall))}\r\n"
        f"Content-Length: {len(reply.body)}\r\n"
        f"{_CLOSE if is_last else ''}\r\n"
    )
    return head.encode("latin-1") + reply.body


def _lines(headers: Mapping[str, str]) -> str:
    for name, value in headers.items():
        if _VALUE.fullmatch(value) is None:
            raise ValueError(f"line break in header {name!r}")
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    """HTTP date (RFC 9110 §5.6.7), cached because the responses of one second share it."""
    return formatdate(second, usegmt=True)


_COMMON_LINES = _lines(COMMON_HEADERS)
_CLOSE = "Connection: close\r\n"
