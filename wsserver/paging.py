"""Pages of long lists: a limit of items and of bytes, and opaque cursors between pages."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from wsserver.errors import BadRequest

T = TypeVar("T")
V = TypeVar("V")

PAGE_BYTES = 4 * 1024 * 1024
"""A page ends here, whatever its ``limit``."""
ITEM_BYTES = 500
"""Estimated bytes of an item besides its values: names of fields, times as text."""
LARGEST_INT = 2**63 - 1
"""Largest integer that a database column can hold; cursors with larger ones are refused."""
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


class Page(NamedTuple, Generic[T]):
    """Some items of a list; unpacks as ``items, total, next_cursor``."""

    items: list[T]
    total: int
    """Items on all pages together, now."""
    next_cursor: str | None
    """Where the next page starts; None: this is the last one."""


class Window(NamedTuple):
    """Limit and cursor of a requested page of a list."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


class PageBuilder(Generic[T]):
    """Collects the items of one page, up to ``limit`` items or ``PAGE_BYTES``; one in any case."""

    def __init__(self, limit: int) -> None:
        self.items: list[T] = []
        self._limit = limit
        self._free_bytes = PAGE_BYTES

    def add(self, item: T) -> bool:
        """Append an item; False: it belongs on the next page."""
        self._free_bytes -= json_bytes(item)
        if self.items and (len(self.items) >= self._limit or self._free_bytes < 0):
            return False
        self.items.append(item)
        return True


def take(items: Iterable[T], limit: int) -> tuple[list[T], bool]:
    """The items of one page, and whether more follow; reads at most one item beyond the page."""
    page = PageBuilder[T](limit)
    is_whole = all(map(page.add, items))
    return page.items, not is_whole


def page_of(
    items: Sequence[T], key: Callable[[T], str], window: Window, view: Callable[[T], V]
) -> Page[V]:
    """A page of a list sorted by ``key``, each item as ``view`` shows it.

    The cursor is the key of the last item, so items added or removed between two calls shift
    nothing. Raises ``BadRequest`` for an invalid cursor.
    """
    rest = items_after(items, key, window)
    views, has_more = take(map(view, rest), window.limit)
    return Page(views, len(items), encode_cursor(key(rest[len(views) - 1])) if has_more else None)


def items_after(items: Sequence[T], key: Callable[[T], str], window: Window) -> Sequence[T]:
    """The items that follow the window's cursor, at most one more than its limit."""
    start = 0
    if window.cursor is not None:
        start = bisect_right(items, decode_cursor(window.cursor, str), key=key)
    return items[start : start + window.limit + 1]


def json_bytes(item: Any) -> int:
    """Estimated bytes of an item in an answer; rather too many than too few."""
    return len(msgspec.json.encode(item)) + ITEM_BYTES


def encode_cursor(key: Any) -> str:
    """An opaque cursor after an item.

    ``key``: what the list is sorted by, a text or a NamedTuple of plain values.
    """
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def decode_cursor(cursor: str, type: type[T]) -> T:
    """The key in a cursor; raises ``BadRequest`` naming ``cursor`` for an invalid one."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=type)
    except (binascii.Error, ValueError) as error:  # covers msgspec's errors and non-ASCII text
        raise BadRequest("not a cursor of this list", field="cursor") from error
