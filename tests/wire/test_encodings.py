"""Each recipient gets the form that it can read, and each form is made once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wsserver.wire import deflate
from wsserver.wire import encodings as forms
from wsserver.wire.deflate import inflate
from wsserver.wire.frames import build_frame

SHORT, LONG = b'{"a": 1}' * 20, b'{"abc": 12345}' * 1000


def transports(*bits: int) -> list[Any]:
    return [SimpleNamespace(_deflate_bits=each) for each in bits]


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


def test_a_message_is_compressed_once(compressed: list[bytes]) -> None:
    every = transports(0, 15, 0, 15, 15)
    (plain, plain_frame), (squeezed, frame) = forms.forms_of(LONG, every)
    assert plain == [every[0], every[2]]
    assert squeezed == [every[1], every[3], every[4]]
    assert plain_frame == build_frame(LONG)
    assert message_in(frame) == LONG
    assert compressed == [LONG]


def test_nobody_takes_it_compressed(compressed: list[bytes]) -> None:
    every = transports(0, 0)
    assert forms.forms_of(LONG, every) == [(every, build_frame(LONG))]
    assert compressed == []


def test_a_small_window_gets_a_form_of_its_own_only_if_the_message_is_larger(
    compressed: list[bytes],
) -> None:
    assert len(forms.forms_of(SHORT, transports(9, 12, 15))) == 1
    assert compressed == [SHORT]
    (_, small), (_, large) = forms.forms_of(LONG, transports(9, 15))
    assert message_in(small) == message_in(large) == LONG
    assert len(compressed) == 3
