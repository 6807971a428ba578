"""Pages of a long list, and the opaque cursors between them."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from wsserver.errors import BadRequest

T = TypeVar("T")
Row = TypeVar("Row")

LARGEST_INT = 2**63 - 1
"""What SQLite can hold; a larger number in a forged cursor would be an internal error."""


class Page(NamedTuple, Generic[T]):
    """Some items of a list; unpacks as ``items, total, next_cursor``."""

    items: list[T]
    total: int
    """How many there are on all pages together, now."""
    next_cursor: str | None
    """Where the next page starts; None: this is the last one."""


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
