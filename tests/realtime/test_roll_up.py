"""Roll-up: the first append is pushed at once, those of the next milliseconds together."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from wsserver.realtime.answers.roll_up import Rolled, RollUp


def test_the_first_text_is_due_at_once_and_the_next_ones_together() -> None:
    roll_up = RollUp(0.04, 3)
    assert roll_up.add(1, "ab", 10.0) == 0.0
    assert roll_up.take(10.0) == Rolled(3, 1, "ab")
    assert round(roll_up.add(2, "c", 10.01), 6) == 0.03
    assert roll_up.add(3, "d", 10.02) < 0
    assert roll_up.take(10.04) == Rolled(5, 3, "cd")
    assert roll_up.add(4, "e", 10.5) == 0.0


def test_nothing_is_taken_twice() -> None:
    roll_up = RollUp(0.04, 0)
    assert roll_up.take(1.0) is None
    roll_up.add(1, "a", 1.0)
    assert roll_up.take(1.0) is not None
    assert roll_up.take(2.0) is None


@given(st.lists(st.tuples(st.floats(0, 0.1), st.sampled_from(["a", "bc", "你好"])), max_size=30))
def test_texts_follow_each_other_and_pushes_keep_their_distance(
    appends: list[tuple[float, str]],
) -> None:
    roll_up = RollUp(0.04, 0)
    now, due = 0.0, float("inf")
    pushed: list[Rolled] = []
    times: list[float] = []

    def push(at: float) -> None:
        rolled = roll_up.take(at)
        assert rolled is not None
        pushed.append(rolled)
        times.append(at)

    for seq, (pause, text) in enumerate(appends, 1):
        now += pause
        if due <= now:
            push(due)
            due = float("inf")
        wait = roll_up.add(seq, text, now)
        if wait == 0.0:
            push(now)
        elif wait > 0:
            due = now + wait
        assert wait >= 0 or due < float("inf")
    if due < float("inf"):
        push(due)
    assert "".join(rolled.text for rolled in pushed) == "".join(text for _, text in appends)
    assert [rolled.at for rolled in pushed] == [
        len("".join(rolled.text for rolled in pushed[:index])) for index in range(len(pushed))
    ]
    assert all(later - earlier > 0.0399 for earlier, later in pairwise(times))
