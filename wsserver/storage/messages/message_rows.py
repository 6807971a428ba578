"""What kept messages look like to the rest of the program, and their keys in the database."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from wsserver.storage.engine.connection import Connection

OFFSET_BITS = 38
LAST_OFFSET = (1 << OFFSET_BITS) - 1
"""275 thousand million messages in a stream; 33 million streams are left in 63 bits."""
INBOX = "user:"
"""What the names of inboxes start with; the rest is the owner's user id."""


class Append(msgspec.Struct, frozen=True, gc=False):
    """A message to be kept."""

    stream: str
    """``session:<id>``, ``user:<id>``, ``organization:<id>`` or ``broadcast``."""
    message_id: str
    type: str
    payload: bytes
    """The push as a JSON object without ``stream``, ``epoch`` and ``offset``."""
    at: float
    """When it was accepted; like ``expires_at`` in seconds since the epoch."""
    expires_at: float
    has_ttl: bool = False
    """Was ``expires_at`` chosen by the publisher? Otherwise it is the retention's."""
    sender: str | None = None
    """User id of whom to tell what became of it."""
    origin: str = "{}"
    """JSON: who published it and from where, for the trace."""
    audience: str | None = None
    """JSON: which of the stream's readers it is for; None: all."""
    dedup: tuple[str, str] | None = None
    """Scope and key; a second message with the same ones within 24 h is not stored."""


class Appended(NamedTuple):
    """Where a message is; ``is_new`` is False where an earlier append had stored it already.

    Then everything else is of that first one, its id included.
    """

    message_id: str
    stream: str
    epoch: str
    offset: int
    is_new: bool


class Head(NamedTuple):
    """The end of a stream.

    ``offset``: of the last message, 0 before the first. ``first_offset``: from here on retention
    has taken nothing, so a reader who has everything before it can be brought up to date.
    """

    epoch: str
    offset: int
    first_offset: int


class Kept(NamedTuple):
    """A stored message; the fields as in ``Append``, the payload as it was stored."""

    offset: int
    message_id: str
    type: str
    at: float
    expires_at: float
    has_ttl: int
    """1: ``expires_at`` was chosen by the publisher; 0: it is the retention's."""
    sender: str | None
    audience: str | None
    payload: bytes


class Slice(NamedTuple):
    """As many stored messages of a range as a limit and a number of bytes suffice for."""

    messages: list[Kept]
    """Ascending."""
    rest: int | None
    """Where to go on reading: all up to this offset (inclusive, in the direction of reading) were
    looked at. None: the range is finished."""
    is_over: bool = False
    """Did the bytes not suffice? Then the next message for the reader is known to be there."""
    is_for_all: bool = True
    """Was everything that was looked at for every reader of the stream?"""


class Found(NamedTuple):
    """A stored message found by its id: ``Kept``, and where it lies."""

    offset: int
    message_id: str
    type: str
    at: float
    expires_at: float
    has_ttl: int
    sender: str | None
    audience: str | None
    payload: bytes
    stream: str
    epoch: str
    origin: str


class Located(NamedTuple):
    """A stored message found by its id, without its payload: where it lies and for whom it is."""

    offset: int
    message_id: str
    type: str
    at: float
    expires_at: float
    audience: str | None
    stream: str
    epoch: str
    origin: str
    session_id: str | None
    """What the payload names; only of messages in inboxes."""


class Row(NamedTuple):
    """A row of the table ``streams``."""

    id: int
    epoch: str
    last_offset: int
    first_offset: int


def stream_row(db: Connection, name: str) -> Row | None:
    """A stream's row; None: nothing was ever appended, or it was pruned."""
    row = db.execute(
        "SELECT id, epoch, last_offset, first_offset FROM streams WHERE name = ?", [name]
    ).fetchone()
    return None if row is None else Row(*row)


def position_bytes(stream: str, epoch: str) -> int:
    """What a payload grows by when it is sent with its position, without the offset's digits.

    Counted with the comma that separates it from the next one in an answer.
    """
    return len(f',"stream":"{stream}","epoch":"{epoch}","offset":,')


def key_of(stream_id: int, offset: int) -> int:
    """The key of a message; an offset that no message can have becomes the nearest that one can."""
    return stream_id << OFFSET_BITS | max(0, min(offset, LAST_OFFSET))
