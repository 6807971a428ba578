from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsserver.realtime.connections.timer_wheel import TimerWheel


@given(
    st.sampled_from([0.005, 0.01, 0.1, 0.25, 1 / 3, 1.0]),
    st.lists(
        st.one_of(
            st.tuples(st.just("schedule"), st.floats(-2, 90)),
            st.tuples(st.just("advance"), st.floats(0, 40)),
        ),
        max_size=40,
    ),
)
def test_items_come_out_once_never_early_and_at_most_a_tick_late(
    tick_s: float, steps: list[tuple[str, float]]
) -> None:
    wheel: TimerWheel[int] = TimerWheel(tick_s)
    waiting: dict[int, float] = {}
    now = 1000.0
    for item, (what, seconds) in enumerate(steps):
        if what == "schedule":
            wheel.schedule(now + seconds, item)
            waiting[item] = now + seconds
            continue
        now += seconds
        out = [item for _, item in wheel.advance(now)]
        assert len(set(out)) == len(out)
        for each in out:
            assert waiting.pop(each) <= now
        assert all(due > now - tick_s * 1.000001 for due in waiting.values())
        assert len(wheel) == len(waiting)


@given(st.floats(0, 1e6), st.sampled_from([0.005, 0.0075, 0.05, 0.1, 0.25, 0.3]))
@example(3994.0275, 0.0075)
@example(7458.3, 0.3)
def test_nothing_is_early_by_a_rounding_error_either(due: float, tick_s: float) -> None:
    wheel: TimerWheel[str] = TimerWheel(tick_s)
    wheel.schedule(due, "x")
    (key,) = wheel._ticks
    assert key * tick_s >= due


def test_the_earliest_comes_first() -> None:
    wheel: TimerWheel[str] = TimerWheel(1.0)
    for due, item in ((9.0, "c"), (2.0, "a"), (5.0, "b")):
        wheel.schedule(due, item)
    assert list(wheel.advance(100.0)) == [(2.0, "a"), (5.0, "b"), (9.0, "c")]


def test_items_may_be_scheduled_while_others_come_out() -> None:
    wheel: TimerWheel[int] = TimerWheel(0.5)
    wheel.schedule(1.0, 0)
    out = []
    for _, item in wheel.advance(3.0):
        out.append(item)
        wheel.schedule(1.0 + len(out), len(out))
    assert out == [0, 1, 2]
    assert len(wheel) == 1


@pytest.mark.parametrize("jump", [1e3, 1e7])
def test_a_long_jump_costs_only_what_is_due(jump: float) -> None:
    wheel: TimerWheel[str] = TimerWheel(0.005)
    wheel.schedule(1.0, "x")
    assert list(wheel.advance(jump)) == [(1.0, "x")]
    assert not wheel._slots
    assert not wheel._ticks
