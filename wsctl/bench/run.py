"""Runs a plan and returns its result, also after errors and Ctrl-C."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from wsctl.bench.credentials import Credentials
from wsctl.bench.load import Load
from wsctl.bench.plan import Plan
from wsctl.bench.report import progress
from wsctl.output.writer import Output
from wsctl.times import rfc3339

INTERRUPTED = "interrupted"
TOO_BAD = "too many errors"


def carry_out(
    output: Output, url: str, session_id: str, plan: Plan, credentials: Credentials
) -> dict[str, Any]:
    """Run the load and return the result; ``stopped`` is the reason of an early end, or None.

    Ctrl-C ends it with the result so far.
    """
    at, began, stopped = time.time(), time.monotonic(), None
    with progress(output) as step:
        load = Load(url, session_id, plan, credentials, step)
        try:
            asyncio.run(load.run())
        except KeyboardInterrupt:
            stopped = INTERRUPTED
    if load.is_stopped:
        stopped = stopped or TOO_BAD
    return {
        "url": url,
        "started_at": rfc3339(at),
        "took_s": round(time.monotonic() - began, 3),
        "stopped": stopped,
        "plan": plan.as_dict(),
        **load.results.result(),
    }
