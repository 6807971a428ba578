from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver.realtime.connections.rate_limit import MessageRate, TokenBucket

LIMIT = MessageRate(40, 80)


def test_a_burst_passes_and_then_the_rate_counts() -> None:
    bucket = TokenBucket(LIMIT, 100.0)
    assert [bucket.take(LIMIT, 100.0) for _ in range(80)] == [0] * 80
    assert bucket.take(LIMIT, 100.0) == 26
    assert bucket.take(LIMIT, 100.0) == 26
    assert bucket.take(LIMIT, 100.025) == 0
    assert bucket.take(LIMIT, 100.025) > 0


def test_a_silence_refills_no_more_than_the_burst() -> None:
    bucket = TokenBucket(LIMIT, 0.0)
    assert sum(bucket.take(LIMIT, 9999.0) == 0 for _ in range(200)) == 80


@given(
    st.floats(0.5, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 2), max_size=60),
)
def test_no_more_than_rate_and_burst_allow_and_the_reported_wait_is_enough(
    rate: float, burst: int, gaps: list[float]
) -> None:
    limit = MessageRate(rate, burst)
    now = 50.0
    bucket = TokenBucket(limit, now)
    passed = 0
    for gap in gaps:
        now += gap
        wait_ms = bucket.take(limit, now)
        if wait_ms:
            assert wait_ms <= 1000 / rate + 1
            now += wait_ms / 1000
            assert bucket.take(limit, now) == 0
        passed += 1
    assert passed <= burst + (now - 50.0) * rate + 1e-6


def test_100_refusals_within_10_s_are_hopeless() -> None:
    bucket = TokenBucket(LIMIT, 0.0)
    assert not any(bucket.exceeds_refusals(n * 0.1) for n in range(99))
    assert bucket.exceeds_refusals(10.0)


def test_refusals_spread_thinner_are_not() -> None:
    bucket = TokenBucket(LIMIT, 0.0)
    assert not any(bucket.exceeds_refusals(n * 0.102) for n in range(1000))


@pytest.mark.parametrize("offset", [0.0, 3.0, 9.9])
def test_the_10_s_begin_anywhere(offset: float) -> None:
    bucket = TokenBucket(LIMIT, 0.0)
    assert not bucket.exceeds_refusals(0.0)
    assert not any(bucket.exceeds_refusals(offset + 0.05) for _ in range(98))
    assert not bucket.exceeds_refusals(10.01)  # the first has been forgotten: 99 within 10 s
    assert bucket.exceeds_refusals(10.02)
