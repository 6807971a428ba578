"""Encodings of a broadcast: compressed for those that accept it, each made once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wsserver.wire import deflate
from wsserver.wire.deflate import inflate
from wsserver.wire.fanout import encode_for
from wsserver.wire.frames import build_frame

SHORT, LONG = b'{"a": 1}' * 20, b'{"abc": 12345}' * 1000


def transports(*bits: int) -> list[Any]:
    return [SimpleNamespace(deflate_bits=each) for each in bits]


def message_in(frame: bytes) -> bytes:
    assert frame[0] == 0xC1
    return inflate(frame[2 if frame[1] < 126 else 4 :], len(LONG))


@pytest.fixture
def compressed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The messages that were compressed."""
    made: list[bytes] = []

    def counting(payload: bytes, window_bits: int) -> bytes:
        made.append(payload)
        return original(payload, window_bits)

    original = deflate.deflate
    monkeypatch.setattr(deflate, "deflate", counting)
    return made


@pytest.mark.pure
def test_a_message_is_compressed_once(compressed: list[bytes]) -> None:
    every = transports(0, 15, 0, 15, 15)
    (plain, plain_frame), (squeezed, frame) = encode_for(LONG, every)
    assert plain == [every[0], every[2]]
    assert squeezed == [every[1], every[3], every[4]]
    assert plain_frame == build_frame(LONG)
    assert message_in(frame) == LONG
    assert compressed == [LONG]


@pytest.mark.pure
def test_without_compression_there_is_one_encoding(compressed: list[bytes]) -> None:
    every = transports(0, 0)
    assert encode_for(LONG, every) == [(every, build_frame(LONG))]
    assert compressed == []


@pytest.mark.pure
def test_windows_make_a_difference_only_to_messages_larger_than_them(
    compressed: list[bytes],
) -> None:
    assert len(encode_for(SHORT, transports(9, 12, 15))) == 1
    assert compressed == [SHORT]
    (_, small), (_, large) = encode_for(LONG, transports(9, 15))
    assert message_in(small) == message_in(large) == LONG
    assert len(compressed) == 3
