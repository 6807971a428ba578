"""The limit of wrong secrets for each client address."""

from __future__ import annotations

from tests.support.fake_clock import FakeClock
from wsserver.web.http.failed_attempts import ADDRESS_LIMIT, BURST, PERIOD_S, FailedAttempts


def test_a_burst_then_one_a_period() -> None:
    clock = FakeClock()
    failures = FailedAttempts(clock)
    for _ in range(BURST):
        assert failures.wait_s("192.0.2.1") == 0
        failures.add("192.0.2.1")
    assert failures.wait_s("192.0.2.1") == PERIOD_S
    assert failures.wait_s("192.0.2.2") == 0
    clock.advance(PERIOD_S)
    assert failures.wait_s("192.0.2.1") == 0
    failures.add("192.0.2.1")
    assert failures.wait_s("192.0.2.1") == PERIOD_S
    clock.advance(BURST * PERIOD_S)
    for _ in range(BURST):
        assert failures.wait_s("192.0.2.1") == 0
        failures.add("192.0.2.1")


def test_a_network_of_ipv6_is_one_client() -> None:
    failures = FailedAttempts(FakeClock())
    for number in range(BURST):
        failures.add(f"2001:db8::{number:x}")
    assert failures.wait_s("2001:db8::ffff") > 0
    assert failures.wait_s("2001:db8:0:1::1") == 0


def test_addresses_are_bounded() -> None:
    failures = FailedAttempts(FakeClock())
    for _ in range(BURST):
        failures.add("192.0.2.1")
    for number in range(ADDRESS_LIMIT):
        failures.add(f"10.0.{number >> 8}.{number & 255}")
    assert failures.wait_s("192.0.2.1") == 0, "it was forgotten"
