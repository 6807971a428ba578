"""Clocks, as one object that tests replace, and RFC 3339 timestamps."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache, partial
from math import floor


class Clock:
    """The machine's clocks. Timers and limits use ``monotonic``; tokens and timestamps ``wall``."""

    # The functions themselves: these are called several times for each message.
    monotonic = staticmethod(time.monotonic)
    """Seconds since an arbitrary point; never goes back."""

    wall = staticmethod(partial(time.clock_gettime, time.CLOCK_REALTIME))
    """Seconds since the epoch, UTC; may jump when the machine's clock is set. As ``time.time``,
    which raises ``OverflowError`` from 2262 on."""


def widen_time() -> None:
    """Make ``time.time`` and ``time.time_ns`` work past 2262, in ``wsserver serve``.

    Where CPython keeps nanoseconds in 64 bits they raise ``OverflowError`` from then on, in
    logging and in Tornado too: a clock that was set wrongly would end the server.
    """
    time.time = partial(time.clock_gettime, time.CLOCK_REALTIME)
    time.time_ns = _time_ns


def _time_ns() -> int:
    return int(time.clock_gettime(time.CLOCK_REALTIME) * 1e9)


_FIRST_S = int(datetime(1000, 1, 1, tzinfo=UTC).timestamp())
_LAST_S = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
"""The years that RFC 3339 can write; %Y does not fill up those before 1000."""
SET_BACK_S = 2.0
"""Smaller steps are the usual correction."""


class Setbacks:
    """Detects that the wall clock was set back: events scheduled by it would come too late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = self._now()

    def seconds(self) -> float:
        """Seconds that it was set back since ``done``; 0 if it was not."""
        back_s = self._offset - self._now()
        if back_s < SET_BACK_S:
            self.done()
            return 0.0
        return back_s

    def done(self) -> None:
        """Note that scheduled events have been moved."""
        self._offset = self._now()

    def _now(self) -> float:
        return self._clock.wall() - self._clock.monotonic()


@lru_cache(maxsize=64)
def rfc3339(seconds: float) -> str:
    """Format seconds since the epoch as RFC 3339 UTC with milliseconds and ``Z``.

    Fractions of a millisecond are cut off, so that a text that is read is never later than its
    time, and the next millisecond always is; a text that is read and written again stays the same.
    Years before 1000 and after 9999 are shown as the first and last second that can be written.
    Cached, as a message has its time more than once, and a batch has one time.
    """
    return _text(_milliseconds(seconds))


def rfc3339_or_none(seconds: float | None) -> str | None:
    """``rfc3339`` of a time that may be missing."""
    return None if seconds is None else rfc3339(seconds)


def _milliseconds(seconds: float) -> int:
    # The product is rounded, so its floor may be one off: the quotients are what a text is read as.
    millis = floor(seconds * 1000)
    if millis / 1000 > seconds:
        return millis - 1
    if millis / 1000 < seconds >= (millis + 1) / 1000:
        return millis + 1
    return millis


@lru_cache(maxsize=64)
def _text(millis: int) -> str:
    """Format milliseconds; cached, as many messages share one."""
    second, rest = divmod(millis, 1000)
    return f"{_second(second)}.{rest:03d}Z"


@lru_cache(maxsize=64)
def _second(whole: int) -> str:
    """Format whole seconds; cached, as thousands of timestamps share one."""
    within = min(max(whole, _FIRST_S), _LAST_S)
    return f"{datetime.fromtimestamp(within, UTC):%Y-%m-%dT%H:%M:%S}"
