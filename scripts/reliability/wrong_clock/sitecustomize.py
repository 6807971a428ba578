"""Sets the wall clock of this process wrong by ``TORTURE_CLOCK_S``; Python imports it by itself."""

from __future__ import annotations

import os
import time

_wrong_s = float(os.environ.get("TORTURE_CLOCK_S", "0"))
_real = time.clock_gettime


def _clock_gettime(clock: int) -> float:
    return _real(clock) + (_wrong_s if clock == time.CLOCK_REALTIME else 0.0)


def _now() -> float:
    return _clock_gettime(time.CLOCK_REALTIME)


time.clock_gettime = _clock_gettime
time.time = _now
time.time_ns = lambda: int(_now() * 1e9)
