"""Pages of a sorted list, by cursors that stand changes between two calls."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from wsserver.errors import BadRequest

T = TypeVar("T")
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


class Window(NamedTuple):
    """Which part of a list is asked for."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


class Page(NamedTuple, Generic[T]):
    """A part of a list."""

    items: list[T]
    total: int
    next_cursor: str | None


def page(items: Sequence[T], key: Callable[[T], str], window: Window) -> Page[T]:
    """Cut a page out of items sorted by ``key``; raises ``BadRequest`` for a foreign cursor."""
    start = 0
    if window.cursor is not None:
        start = bisect_right(items, decode_cursor(window.cursor), key=key)
    part = items[start : start + window.limit]
    more = start + len(part) < len(items)
    return Page(list(part), len(items), encode_cursor(key(part[-1])) if more and part else None)


def encode_cursor(last: str) -> str:
    """Make the last key of a page opaque."""
    return base64.urlsafe_b64encode(last.encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> str:
    """Take the key out of a cursor of ours."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        raise BadRequest("cursor: not one of ours", field="cursor") from None
