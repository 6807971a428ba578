"""Waiting in tests: one limit for everything that must come, and polling up to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 30.0
"""How long a test waits for what must come. Far more than it takes, so that a test does not fail
because the machine is busy: one that waits as long has failed."""


def poll(ask: Callable[[], T], wanted: Callable[[T], bool]) -> T:
    """Call ``ask`` until its answer is the wanted one; returns that answer."""
    deadline = time.monotonic() + PATIENCE_S
    while not wanted(answer := ask()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.01)
    return answer


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop run until a condition is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)
