"""The two clocks, behind one object so that tests can move time."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """The machine's clocks. Timers and limits use ``monotonic``; tokens and timestamps ``wall``."""

    def monotonic(self) -> float:
        """Seconds that only ever grow; the zero point means nothing."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch, UTC; may jump when the machine's clock is set."""
        return time.time()


def rfc3339(seconds: float) -> str:
    """Format seconds since the epoch as RFC 3339 UTC with milliseconds and ``Z``.

    What is beyond a millisecond is cut off, so that a text never lies after its moment; a text
    that is read and written again stays the same.
    """
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{micros // 1000:03d}Z"
