"""The cache of streams: contents and eviction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_stream_store import DAY_S, EPOCH, NOW
from wsserver.realtime.streams import stream_cache
from wsserver.realtime.streams.cached_message import CachedMessage
from wsserver.realtime.streams.stream import Stream
from wsserver.realtime.streams.stream_cache import StreamCache


def entry(offset: int, size: int = 10) -> CachedMessage:
    return CachedMessage(offset, b" " * size, NOW, NOW + DAY_S, False, None)


class Memory:
    def __init__(self) -> None:
        self.forgotten: list[str] = []
        self.memory = StreamCache(5, self.forgotten.append)

    def publish(self, name: str, count: int = 1) -> Stream:
        stream = self.memory.peek(name) or self.memory.remember(name, EPOCH, 0)
        for _ in range(count):
            self.memory.published(stream, [entry(stream.head + 1)])
        return stream

    @property
    def names(self) -> list[str]:
        return list(self.memory._streams)


@pytest.fixture
def streams() -> Memory:
    return Memory()


def test_the_longest_unused_position_goes_first(
    streams: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_cache, "STREAMS_LIMIT", 3)
    for name in "abc":
        streams.memory.remember(name, EPOCH, 0)
    streams.memory.use("a")
    streams.memory.peek("b")  # that is no use
    streams.forgotten.clear()
    streams.memory.remember("d", EPOCH, 0)
    assert streams.names == ["c", "a", "d"]
    assert streams.forgotten == ["d", "b"]  # what is remembered anew outdates what was asked before
    assert streams.memory.use("b") is None


def test_messages_make_room_and_positions_stay(
    streams: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_cache, "TAILS_LIMIT_BYTES", 60)
    streams.memory.remember("idle", EPOCH, 7)
    first, second = streams.publish("a", 3), streams.publish("b", 3)
    streams.memory.use("a")
    third = streams.publish("c", 1)
    assert [each.tail_bytes for each in (first, second, third)] == [30, 0, 10]
    assert (second.after(0), second.after(3)) == (None, ())
    assert second.head == second.floor == 3
    assert streams.names == ["idle", "b", "a", "c"]
    assert streams.memory.tail_bytes == 40
    streams.publish("b")
    assert [each.offset for each in second.after(3) or ()] == [4]
    assert streams.memory.tail_bytes == 50


def test_the_one_used_last_may_be_larger_than_all_together(
    streams: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_cache, "TAILS_LIMIT_BYTES", 25)
    first = streams.publish("a")
    second = streams.publish("b", 5)
    assert (first.tail_bytes, second.tail_bytes) == (0, 50)
    streams.publish("a")
    assert (first.tail_bytes, second.tail_bytes) == (10, 0)


def test_what_was_forgotten_is_counted_no_more(streams: Memory) -> None:
    streams.publish("a", 3)
    streams.publish("b", 2)
    streams.memory.forget("a")
    streams.memory.forget("nothing")
    assert (streams.memory.tail_bytes, len(streams.memory)) == (20, 1)
    assert streams.forgotten[-2:] == ["a", "nothing"]
    streams.memory.clear()
    assert (streams.memory.tail_bytes, len(streams.memory)) == (0, 0)


def test_what_was_read_for_a_stream_that_is_forgotten_is_not_kept(streams: Memory) -> None:
    stream = streams.memory.remember("a", EPOCH, 2)
    streams.memory.forget("a")
    streams.memory.prepend(stream, [entry(1), entry(2)], 0, 2)
    assert (streams.memory.tail_bytes, len(streams.memory)) == (0, 0)
    again = streams.memory.remember("a", EPOCH, 2)
    streams.memory.prepend(stream, [entry(1), entry(2)], 0, 2)
    assert again.after(0) is None
    streams.memory.prepend(again, [entry(1), entry(2)], 0, 2)
    assert len(again.after(0) or ()) == 2
    assert streams.memory.tail_bytes == 20


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "read", "use", "forget", "remember", "clear"]),
        st.sampled_from("abcd"),
        st.integers(1, 4),
    ),
    max_size=40,
)


@given(STEPS)
def test_the_bytes_are_counted_whatever_happens(steps: list[tuple[str, str, int]]) -> None:
    streams = Memory()
    memory = streams.memory
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_cache, "TAILS_LIMIT_BYTES", 70)
        patch.setattr(stream_cache, "STREAMS_LIMIT", 3)
        for step, name, count in steps:
            stream = memory.peek(name)
            if step == "publish":
                streams.publish(name, count)
            elif step == "read" and stream is not None:
                after = max(0, stream.floor - count)
                older = [entry(offset) for offset in range(after + 1, stream.floor + 1)]
                memory.prepend(stream, older, after, stream.floor)
            elif step == "use":
                memory.use(name)
            elif step == "forget":
                memory.forget(name)
            elif step == "remember":
                memory.remember(name, EPOCH, count)
            elif step == "clear":
                memory.clear()
            held = [each for each in map(memory.peek, "abcd") if each is not None]
            sizes = [each.tail_bytes for each in held if each.tail_bytes]
            assert memory.tail_bytes == sum(sizes)
            assert sum(sizes) <= 70 or len(sizes) == 1
            assert len(memory) == len(held) <= 3
