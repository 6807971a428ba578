"""Periods of quotas: days and months of a time zone, daylight saving included, or for ever."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Kind = Literal["day", "month", "total"]


class Period(NamedTuple):
    """A period: from its start, inclusive, to its end, exclusive; seconds since the epoch."""

    key: str
    """``2024-01-15``, ``2024-01`` or ``total``."""
    starts_at: float
    ends_at: float | None
    """None: never."""


FOREVER = Period("total", 0.0, None)


def period_at(kind: Kind, zone: str, at: float) -> Period:
    """The period that a moment belongs to.

    A day begins at midnight by the clocks of the time zone. Where these skip midnight, it begins at
    the moment of the change; where they show it twice, at the first one.
    """
    if kind == "total":
        return FOREVER
    where = zone_of(zone)
    day = datetime.fromtimestamp(at, where).date()
    if kind == "month":
        first = day.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
        return Period(f"{first:%Y-%m}", _midnight(first, where), _midnight(following, where))
    return Period(day.isoformat(), _midnight(day, where), _midnight(day + timedelta(days=1), where))


@lru_cache(maxsize=1000)
def zone_of(name: str) -> ZoneInfo:
    """The time zone of a name; raises ``ValueError`` for an unknown one."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: the name of a folder
        raise ValueError(f"{name[:64]!r} is no time zone, such as Asia/Shanghai") from error


def _midnight(day: date, where: ZoneInfo) -> float:
    moment = datetime(day.year, day.month, day.day, tzinfo=where)
    seconds = moment.timestamp()
    if datetime.fromtimestamp(seconds, where).date() < day:
        # Clocks that were set back over midnight: the new day has begun after that.
        return _after_midnight(day, where, seconds)
    return seconds


def _after_midnight(day: date, where: ZoneInfo, earliest: float) -> float:
    """The first second of a day, which is at most a few hours after ``earliest``."""
    low, high = int(earliest), int(earliest) + 6 * 3600
    while low < high:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, where).date() < day:
            low = middle + 1
        else:
            high = middle
    return float(low)
