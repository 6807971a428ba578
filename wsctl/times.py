"""Parsing and formatting of times: ages, durations, RFC 3339; option types for click."""

from __future__ import annotations

import math
import re
import time
from abc import abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _SecondsType = click.ParamType[float]
else:  # older clicks know no such subscript
    _SecondsType = click.ParamType

_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d|w)", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME_OF_DAY = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?", re.ASCII)
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_LONGEST_S = 100 * 366 * 86400.0


def parse_duration(text: str) -> float:
    """Seconds of ``30s``, ``5m``, ``1h30m``, ``2d``; more than zero, at most 100 years.

    Raises ``ValueError`` with a message for the user.
    """
    seconds, end = 0.0, 0
    while match := _PART.match(text, end):
        seconds += float(match[1]) * _UNITS_S[match[2]]
        end = match.end()
    if end == 0 or end != len(text):
        raise ValueError(f"{text!r} is not a duration: write it as 30s, 5m, 24h or 7d")
    if not 0 < seconds <= _LONGEST_S:
        raise ValueError(f"{text!r} is out of range")
    return seconds


def parse_moment(text: str, now: float) -> float:
    """Seconds since the epoch of an RFC 3339 time, a date (midnight UTC), an age before ``now``
    or a local time of day: the last one before ``now``.

    Raises ``ValueError`` with a message for the user.
    """
    if _PART.match(text):
        return now - parse_duration(text)
    if match := _TIME_OF_DAY.fullmatch(text):
        return _last_time(now, int(match[1]), int(match[2]), int(match[3] or 0))
    if not (_RFC3339.fullmatch(text) or _DATE.fullmatch(text)):
        raise ValueError(
            f"{text!r} is not a time: write 2024-01-15T14:30:00Z (with Z or an offset"
            " such as +08:00), 2024-01-15, 14:30 (local), or an age such as 24h"
        )
    try:
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a time: {error}") from None


def _last_time(now: float, hour: int, minute: int, second: int) -> float:
    # When clocks change, an hour that occurs twice has two moments, a skipped one has none.
    today = datetime.fromtimestamp(now).date()
    moments = []
    for days in range(3):
        day = today - timedelta(days=days)
        for fold in (0, 1):
            moment = datetime(day.year, day.month, day.day, hour, minute, second, fold=fold)
            seconds = moment.timestamp()
            if seconds <= now and datetime.fromtimestamp(seconds) == moment:
                moments.append(seconds)
    return max(moments)


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 UTC, cut to milliseconds as the server does."""
    whole, millis = divmod(milliseconds(seconds), 1000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


def milliseconds(seconds: float) -> int:
    """The last whole millisecond that is not after ``seconds``.

    ``milliseconds(seconds) / 1000`` is what the RFC 3339 text of ``seconds`` is read back as.
    """
    # The product is rounded, so its floor may be one off.
    millis = math.floor(seconds * 1000)
    if millis / 1000 > seconds:
        return millis - 1
    if millis / 1000 < seconds >= (millis + 1) / 1000:
        return millis + 1
    return millis


def epoch(value: Any) -> float | None:
    """Seconds since the epoch of a time in the server's JSON; None for anything else."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None


def readable(seconds: float) -> str:
    """A duration in its two largest units: ``3 d 4 h``, ``12 min 5 s``, ``0.4 s``."""
    if seconds < 0:
        return "-" + readable(-seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (secs, "s")]
    while parts and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{number} {unit}" for number, unit in parts[:2] if number) or "0 s"


def clock_time(value: Any) -> str:
    """A server's time as local time of day, ``14:30:05``; other values unchanged."""
    seconds = epoch(value)
    if seconds is None:
        return str(value or "")
    return f"{datetime.fromtimestamp(seconds).astimezone():%H:%M:%S}"


def date_time(value: Any) -> str:
    """A server's time as local time, ``2024-01-15 14:30:05``; other values unchanged."""
    seconds = epoch(value)
    if seconds is None:
        return str(value or "")
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"


def day_time(value: Any) -> str:
    """``date_time`` without the current year: ``01-15 14:30:05``."""
    return date_time(value).removeprefix(f"{datetime.now():%Y-}")


def local_time(seconds: float) -> str:
    """Local time with its date and zone: ``2024-01-15 14:30:05 +0800``."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S %z}"


def age(value: Any, now: float) -> str:
    """How long ago a server's time was, readable; empty for no time."""
    seconds = epoch(value)
    return "" if seconds is None else readable(max(0.0, now - seconds))


class _Seconds(_SecondsType):
    """An option type whose value is seconds; subclasses parse the text."""

    @staticmethod
    @abstractmethod
    def read(text: str) -> float:
        """Seconds; raises ``ValueError`` for invalid text."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds; a usage error for invalid text."""
        if isinstance(value, float):
            return value
        try:
            return self.read(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Duration(_Seconds):
    """An option such as ``5m``; its value is seconds."""

    name = "age"

    @staticmethod
    def read(text: str) -> float:
        """See ``parse_duration``."""
        return parse_duration(text)


class Moment(_Seconds):
    """An option such as ``24h`` or ``2024-01-15T14:30:00Z``; its value is seconds since 1970."""

    name = "time"

    @staticmethod
    def read(text: str) -> float:
        """See ``parse_moment``; ages count from now."""
        return parse_moment(text, time.time())
