"""Policy of deliveries: channels, retries, digests, quiet hours, pace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from wsserver.notifications.channels.base import failed, retry, sent
from wsserver.notifications.delivery_policy import (
    DigestRule,
    Next,
    Pace,
    Retries,
    Sending,
    Step,
    after,
    plan,
    quiet_until,
)
from wsserver.protocol.notifications import QuietHours

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("type_", "steps"),
    [
        ("info", [Step("websocket")]),
        ("success", [Step("websocket")]),
        ("warning", [Step("websocket"), Step("email", 300, True)]),
        ("error", [Step("websocket"), Step("email")]),
        ("urgent", [Step("websocket"), Step("push"), Step("sms"), Step("email")]),
    ],
)
def test_the_channels_follow_from_the_type(type_: Any, steps: list[Step]) -> None:
    assert plan(type_) == steps


def test_named_channels_replace_the_defaults_and_their_escalation() -> None:
    assert plan("warning", Sending(channels=["sms", "sms"])) == [Step("sms")]
    later = Step("sms", 60, True)
    sending = Sending(escalate=[(60, "sms")])
    assert plan("warning", sending) == [Step("websocket"), later]
    assert plan("warning", Sending(escalate=[])) == [Step("websocket")]
    sending = Sending(channels=["email"], escalate=[(60, "sms")])
    assert plan("info", sending) == [Step("email"), later]


def test_the_backoff_doubles_up_to_five_minutes() -> None:
    retries = Retries(2.0, 8)
    delays = [retries.delay_s(attempt, 0) for attempt in (1, 2, 3, 7, 8, 9, 5000)]
    assert delays == [2, 4, 8, 128, 256, 300, 300]
    assert retries.delay_s(1, -1) == pytest.approx(1.6)
    assert retries.delay_s(1, 1) == pytest.approx(2.4)


def test_a_fault_that_may_pass_is_tried_again_until_it_was_tried_often_enough() -> None:
    def next_(attempt: int, outcome: Any, **options: Any) -> Next:
        return after(outcome, attempt=attempt, now=NOW, retries=Retries(2, 3), jitter=0, **options)

    assert next_(1, retry("busy")) == Next("pending", NOW + 2)
    assert next_(2, retry("busy", 90)) == Next("pending", NOW + 90)
    assert next_(2, retry("busy", 1)) == Next("pending", NOW + 4)
    assert next_(3, retry("busy")) == Next("failed")
    assert next_(3, retry("busy"), gives_up=False) == Next("pending", NOW + 8)
    assert next_(1, failed("unknown recipient")) == Next("failed")
    assert next_(3, sent("250 ok")) == Next("sent")


def test_the_jitter_spreads_what_failed_together() -> None:
    dues = [after(retry(""), attempt=1, now=NOW, retries=Retries(10, 8)).due_at for _ in range(200)]
    assert min(filter(None, dues)) >= NOW + 8
    assert max(filter(None, dues)) <= NOW + 12
    assert len(set(dues)) > 100


def test_one_too_many_within_the_window_waits_for_its_end() -> None:
    rule = DigestRule(3, 300)
    assert rule.held_until([NOW - 10, NOW - 20], NOW) is None
    assert rule.held_until([NOW - 10, NOW - 200, NOW - 20], NOW) == NOW + 100
    assert rule.held_until([NOW - 10, NOW - 300, NOW - 20], NOW) is None


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2024-01-15T13:59:59", None),  # 21:59:59 in Shanghai
        ("2024-01-15T14:00:00", "2024-01-15T23:00:00"),
        ("2024-01-15T18:00:00", "2024-01-15T23:00:00"),
        ("2024-01-15T22:59:59", "2024-01-15T23:00:00"),
        ("2024-01-15T23:00:00", None),
    ],
)
def test_quiet_hours_over_midnight(now: str, end: str | None) -> None:
    hours = QuietHours("22:00", "07:00", "Asia/Shanghai")
    assert quiet_until(hours, at(now)) == (None if end is None else at(end))


def test_quiet_hours_within_a_day_and_none_at_all() -> None:
    hours = QuietHours("12:00", "13:30")
    assert quiet_until(hours, at("2024-01-15T12:00:00")) == at("2024-01-15T13:30:00")
    assert quiet_until(hours, at("2024-01-15T13:30:00")) is None
    assert quiet_until(QuietHours("12:00", "12:00"), at("2024-01-15T12:00:00")) is None
    assert quiet_until(None, NOW) is None


def test_quiet_hours_end_later_than_now_also_when_clocks_are_set_back() -> None:
    hours = QuietHours("01:00", "02:30", "Europe/Berlin")  # 03:00 becomes 02:00 on 27 October 2024
    now = at("2024-10-27T00:45:00")  # 02:45 the first time: past the end
    assert quiet_until(hours, now) is None
    again = at("2024-10-27T01:15:00")  # 02:15 the second time
    assert quiet_until(hours, again) == at("2024-10-27T01:30:00")


def test_a_time_zone_that_is_none_is_an_error() -> None:
    for name in ("Nowhere/Else", "../etc/passwd", ""):
        with pytest.raises(ValueError, match="time zone"):
            quiet_until(QuietHours("12:00", "13:00", name), NOW)


def test_a_rate_lets_a_burst_through_and_then_its_own_pace() -> None:
    pace = Pace(10.0, 100.0)
    assert pace.available(100.0) == 10
    pace.take(10)
    assert pace.available(100.0) == 0
    assert pace.wait_s == pytest.approx(0.1)
    assert pace.available(100.5) == 5
    assert pace.available(1000.0) == 10


def test_a_slow_rate_lets_one_at_a_time_through() -> None:
    pace = Pace(0.1, 0.0)
    assert pace.available(0.0) == 1
    pace.take(1)
    assert pace.available(9.0) == 0
    assert pace.wait_s == pytest.approx(1.0)
    assert pace.available(10.0) == 1
