"""Backoff between restarts."""

from __future__ import annotations

from wsserver.workers.backoff import LONGEST_S, STABLE_S, Backoff


def test_the_first_restart_is_immediate_and_the_others_wait_longer_each_time() -> None:
    backoff = Backoff()
    delays = [backoff.delay_s(0.1) for _ in range(12)]
    assert delays[:4] == [0.0, 0.25, 0.5, 1.0]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_S


def test_a_long_run_makes_the_former_failures_forgotten() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.delay_s(0.1)
    assert backoff.delay_s(STABLE_S) == 0.0
    assert backoff.delay_s(0.1) == 0.25


def test_the_delay_does_not_overflow() -> None:
    backoff = Backoff()
    assert max(backoff.delay_s(0.0) for _ in range(5000)) == LONGEST_S
