"""Frames built by the server (RFC 6455 §5.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from wsserver.wire import frames


def parse_as_client(data: bytes) -> Frame:
    """Read one frame as a client does, with the parser of another library."""
    reader = StreamReader()
    reader.feed_data(data)
    steps = Frame.parse(reader.read_exact, mask=False)
    try:
        while True:
            next(steps)
    except StopIteration as done:
        assert len(reader.buffer) == 0
        frame: Frame = done.value
        return frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_lengths_take_their_shortest_form(size: int) -> None:
    data = frames.build_frame(b"x" * size)
    frame = parse_as_client(data)
    assert (frame.opcode, bytes(frame.data), frame.fin) == (Opcode.TEXT, b"x" * size, True)
    assert len(data) - size == (2 if size < 126 else 4 if size < 65536 else 10)


@given(
    st.binary(max_size=300),
    st.sampled_from([frames.TEXT, frames.BINARY, frames.CONTINUATION]),
    st.booleans(),
)
def test_any_frame_is_read_back_by_a_client(payload: bytes, opcode: int, fin: bool) -> None:
    frame = parse_as_client(frames.build_frame(payload, opcode, fin))
    assert (frame.opcode, bytes(frame.data), frame.fin) == (opcode, payload, fin)


@pytest.mark.parametrize("frame", [frames.EMPTY_CLOSE, frames.EMPTY_PING, frames.EMPTY_PONG])
def test_constant_frames_are_two_bytes(frame: bytes) -> None:
    assert len(frame) == 2
    assert parse_as_client(frame).data == b""


def test_close_frame_carries_code_and_reason() -> None:
    frame = parse_as_client(frames.close_frame(4502, "再见"))
    assert bytes(frame.data) == b"\x11\x96" + "再见".encode()


def test_close_without_a_status_has_no_body() -> None:
    assert frames.close_frame(frames.NO_STATUS, "ignored") == b"\x88\x00"


@given(st.text(max_size=200))
def test_a_reason_is_cut_between_characters(reason: str) -> None:
    body = bytes(parse_as_client(frames.close_frame(1000, reason)).data)[2:]
    assert len(body) <= 123
    whole = reason.encode("utf-8", "replace").decode()
    assert whole.startswith(body.decode())
    assert len(body) > 119 or body.decode() == whole


def test_a_wire_error_says_code_and_reason() -> None:
    error = frames.WireError(1002, "reserved bits set")
    assert (error.code, error.reason, str(error)) == (
        1002,
        "reserved bits set",
        "1002 reserved bits set",
    )
