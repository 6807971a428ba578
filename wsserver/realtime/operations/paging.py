"""Pages of a sorted list, by cursors that stand changes between two calls."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from wsserver.storage.engine.paging import Page, decode_cursor, encode_cursor, take

T = TypeVar("T")
V = TypeVar("V")
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


class Window(NamedTuple):
    """Which part of a list is asked for."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


def page(items: Sequence[T], key: Callable[[T], str], window: Window) -> Page[T]:
    """Cut a page out of items sorted by ``key``; raises ``BadRequest`` for a foreign cursor."""
    start = 0
    if window.cursor is not None:
        start = bisect_right(items, decode_cursor(window.cursor, str), key=key)
    part = items[start : start + window.limit]
    more = start + len(part) < len(items)
    return Page(list(part), len(items), encode_cursor(key(part[-1])) if more and part else None)


def shown(
    items: Sequence[T], key: Callable[[T], str], window: Window, view: Callable[[T], V]
) -> Page[V]:
    """A page of what items look like; as ``page``, but it also ends at 4 MiB."""
    part = page(items, key, window)
    views, is_cut = take(map(view, part.items), window.limit)
    next_cursor = encode_cursor(key(part.items[len(views) - 1])) if is_cut else part.next_cursor
    return Page(views, part.total, next_cursor)
