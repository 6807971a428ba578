"""Pages of a long list, and the opaque cursors between them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from wsserver.errors import BadRequest

T = TypeVar("T")
Row = TypeVar("Row")

PAGE_BYTES = 4 * 1024 * 1024
"""A page ends here, whatever its ``limit``."""
ROW_BYTES = 500
"""What a row takes beside its values: names of fields, times as text."""
LARGEST_INT = 2**63 - 1
"""What SQLite can hold; a larger number in a forged cursor would be an internal error."""


class Page(NamedTuple, Generic[T]):
    """Some items of a list; unpacks as ``items, total, next_cursor``."""

    items: list[T]
    total: int
    """How many there are on all pages together, now."""
    next_cursor: str | None
    """Where the next page starts; None: this is the last one."""


def take(rows: Iterable[Row], limit: int) -> tuple[list[Row], bool]:
    """The first rows of a query, as many as a page may have; and whether there are more.

    Reads no further than one row beyond, and one row in any case.
    """
    page: list[Row] = []
    room = PAGE_BYTES
    for row in rows:
        room -= json_bytes(row)
        if page and (len(page) >= limit or room < 0):
            return page, True
        page.append(row)
    return page, False


def json_bytes(row: Any) -> int:
    """Bytes that a row takes in an answer, roughly, and rather too many than too few."""
    return len(msgspec.json.encode(row)) + ROW_BYTES


def encode_cursor(row: Any) -> str:
    """The place of the last row on a page, opaque to clients.

    ``row`` is what the list is sorted by: a text, or a NamedTuple of plain values.
    """
    return base64.urlsafe_b64encode(msgspec.json.encode(row)).rstrip(b"=").decode()


def decode_cursor(cursor: str, type: type[Row]) -> Row:
    """The reverse; ``BadRequest`` naming ``cursor`` for anything that no page gave out."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=type)
    except (binascii.Error, ValueError) as error:  # covers msgspec's errors and non-ASCII text
        raise BadRequest("not a cursor of this list", field="cursor") from error
