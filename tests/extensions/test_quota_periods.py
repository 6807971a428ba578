"""Periods of quotas by time zone, and amounts."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver.extensions.quotas.amounts import LARGEST_AMOUNT, SCALE, to_millionths, to_number
from wsserver.extensions.quotas.periods import FOREVER, Period, period_at, zone_of

ZONES = (
    *("UTC", "Asia/Shanghai", "Asia/Kathmandu", "Europe/Berlin", "America/New_York"),
    *("America/Sao_Paulo", "America/Havana", "America/Asuncion", "Asia/Beirut", "Africa/Cairo"),
    *("Pacific/Apia", "Pacific/Kwajalein", "Australia/Lord_Howe", "Antarctica/Troll"),
    *("America/Scoresbysund", "Atlantic/Azores", "Asia/Amman", "America/St_Johns"),
)
"""Among them zones whose clocks change at midnight, or that have left out a whole day."""


def at(zone: str, *moment: int) -> float:
    return datetime(*moment, tzinfo=ZoneInfo(zone)).timestamp()  # type: ignore[misc, arg-type]


@given(st.floats(0, 4_000_000_000), st.sampled_from(ZONES), st.sampled_from(["day", "month"]))
def test_periods_follow_each_other_without_a_gap(moment: float, zone: str, kind: Any) -> None:
    period = period_at(kind, zone, moment)
    assert period.ends_at is not None
    assert period.starts_at <= moment < period.ends_at
    assert period_at(kind, zone, period.starts_at) == period
    following = period_at(kind, zone, period.ends_at)
    assert following.starts_at == period.ends_at
    assert following.key > period.key
    before = period_at(kind, zone, period.starts_at - 0.001)
    assert (before.ends_at, before.key < period.key) == (period.starts_at, True)


@given(st.floats(0, 4_000_000_000), st.sampled_from(ZONES))
def test_a_day_lies_in_its_month(moment: float, zone: str) -> None:
    day, month = period_at("day", zone, moment), period_at("month", zone, moment)
    assert day.key.startswith(month.key)
    assert month.starts_at <= day.starts_at
    assert day.ends_at is not None
    assert month.ends_at is not None
    assert day.ends_at <= month.ends_at


@pytest.mark.parametrize(
    ("zone", "moment", "key", "hours"),
    [
        ("Europe/Berlin", (2024, 3, 31, 12), "2024-03-31", 23),
        ("Europe/Berlin", (2024, 10, 27, 12), "2024-10-27", 25),
        ("Asia/Shanghai", (2024, 2, 29, 12), "2024-02-29", 24),
        ("America/Sao_Paulo", (2018, 11, 4, 12), "2018-11-04", 23),  # no midnight
        ("America/Sao_Paulo", (2018, 2, 17, 12), "2018-02-17", 25),  # 23 o'clock twice
        ("America/Havana", (2024, 11, 3, 12), "2024-11-03", 25),  # midnight twice
    ],
)
def test_days_on_which_clocks_change(
    zone: str, moment: tuple[int, ...], key: str, hours: int
) -> None:
    period = period_at("day", zone, at(zone, *moment))
    assert period.key == key
    assert period.ends_at is not None
    assert period.ends_at - period.starts_at == hours * 3600


def test_months_and_for_ever() -> None:
    zone = "Asia/Shanghai"
    found = period_at("month", zone, at(zone, 2024, 12, 31, 23, 59, 59))
    assert found == Period("2024-12", at(zone, 2024, 12, 1), at(zone, 2025, 1, 1))
    assert period_at("total", zone, 1e9) == FOREVER


@pytest.mark.parametrize(
    "name", ["Mars/Base", "", "/etc/passwd", "../UTC", "Europe", "a\0b", "x" * 90]
)
def test_what_is_no_time_zone(name: str) -> None:
    with pytest.raises(ValueError, match="is no time zone"):
        zone_of(name)


@given(st.floats(0, LARGEST_AMOUNT, allow_nan=False))
def test_amounts_are_counted_in_millionths(value: float) -> None:
    millionths = to_millionths(value)
    assert abs(Decimal(millionths) / SCALE - Decimal(repr(value))) <= Decimal("0.0000005")
    shown = to_number(millionths)
    assert to_millionths(shown) == millionths or millionths > 2**52


def test_amounts_that_binary_fractions_cannot_hold_add_up() -> None:
    assert sum(to_millionths(0.1) for _ in range(10)) == to_millionths(1)
    assert (to_number(to_millionths(812.0)), to_number(1)) == (812, 0.000001)
    assert isinstance(to_number(to_millionths(812.0)), int)
