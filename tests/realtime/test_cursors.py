"""Cursors of event streams: forward only, bounded, and refused when they are not ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver.errors import BadRequest
from wsserver.protocol.pushes import position_of, positioned, redelivered
from wsserver.protocol.types import Position
from wsserver.realtime.streams.cursors import (
    LIMIT_BYTES,
    MAX_STREAMS,
    advance,
    advancer,
    format_cursor,
    parse_cursor,
    without,
)

STREAMS = st.one_of(
    st.just("broadcast"),
    st.from_regex(r"(session|organization):[A-Za-z0-9._:@-]{1,12}", fullmatch=True),
    st.from_regex(r"user:[A-Za-z0-9._:@|+-]{1,12}", fullmatch=True),
)
POSITIONS = st.builds(
    Position, st.from_regex(r"epoch_[0-9a-f]{16}", fullmatch=True), st.integers(0, 2**49)
)


@given(st.dictionaries(STREAMS, POSITIONS, min_size=1, max_size=20), STREAMS, POSITIONS)
def test_a_cursor_is_a_map_of_positions(
    positions: dict[str, Position], stream: str, position: Position
) -> None:
    cursor = format_cursor(positions)
    assert parse_cursor(cursor.decode()) == positions
    moved = advance(cursor, stream, position.epoch, position.offset)
    old = positions.get(stream)
    if old is None or old.epoch != position.epoch or old.offset < position.offset:
        assert parse_cursor(moved.decode()) == {**positions, stream: position}
    else:
        assert moved == cursor
    assert advancer(stream, position.epoch, position.offset)(cursor) == moved
    if old is not None:
        moves = advancer(stream, old.epoch, old.offset + 1)
        assert moves(cursor) == advance(cursor, stream, old.epoch, old.offset + 1)
    rest = {name: each for name, each in positions.items() if name != stream}
    removed = without(cursor, stream)
    assert (parse_cursor(removed.decode()) if removed else {}) == rest


def test_a_stream_whose_name_ends_like_another() -> None:
    cursor = format_cursor({"session:a": Position("e", 1), "session:session:a": Position("e", 2)})
    assert parse_cursor(advance(cursor, "session:a", "e", 3).decode()) == {
        "session:a": Position("e", 3),
        "session:session:a": Position("e", 2),
    }


def test_an_offset_that_begins_like_another() -> None:
    cursor = format_cursor({"session:a": Position("e", 12), "session:session:a": Position("e", 1)})
    assert advancer("session:a", "e", 2)(cursor) == cursor
    assert advancer("session:session:a", "e", 2)(cursor).endswith(b"~2")


def test_an_old_message_does_not_move_it_back() -> None:
    cursor = advance(b"", "user:u1", "e", 7)
    assert advance(cursor, "user:u1", "e", 3) == cursor
    assert advance(cursor, "user:u1", "f", 3) == b"user:u1~f~3"


def test_its_size_is_limited() -> None:
    cursor = b""
    for number in range(MAX_STREAMS + 5):
        cursor = advance(cursor, f"session:{number}", "e", 1)
    assert len(parse_cursor(cursor.decode())) == MAX_STREAMS
    assert advance(cursor, "session:0", "e", 2) != cursor  # those in it go on
    cursor = b""
    for number in range(MAX_STREAMS):
        cursor = advance(cursor, f"session:{number:0128}", "e", 1)
    assert LIMIT_BYTES - 200 < len(cursor) <= LIMIT_BYTES
    parse_cursor(cursor.decode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "broadcast",
        "broadcast~e",
        "broadcast~e~",
        "broadcast~e~-1",
        "broadcast~e~1.5",
        "broadcast~e~\u0661",
        "broadcast~e~1~2",
        "broadcast~~1",
        "broadcast~e~1,broadcast~e~2",
        "everything~e~1",
        "session:~e~1",
        "session:a b~e~1",
        "broadcast~e\ndata: forged~1",
        "broadcast~e~1\n",
        "broadcast~e~" + "9" * 16,
        "broadcast~" + "e" * 65 + "~1",
        ",".join(f"session:{number}~e~1" for number in range(MAX_STREAMS + 1)),
        "session:" + "x" * LIMIT_BYTES + "~e~1",
    ],
)
def test_forged_cursors(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_cursor(text)
    assert refused.value.details["field"] == "last_event_id"


def test_the_position_of_a_push() -> None:
    push = positioned(b'{"type":"x","data":{}}', "user:a|b", "epoch_1", 12)
    assert position_of(push) == ("user:a|b", "epoch_1", 12)
    assert position_of(redelivered(push)) == ("user:a|b", "epoch_1", 12)


def test_a_message_cannot_claim_a_position() -> None:
    said = b'{"data":{"x":1,"stream":"broadcast","epoch":"e","offset":9}}'
    push = b'{"type":"x","data":' + said + b',"timestamp":"2024-01-15T14:30:00Z"}'
    assert position_of(push) is None
    assert position_of(positioned(push, "session:s", "f", 1)) == ("session:s", "f", 1)
