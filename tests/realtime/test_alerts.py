from __future__ import annotations

import pytest

from wsserver.realtime.observability.alerts import MIN_ERRORS, ErrorRateAlert


def test_an_alert_is_raised_once_and_cleared_once_the_errors_are_out_of_the_window() -> None:
    alert = ErrorRateAlert(0.05, 60)
    changes = []
    errors = operations = 0
    for second in range(200):
        operations += 100
        if 50 <= second < 60:
            errors += 50
        verdict = alert.observe(1000.0 + second, errors, operations)
        if verdict.has_changed:
            changes.append((second, verdict.is_raised))
    assert changes[0] == (55, True)  # 300 of 5500 are over 5 %; 250 of 5400 were not yet
    assert [raised for _, raised in changes] == [True, False]
    assert 110 <= changes[1][0] <= 121


def test_a_rate_at_the_threshold_is_no_alarm_and_one_above_is() -> None:
    alert = ErrorRateAlert(0.05, 60)
    alert.observe(0.0, 0, 0)
    assert not alert.observe(1.0, 50, 1000).is_raised
    assert alert.observe(2.0, 51, 1000).is_raised


def test_a_handful_of_errors_raises_no_alert() -> None:
    alert = ErrorRateAlert(0.05, 60)
    alert.observe(0.0, 0, 0)
    assert not alert.observe(1.0, MIN_ERRORS - 1, MIN_ERRORS - 1).is_raised
    verdict = alert.observe(2.0, MIN_ERRORS, MIN_ERRORS)
    assert (verdict.is_raised, verdict.rate) == (True, 1.0)


def test_errors_before_the_first_look_count() -> None:
    alert = ErrorRateAlert(0.05, 10)
    assert alert.observe(1000.0, 20, 40) == (0.5, True, True)
    assert not alert.observe(1010.0, 20, 40).is_raised


def test_errors_from_before_the_window_do_not_count() -> None:
    alert = ErrorRateAlert(0.05, 10)
    alert.observe(0.0, 100, 100)
    assert not alert.observe(20.0, 100, 200).is_raised


def test_silence_is_no_error() -> None:
    alert = ErrorRateAlert(0.05, 10)
    assert alert.observe(0.0, 0, 0).rate == 0
    assert alert.observe(100.0, 0, 0).rate == 0


@pytest.mark.parametrize(("window_s", "period_s"), [(60, 1.0), (1, 0.1), (0.1, 0.05)])
def test_it_is_looked_at_often_enough_for_its_window(window_s: float, period_s: float) -> None:
    assert ErrorRateAlert(0.05, window_s).period_s == pytest.approx(period_s)
