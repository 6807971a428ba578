"""A cached stream: its tail, and recovery from it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_stream_store import DAY_S, EPOCH, ME, NOW
from wsserver.protocol.types import Position
from wsserver.realtime.messages.audience import Audience
from wsserver.realtime.streams.cached_message import CachedMessage, cached_message
from wsserver.realtime.streams.stream import Recovery, Stream
from wsserver.storage.messages.streams import Kept

LATER = NOW + DAY_S
PLENTY = 1 << 20


def entry(offset: int, **fields: object) -> CachedMessage:
    given = {
        "payload": b"%d" % offset,
        "at": NOW,
        "expires_at": LATER,
        "has_ttl": False,
        "audience": None,
    }
    return CachedMessage(offset, **{**given, **fields})  # type: ignore[arg-type]


def stream(head: int = 0, published: int = 0, tail_limit: int = 10) -> Stream:
    """At ``head``, and then so many more are published."""
    made = Stream("session:s1", EPOCH, head, tail_limit)
    for offset in range(head + 1, head + published + 1):
        made.published(entry(offset))
    return made


def after(made: Stream, offset: int) -> list[int] | None:
    entries = made.after(offset)
    return None if entries is None else [each.offset for each in entries]


def test_only_what_was_published_since_is_in_memory() -> None:
    made = stream(head=5, published=3)
    assert (made.head, made.floor) == (8, 5)
    assert after(made, 5) == [6, 7, 8]
    assert after(made, 7) == [8]
    assert after(made, 8) == []
    assert after(made, 4) is None
    assert after(stream(head=5), 5) == []
    assert after(stream(head=5), 4) is None


def test_the_oldest_leave_a_full_tail() -> None:
    made = stream(published=13, tail_limit=10)
    assert made.floor == 3
    assert after(made, 2) is None
    assert after(made, 3) == list(range(4, 14))
    assert made.tail_bytes == sum(len(b"%d" % offset) for offset in range(4, 14))


def test_what_was_read_is_put_before_what_was_published() -> None:
    made = stream(head=5, published=2)
    made.prepend([entry(3), entry(4), entry(5)], 2, 5)
    assert after(made, 2) == [3, 4, 5, 6, 7]
    assert after(made, 1) is None
    made.prepend([], 0, 2)  # 1 and 2 have run out
    assert after(made, 0) == [3, 4, 5, 6, 7]
    assert made.tail_bytes == 5
    empty = stream(head=2)
    empty.prepend([entry(2)], 0, 2)
    assert after(empty, 0) == [2]


def test_what_was_read_before_the_tail_moved_is_not_put_before_it() -> None:
    made = stream(head=5, published=10)
    made.published(entry(16))  # the tail begins behind 6 now, and what was read ends with 5
    made.prepend([], 0, 5)
    assert after(made, 0) is None
    assert after(made, 5) is None
    assert after(made, 6) == list(range(7, 17))


def test_there_is_no_room_for_more_than_the_tail_may_have() -> None:
    made = stream(head=5, published=9)
    made.prepend([entry(4), entry(5)], 3, 5)
    assert made.floor == 5
    made.prepend([entry(5)], 4, 5)
    assert made.floor == 4
    assert after(made, 4) == list(range(5, 15))


@pytest.mark.parametrize(
    ("epoch", "offset", "reason"),
    [
        (EPOCH, 20, None),
        (EPOCH, 15, None),
        (EPOCH, 10, None),
        (EPOCH, 9, "too_far_behind"),
        (EPOCH, 0, "too_far_behind"),
        (EPOCH, 21, "offset_ahead"),
        ("epoch_0", 20, "epoch_changed"),
        ("", 0, "epoch_changed"),
    ],
)
def test_reasons_why_a_stream_cannot_be_recovered(
    epoch: str, offset: int, reason: str | None
) -> None:
    assert stream(head=20).refusal(Position(epoch, offset), 10) == reason


def recovered(entries: list[CachedMessage], budget: int = PLENTY, now: float = NOW) -> Recovery:
    return stream(head=9).recovery(entries, ME, now, now - DAY_S, budget)


def test_everything_is_given_in_its_order() -> None:
    recovery = recovered([entry(8), entry(9)])
    assert recovery == Recovery(EPOCH, 9, [b"8", b"9"], None)
    assert recovery.is_complete
    assert recovery.size == 4
    assert recovered([]) == Recovery(EPOCH, 9, [], None)


def test_a_hole_of_a_ttl_is_no_loss_but_one_of_retention_is() -> None:
    short = entry(8, has_ttl=True, expires_at=NOW)
    assert recovered([short, entry(9)]).messages == [b"9"]
    assert recovered([entry(8, has_ttl=True, expires_at=NOW + 1)]).messages == [b"8"]
    assert recovered([entry(8, expires_at=NOW), entry(9)]) == Recovery(EPOCH, 9, [], "expired")


def test_what_is_only_in_the_archive_is_a_loss() -> None:
    archived = entry(8, at=NOW - DAY_S)
    assert recovered([archived, entry(9)]) == Recovery(EPOCH, 9, [], "expired")
    short = entry(8, at=NOW - DAY_S, has_ttl=True, expires_at=NOW)
    assert recovered([short, entry(9)]).messages == [b"9"]
    long = entry(8, at=NOW - DAY_S, has_ttl=True, expires_at=NOW + 1)
    assert recovered([long, entry(9)]).reason == "expired"
    assert recovered([entry(8, at=NOW - DAY_S + 1)]).messages == [b"8"]


def test_what_is_for_others_is_left_out_and_costs_nothing() -> None:
    others = entry(8, audience=Audience(role="admin"), payload=b"x" * 100)
    mine = entry(9, audience=Audience(role="user"))
    assert recovered([others, mine], budget=2).messages == [b"9"]


def test_a_budget_is_kept_or_nothing_is_given() -> None:
    entries = [entry(8), entry(9)]
    assert recovered(entries, budget=4).messages == [b"8", b"9"]
    assert recovered(entries, budget=3) == Recovery(EPOCH, 9, [], "too_far_behind")
    assert recovered([], budget=-1).is_complete


def test_the_answer_has_a_reason_where_there_is_one() -> None:
    answer = recovered([entry(9)]).answer()
    assert {**answer, "messages": [bytes(each) for each in answer["messages"]]} == {
        "recovered": True,
        "epoch": EPOCH,
        "offset": 9,
        "messages": [b"9"],
    }
    assert stream(head=9).failed("expired").answer() == {
        "recovered": False,
        "epoch": EPOCH,
        "offset": 9,
        "messages": [],
        "reason": "expired",
    }


def test_a_stored_message_gets_its_position() -> None:
    kept = Kept(7, "msg_1", "news", NOW, LATER, 1, None, '{"role":"admin"}', b'{"type":"news"}')
    made = cached_message(kept, "user:ä", EPOCH)
    assert json.loads(made.payload) == {
        "type": "news",
        "stream": "user:ä",
        "epoch": EPOCH,
        "offset": 7,
    }
    assert (made.offset, made.expires_at, made.has_ttl) == (7, LATER, True)
    assert made.audience == Audience(role="admin")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.booleans()),
        st.tuples(st.just("read"), st.integers(0, 30)),
        st.tuples(st.just("late read"), st.integers(0, 30)),
    ),
    max_size=40,
)


@given(st.integers(0, 12), st.integers(1, 6), STEPS)
def test_the_tail_never_leaves_anything_out(
    head: int, tail_limit: int, steps: list[tuple[str, int]]
) -> None:
    """Holes are where a ttl ran out; whatever else memory says of a range, it is all of it."""
    made = Stream("session:s1", EPOCH, head, tail_limit)
    alive = [offset for offset in range(1, head + 1) if offset % 3]
    late: tuple[list[CachedMessage], int, int] | None = None
    for step, value in steps:
        if step == "publish":
            made.published(entry(made.head + 1))
            alive.append(made.head)
        else:
            until = made.floor
            read = ([entry(each) for each in alive if value < each <= until], value, until)
            if step == "read":
                made.prepend(*read)
            else:
                if late is not None:
                    made.prepend(*late)
                late = read
        assert made.tail_bytes == sum(len(b"%d" % each) for each in after(made, made.floor) or [])
        for offset in range(made.head + 1):
            found = after(made, offset)
            if found is not None:
                assert found == [each for each in alive if each > offset]
                assert len(found) <= tail_limit
            else:
                assert offset < made.floor
