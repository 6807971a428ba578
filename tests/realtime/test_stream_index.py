from __future__ import annotations

import pytest

from wsserver.realtime.streams import stream_cache
from wsserver.realtime.streams.stream_cache import StreamIndex


def test_before_the_names_are_read_nothing_is_certain() -> None:
    known = StreamIndex()
    assert not known.lacks("user:u1")
    known.add(["user:u1"])
    assert not known.lacks("user:u2")


def test_what_was_there_or_is_about_to_be_is_not_lacking() -> None:
    known = StreamIndex()
    known.load("epoch_1", ["user:u1"])
    assert known.epoch == "epoch_1"
    assert [known.lacks(f"user:u{n}") for n in (1, 2)] == [False, True]
    known.add(["user:u2", "session:s1"])
    assert [known.lacks(name) for name in ("user:u2", "session:s1")] == [False, False]


def test_too_many_names_make_everything_uncertain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_cache, "NAMES_LIMIT", 2)
    known = StreamIndex()
    known.load("epoch_1", ["a", "b"])
    assert known.lacks("c")
    known.add(["c"])
    assert not known.lacks("d")
    known.load("epoch_1", ["a", "b", "c"])
    assert not known.lacks("d")
