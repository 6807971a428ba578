"""The plan of a drain: times to reconnect, and the reconnects of each second."""

from __future__ import annotations

import pytest

from wsserver.realtime.connections.drain_plan import reconnect_times_ms, reconnects_per_second


@pytest.mark.parametrize(("count", "window_ms"), [(1, 5000), (2500, 5000), (50_000, 100_000)])
def test_reconnects_are_spread_over_five_seconds_or_500_a_second(
    count: int, window_ms: int
) -> None:
    times = reconnect_times_ms(count)
    assert len(times) == count
    assert times == sorted(times)
    assert times[0] == 1000
    assert times[-1] < 1000 + window_ms
    assert max(reconnects_per_second(times, [True] * count)) <= max(501, count)


def test_nobody_needs_no_time() -> None:
    assert reconnect_times_ms(0) == []
    assert reconnects_per_second([], []) == []


def test_clients_that_do_not_follow_the_hint_come_at_once() -> None:
    times = [1000, 1500, 2000, 3500]
    assert reconnects_per_second(times, [True, False, True, False]) == [2, 1, 1, 0]
