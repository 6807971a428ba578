"""Cursors: positions in several streams as one text, the ids of events in an event stream.

A cursor is ``STREAM~EPOCH~OFFSET`` for each stream, separated by commas; none of the parts may
have these characters. It is not signed: it gives no more than the command ``resume`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final

import msgspec

from wsserver.errors import BadRequest
from wsserver.protocol.types import Position, StreamName

FIELD: Final = "last_event_id"
LIMIT_BYTES: Final = 4096
"""Size at most: it is sent with each message, and comes back in a header."""
MAX_STREAMS: Final = 100

_END: Final = (b"", b",")
_MALFORMED: Final = "no id of an event of this server: STREAM~EPOCH~OFFSET, separated by commas"


class _Entry(msgspec.Struct):
    stream: StreamName
    epoch: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}(?!\n)$")]
    offset: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,15}(?!\n)$")]


def format_cursor(positions: Mapping[str, Position]) -> bytes:
    """Build a cursor; what does not fit into ``LIMIT_BYTES`` is left out, the last first."""
    cursor = b""
    for stream, position in positions.items():
        cursor = advance(cursor, stream, position.epoch, position.offset)
    return cursor


def parse_cursor(text: str) -> dict[str, Position]:
    """Positions by stream; raises ``BadRequest`` naming ``last_event_id``."""
    if len(text) > LIMIT_BYTES:
        raise _malformed(f"longer than {LIMIT_BYTES} characters")
    positions: dict[str, Position] = {}
    for part in text.split(","):
        stream, _, rest = part.partition("~")
        epoch, _, offset = rest.partition("~")
        try:
            msgspec.convert({"stream": stream, "epoch": epoch, "offset": offset}, _Entry)
        except msgspec.ValidationError:
            raise _malformed(_MALFORMED) from None
        if stream in positions:
            raise _malformed(f"{stream} twice")
        positions[stream] = Position(epoch, int(offset))
    if len(positions) > MAX_STREAMS:
        raise _malformed(f"more than {MAX_STREAMS} streams")
    return positions


def advance(cursor: bytes, stream: str, epoch: str, offset: int) -> bytes:
    """The cursor behind a message; a message from before the position does not move it back.

    A stream that is new, and does not fit, is left out.
    """
    before, entry, after = _split(cursor, stream)
    value = b"%b~%b~%d" % (stream.encode(), epoch.encode(), offset)
    if entry:
        _, old_epoch, old_offset = entry.split(b"~")
        if old_epoch == epoch.encode() and int(old_offset) >= offset:
            return cursor
    elif len(cursor) + 1 + len(value) > LIMIT_BYTES or cursor.count(b",") + 1 >= MAX_STREAMS:
        return cursor
    return b",".join([part for part in (before, value, after) if part])


def advancer(stream: str, epoch: str, offset: int) -> Callable[[bytes], bytes]:
    """``advance`` for many cursors, most of which are at the message before this one."""
    value = b"%b~%b~" % (stream.encode(), epoch.encode())
    before, behind = b"%b%d" % (value, offset - 1), b"%b%d" % (value, offset)

    def advanced(cursor: bytes) -> bytes:
        head, found, rest = cursor.partition(before)
        if found and rest[:1] in _END and (not head or head.endswith(b",")):
            return head + behind + rest
        return advance(cursor, stream, epoch, offset)

    return advanced


def without(cursor: bytes, stream: str) -> bytes:
    """The cursor without a stream."""
    before, _, after = _split(cursor, stream)
    return b",".join([part for part in (before, after) if part])


def _split(cursor: bytes, stream: str) -> tuple[bytes, bytes, bytes]:
    """What is before the entry of a stream, the entry, and what is behind it."""
    name = stream.encode() + b"~"
    start = 0 if cursor.startswith(name) else cursor.find(b"," + name) + 1
    if start == 0 and not cursor.startswith(name):
        return cursor, b"", b""
    entry, _, after = cursor[start:].partition(b",")
    return cursor[:start].removesuffix(b","), entry, after


def _malformed(message: str) -> BadRequest:
    return BadRequest(f"{FIELD}: {message}", field=FIELD)
