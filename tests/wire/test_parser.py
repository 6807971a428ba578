"""Frame parser: valid, invalid, fragmented and oversized input (RFC 6455 §5)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.utils import apply_mask

from wsserver.wire import parser
from wsserver.wire.deflate import max_deflated_bytes
from wsserver.wire.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, TEXT
from wsserver.wire.parser import FAILURE, FRAMES_AT_ONCE, Event, FrameParser, parse_small_text

MASK = b"\x37\xfa\x21\x3d"


def masked(payload: bytes = b"", first: int = 0x81, *, form: int | None = None) -> bytes:
    """Build a client frame; ``form`` forces a length form (126 or 127)."""
    size = len(payload)
    form = form or (size if size < 126 else 126 if size < 65536 else 127)
    extended = {126: 2, 127: 8}.get(form, 0)
    head = bytes((first, form | 0x80)) + (size.to_bytes(extended, "big") if extended else b"")
    return head + MASK + parser._unmask_with_int(MASK, payload)


def parse(data: bytes, limit: int = 65536) -> list[Event]:
    frames = FrameParser(limit)
    events = frames.feed(data)
    while frames.is_behind:
        events += frames.feed(b"")
    return events


def failure(events: list[Event]) -> int:
    """The close code of the failure that ends a stream."""
    assert [kind for kind, _, _ in events].count(FAILURE) == 1
    assert events[-1][0] == FAILURE
    assert events[-1][1].isascii()
    return events[-1][2]


# -- what is good


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536])
def test_messages_of_every_length_form(size: int) -> None:
    text = b"a" * size
    assert parse(masked(text)) == [(TEXT, text, 0)]
    assert parse(masked(text, 0x82)) == [(BINARY, text, 0)]


def test_the_example_of_the_rfc() -> None:
    assert parse(bytes.fromhex("818537fa213d7f9f4d5158")) == [(TEXT, b"Hello", 0)]


def test_fragments_become_one_message_with_control_frames_between() -> None:
    data = (
        masked(b"Hel", 0x01)
        + masked(b"1", 0x89)
        + masked(b"", 0x00)
        + masked(b"2", 0x8A)
        + masked(b"lo", 0x80)
        + masked(b"next")
    )
    assert parse(data) == [
        (PING, b"1", 0),
        (PONG, b"2", 0),
        (TEXT, b"Hello", 0),
        (TEXT, b"next", 0),
    ]


def test_a_character_may_be_split_between_fragments() -> None:
    text = "κόσμε😀".encode()
    for cut in range(len(text)):
        assert parse(masked(text[:cut], 0x01) + masked(text[cut:], 0x80)) == [(TEXT, text, 0)]


@pytest.mark.parametrize(
    ("body", "event"),
    [
        (b"", (CLOSE, b"", 1005)),
        (b"\x03\xe8", (CLOSE, b"", 1000)),
        (b"\x03\xe8bye", (CLOSE, b"bye", 1000)),
        (b"\x0f\xa1" + "é".encode(), (CLOSE, "é".encode(), 4001)),
    ],
)
def test_close_frames(body: bytes, event: Event) -> None:
    assert parse(masked(body, 0x88)) == [event]


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999]
)
def test_close_codes_a_peer_may_send(code: int) -> None:
    assert parse(masked(code.to_bytes(2, "big"), 0x88)) == [(CLOSE, b"", code)]


def test_nothing_counts_after_a_close_frame() -> None:
    frames = FrameParser(100)
    assert frames.feed(masked(b"", 0x88) + masked(b"late") + b"\xff\xff") == [(CLOSE, b"", 1005)]
    assert frames.feed(masked(b"later")) == []


def test_a_compressed_message_is_passed_on_as_it_came() -> None:
    frames = FrameParser(100, takes_deflated=True)
    data = (
        masked(b"\xff\xfe", 0x81 | RSV1)
        + masked(b"\xf2\x48", 0x02 | RSV1)
        + masked(b"1", 0x89)
        + masked(b"\xcd", 0x80)
        + masked(b"plain")
    )
    assert frames.feed(data) == [
        (TEXT | RSV1, b"\xff\xfe", 0),
        (PING, b"1", 0),
        (BINARY | RSV1, b"\xf2\x48\xcd", 0),
        (TEXT, b"plain", 0),
    ]
    assert frames.is_idle
    assert parse_small_text(masked(b"a", 0x81 | RSV1), 100) is None


def test_a_compressed_message_may_be_a_little_larger_than_what_is_in_it() -> None:
    most = max_deflated_bytes(1000)
    frames = FrameParser(1000, takes_deflated=True)
    assert frames.feed(masked(b"x" * most, 0x82 | RSV1)) == [(BINARY | RSV1, b"x" * most, 0)]
    assert failure(frames.feed(masked(b"x" * (most + 1), 0x82 | RSV1)[:8])) == 1009
    frames = FrameParser(1000, takes_deflated=True)
    assert failure(frames.feed(masked(b"x" * 1001)[:8])) == 1009


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(masked(b"x", 0x88 | RSV1), id="close"),
        pytest.param(masked(b"x", 0x89 | RSV1), id="ping"),
        pytest.param(masked(b"x", 0x01 | RSV1) + masked(b"x", 0x80 | RSV1), id="continuation"),
        pytest.param(masked(b"x", 0x81 | RSV1 | 0x20), id="RSV2"),
        pytest.param(masked(b"x", 0x81 | 0x10), id="RSV3"),
        pytest.param(masked(b"x", 0x83 | RSV1), id="unknown opcode"),
    ],
)
def test_only_the_start_of_a_data_message_says_that_it_is_compressed(data: bytes) -> None:
    assert failure(FrameParser(100, takes_deflated=True).feed(data)) == 1002


# -- what is bad


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\x81\x05Hello", 1002, id="not masked"),
        pytest.param(b"\x81\x00", 1002, id="empty, not masked"),
        pytest.param(masked(b"x", 0x81 | 0x40), 1002, id="RSV1"),
        pytest.param(masked(b"x", 0x81 | 0x20), 1002, id="RSV2"),
        pytest.param(masked(b"x", 0x81 | 0x10), 1002, id="RSV3"),
        *[pytest.param(masked(b"", 0x80 | op), 1002, id=f"opcode {op}") for op in range(3, 8)],
        *[pytest.param(masked(b"", 0x80 | op), 1002, id=f"opcode {op}") for op in range(11, 16)],
        pytest.param(masked(b"x" * 126, 0x89), 1002, id="long ping"),
        pytest.param(masked(b"x" * 126, 0x88), 1002, id="long close"),
        pytest.param(masked(b"", 0x09), 1002, id="fragmented ping"),
        pytest.param(masked(b"", 0x08), 1002, id="fragmented close"),
        pytest.param(masked(b"x", 0x80), 1002, id="continuation of nothing"),
        pytest.param(masked(b"a", 0x01) + masked(b"b", 0x81), 1002, id="text inside fragments"),
        pytest.param(masked(b"a", 0x02) + masked(b"b", 0x01), 1002, id="text inside binary"),
        pytest.param(masked(b"x" * 125, form=126), 1002, id="16-bit length of 125"),
        pytest.param(masked(b"x" * 300, form=127), 1002, id="64-bit length of 300"),
        pytest.param(b"\x81\xff\x80" + bytes(7) + MASK, 1002, id="top bit of the length"),
        pytest.param(masked(b"\x03", 0x88), 1002, id="close body of one byte"),
        *[
            pytest.param(masked(code.to_bytes(2, "big"), 0x88), 1002, id=f"close {code}")
            for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
        ],
        pytest.param(masked(b"\x03\xe8\xce", 0x88), 1007, id="close reason"),
        pytest.param(masked(b"\xff"), 1007, id="not UTF-8"),
        pytest.param(masked(b"\xed\xa0\x80"), 1007, id="surrogate"),
        pytest.param(masked(b"\xc0\x80"), 1007, id="overlong"),
        pytest.param(masked(b"\xf4\x90\x80\x80"), 1007, id="past U+10FFFF"),
        pytest.param(masked(b"\xce"), 1007, id="half a character"),
        pytest.param(masked(b"\xce", 0x01) + masked(b"", 0x80), 1007, id="half, then the end"),
        pytest.param(masked(b"x" * 65537), 1009, id="too long"),
        pytest.param(b"\x82\xff\x7f" + b"\xff" * 7 + MASK, 1009, id="8 exbibytes"),
    ],
)
def test_violations(data: bytes, code: int) -> None:
    assert failure(parse(masked(b"before") + data + masked(b"after"))) == code
    # The same one byte at a time, with what came before delivered first.
    frames = FrameParser(65536)
    events = [event for byte in masked(b"before") + data for event in frames.feed(bytes((byte,)))]
    assert failure(events) == code
    assert events[0] == (TEXT, b"before", 0)


def test_a_message_of_exactly_the_limit_passes() -> None:
    assert parse(masked(b"x" * 200), 200) == [(TEXT, b"x" * 200, 0)]


def test_the_limit_counts_before_anything_is_buffered() -> None:
    assert failure(parse(masked(b"x" * 201)[:8], 200)) == 1009


def test_the_limit_counts_the_sum_of_fragments() -> None:
    assert failure(parse(masked(b"x" * 150, 0x01) + masked(b"y" * 51, 0x80)[:8], 200)) == 1009
    assert parse(masked(b"x" * 150, 0x01) + masked(b"y" * 50, 0x80), 200)[0][0] == TEXT


def test_the_limit_starts_again_with_each_message() -> None:
    data = masked(b"x" * 150, 0x01) + masked(b"", 0x80)
    assert [kind for kind, _, _ in parse(data * 3, 200)] == [TEXT] * 3


def test_a_message_of_endless_empty_fragments_is_ended() -> None:
    assert parser.max_fragments(65536) == parser.max_fragments(100) == 1024
    assert parser.max_fragments(1 << 20) == 16384
    most = masked(b"", 0x01) + masked(b"", 0x00) * 1023
    assert failure(parse(most + masked(b"", 0x80))) == 1008
    assert parse(masked(b"", 0x01) + masked(b"", 0x00) * 1022 + masked(b"", 0x80))[0][0] == TEXT


def test_many_small_frames_are_parsed_some_at_a_time() -> None:
    texts = [b"%d" % number for number in range(2 * FRAMES_AT_ONCE + 10)]
    frames = FrameParser(65536)
    events = frames.feed(b"".join(map(masked, texts)) + masked(b"the last one")[:9])
    assert len(events) == FRAMES_AT_ONCE
    assert frames.is_behind
    events += frames.feed(b"")
    assert frames.is_behind
    assert not frames.is_idle
    events += frames.feed(b"")
    assert not frames.is_behind
    events += frames.feed(masked(b"the last one")[9:])
    assert [payload for _, payload, _ in events] == [*texts, b"the last one"]
    assert frames.is_idle


def test_bad_utf8_is_seen_before_the_frame_is_complete() -> None:
    good = "κόσμε".encode() + b"\xf4"
    frame = masked(good + b"\x90\x80\x80" + b"edited" * 30)
    body = 8 + len(good)
    frames = FrameParser(65536)
    assert frames.feed(frame[:body]) == []
    assert failure(frames.feed(frame[body : body + 1])) == 1007


def test_bad_utf8_is_seen_before_the_message_is_complete() -> None:
    assert failure(parse(masked(b"good", 0x01) + masked(b"\xff", 0x00))) == 1007


def test_a_failed_parser_ignores_the_rest() -> None:
    frames = FrameParser(100)
    assert failure(frames.feed(b"\x81\x00")) == 1002
    assert frames.feed(masked(b"text")) == []


# -- no state without need


def test_only_unfinished_things_are_kept() -> None:
    frames = FrameParser(65536)
    assert frames.is_idle
    for data, idle in [
        (masked(b"whole"), True),
        (masked(b"part")[:3], False),
        (masked(b"part")[3:], True),
        (masked(b"a", 0x01), False),
        (masked(b"", 0x89), False),
        (masked(b"b", 0x80), True),
    ]:
        frames.feed(data)
        assert frames.is_idle is idle


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (masked(b"Hello"), b"Hello"),
        (masked(b""), b""),
        (masked("é".encode()), "é".encode()),
        (masked(b"x" * 125), b"x" * 125),
        (masked(b"x" * 126), None),
        (masked(b"Hello")[:-1], None),
        (masked(b"Hello") + b"\x81", None),
        (masked(b"Hello", 0x01), None),
        (masked(b"Hello", 0x82), None),
        (masked(b"Hello", 0x89), None),
        (masked(b"Hello", 0xC1), None),
        (masked(b"\xff"), None),
        (b"\x81\x05Hello....", None),
        (b"", None),
    ],
)
def test_the_fast_path_takes_one_short_text_and_nothing_else(
    data: bytes, payload: bytes | None
) -> None:
    assert parse_small_text(data, 65536) == payload


def test_the_fast_path_leaves_the_limit_to_the_parser() -> None:
    assert parse_small_text(masked(b"x" * 11), 10) is None


# -- properties


def feed_in_pieces(data: bytes, cuts: Iterable[int], limit: int = 1 << 20) -> list[Event]:
    """Feed ``data`` cut at ``cuts``, dropping the parser whenever it holds nothing."""
    events: list[Event] = []
    frames: FrameParser | None = None
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    for start, stop in itertools.pairwise(edges):
        frames = frames or FrameParser(limit)
        events += frames.feed(data[start:stop])
        if frames.is_idle:
            frames = None
    return events


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """A valid stream built by another implementation, and its events."""
    data = b""
    events: list[Event] = []

    def add(opcode: int, payload: bytes, fin: bool = True) -> None:
        nonlocal data
        data += Frame(Opcode(opcode), payload, fin).serialize(mask=True)

    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from([TEXT, BINARY]))
        payload = (
            draw(st.text(max_size=150)).encode() if kind == TEXT else draw(st.binary(max_size=300))
        )
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=4)))
        edges = [0, *cuts, len(payload)]
        for index, (start, stop) in enumerate(itertools.pairwise(edges)):
            add(kind if not index else CONTINUATION, payload[start:stop], index == len(cuts))
            if index < len(cuts) and draw(st.booleans()):
                control = draw(st.sampled_from([PING, PONG]))
                add(control, note := draw(st.binary(max_size=125)))
                events.append((control, note, 0))
        events.append((kind, payload, 0))
    if draw(st.booleans()):
        code = draw(st.sampled_from([1000, 1011, 3000, 4999]))
        reason = draw(st.text(max_size=30)).encode()
        add(CLOSE, code.to_bytes(2, "big") + reason)
        events.append((CLOSE, reason, code))
    return data, events


@given(conversations(), st.lists(st.integers(0, 1 << 20), max_size=20))
@settings(max_examples=150, deadline=None)
def test_events_do_not_depend_on_how_the_stream_is_cut(
    conversation: tuple[bytes, list[Event]], cuts: list[int]
) -> None:
    data, events = conversation
    assert parse(data, 1 << 20) == events
    assert feed_in_pieces(data, cuts) == events
    assert feed_in_pieces(data, range(len(data))) == events


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_never_crash_and_mean_the_same_however_cut(
    data: bytes, cuts: list[int]
) -> None:
    whole = parse(data, 200)
    assert feed_in_pieces(data, cuts, 200) == whole
    assert all(kind != FAILURE for kind, _, _ in whole[:-1])


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=200))
def test_both_ways_of_unmasking_agree(mask: bytes, data: bytes) -> None:
    assert parser._unmask_with_int(mask, data) == apply_mask(data, mask)


def test_long_messages_in_small_reads() -> None:
    text = os.urandom(300_000).hex().encode()
    data = masked(text)
    assert feed_in_pieces(data, range(0, len(data), 1000)) == [(TEXT, text, 0)]
