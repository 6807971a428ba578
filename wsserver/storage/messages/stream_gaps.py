"""What follows a position in a stream, for nodes that have missed messages."""

from __future__ import annotations

from typing import NamedTuple

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.epochs import default_epoch
from wsserver.storage.messages.message_rows import (
    LAST_OFFSET,
    Found,
    Head,
    key_of,
    position_bytes,
    stream_row,
)
from wsserver.storage.messages.stream_reads import Wanted, choose_keys, found_by_keys, outline_of


class Gap(NamedTuple):
    """Messages of a stream after a position, read in one snapshot with its end."""

    head: Head
    messages: list[Found]
    """Ascending; without those whose own ttl has expired."""
    until: int
    """All up to this offset are in ``messages``, or deleted, or expired."""


def gap(
    db: Connection, stream: str, epoch: str, after: int, now: float, limit: int, budget: int
) -> Gap:
    """The first messages after a position; from the beginning if the epoch is another one now.

    ``limit`` messages and ``budget`` bytes at most, but one message if there is any.
    """
    row = stream_row(db, stream)
    if row is None:
        return Gap(Head(default_epoch(db), 0, 1), [], 0)
    start = after if row.epoch == epoch else 0
    wanted = Wanted(stream, start, LAST_OFFSET, now, limit, budget)
    outline = outline_of(db, wanted, key_of(row.id, start), key_of(row.id, LAST_OFFSET))
    chosen, end = choose_keys(outline, wanted, start, position_bytes(stream, row.epoch))
    until = row.last_offset if end.rest is None else end.rest
    head = Head(row.epoch, row.last_offset, row.first_offset)
    return Gap(head, found_by_keys(db, chosen), until)
