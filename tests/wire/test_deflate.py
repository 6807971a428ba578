"""permessage-deflate of single messages, against another implementation and malicious input."""

from __future__ import annotations

import os
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from wsserver.wire.deflate import (
    bits_for,
    deflate,
    deflated_frame,
    inflate,
    max_deflated_bytes,
)
from wsserver.wire.frames import BINARY, WireError, build_frame

messages = st.one_of(
    st.binary(max_size=2000),
    st.text(max_size=2000).map(str.encode),
    st.builds(lambda unit, times: unit * times, st.binary(max_size=99), st.integers(0, 900)),
)


def their_extension(window_bits: int = 15) -> PerMessageDeflate:
    return PerMessageDeflate(True, True, window_bits, 15)


@given(messages, st.integers(9, 15))
def test_what_is_compressed_is_understood(message: bytes, window_bits: int) -> None:
    data = deflate(message, window_bits)
    assert inflate(data, len(message)) == message
    theirs = their_extension(window_bits).decode(Frame(Opcode.BINARY, data, True, True))
    assert theirs.data == message


@given(messages, st.integers(0, 9))
def test_what_others_compress_is_understood(message: bytes, level: int) -> None:
    theirs = PerMessageDeflate(True, True, 15, 9, {"level": level, "memLevel": 1})
    data = bytes(theirs.encode(Frame(Opcode.BINARY, message)).data)
    assert inflate(data, len(message)) == message
    assert len(data) <= max_deflated_bytes(len(message))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("f248cdc9c90700", id="one block"),
        pytest.param("000500faff48656c6c6f00", id="not compressed"),
        pytest.param("f348cdc9c9070000", id="final block"),
        pytest.param("f24805000000ffffcac9c90700", id="two blocks"),
    ],
)
def test_the_examples_of_the_rfc(data: str) -> None:
    assert inflate(bytes.fromhex(data), 5) == b"Hello"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xff", id="no block"),
        pytest.param(b"", id="nothing"),
        pytest.param(deflate(b"Hello " * 99, 15)[:-3], id="cut short"),
        pytest.param(deflate(b"Hello " * 99, 15)[1:], id="without a beginning"),
        pytest.param(deflate(b"Hello " * 99, 15) + b"\x00\x01", id="with more behind"),
        pytest.param(b"\x03\x00" * 32, id="many streams"),
    ],
)
def test_broken_data(data: bytes) -> None:
    with pytest.raises(WireError) as caught:
        inflate(data, 65536)
    assert caught.value.code == 1007


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_message_or_a_fault(data: bytes) -> None:
    try:
        size, code = len(inflate(data, 1000)), 0
    except WireError as error:
        size, code = 0, error.code
    assert size <= 1000
    assert code in (0, 1007, 1009)


def test_the_limit_is_that_of_the_message() -> None:
    data = deflate(b"a" * 1000, 15)
    assert inflate(data, 1000) == b"a" * 1000
    with pytest.raises(WireError) as caught:
        inflate(data, 999)
    assert (caught.value.code, caught.value.reason) == (1009, "message over 999 bytes")


def test_the_limit_counts_all_streams_together() -> None:
    squeezer = zlib.compressobj(wbits=-15)
    stream = squeezer.compress(b"a" * 600) + squeezer.flush(zlib.Z_FINISH)
    assert inflate(stream * 2 + b"\x00", 1200) == b"a" * 1200
    with pytest.raises(WireError) as caught:
        inflate(stream * 2 + b"\x00", 1199)
    assert caught.value.code == 1009


def test_a_bomb_is_never_unpacked() -> None:
    bomb = deflate(bytes(60_000_000), 15)
    assert len(bomb) < 65536
    tracemalloc.start()
    try:
        with pytest.raises(WireError) as caught:
            inflate(bomb, 65536)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.code == 1009
    assert peak < 10 * 65536


def test_the_window_is_as_large_as_the_message_needs() -> None:
    assert bits_for(1, 15) == 9
    assert bits_for(250, 15) == 9
    assert bits_for(251, 15) == 10
    assert bits_for(10**6, 15) == 15
    assert bits_for(10**6, 11) == 11
    # Smaller windows find as much: the end of a message may refer to its very beginning.
    for size in (250, 762, 3834):
        noise = os.urandom(100)
        message = noise + bytes(size - 200) + noise
        assert len(deflate(message, 15)) < 150
        assert deflate(message, bits_for(size, 15)) == deflate(message, 15)


def test_a_frame_is_compressed_where_that_makes_it_smaller() -> None:
    message = b'{"type": "x"}' * 50
    frame = deflated_frame(message, 15)
    assert frame[0] == 0xC1
    assert inflate(frame[2:], 1000) == message
    assert deflated_frame(message, 15, BINARY)[0] == 0xC2
    noise = os.urandom(300)
    assert deflated_frame(noise, 15, BINARY) == build_frame(noise, BINARY)
