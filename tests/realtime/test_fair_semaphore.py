"""Slots are assigned fairly, and none is lost by cancelling."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support.live_server import settle
from tests.support.waiting import PATIENCE_S
from wsserver.realtime.streams.concurrency import FairSemaphore


class Work:
    """Running calls, each until the test ends it."""

    def __init__(self, at_once: int) -> None:
        self.turns = FairSemaphore(at_once)
        self.begun: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    def ask(self, *names: str) -> None:
        """The caller is the name's first letter; ``-1`` has none."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.ensure_future(self._do(name))

    async def _do(self, name: str) -> None:
        async with self.turns.turn(None if name[0] == "-" else name[0]):
            self.begun.append(name)
            await self._ends[name].wait()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await settle()


@pytest.mark.gen_test
async def test_callers_take_turns_and_each_has_one_at_a_time() -> None:
    work = Work(2)
    work.ask("a1", "a2", "a3", "b1", "c1")
    await settle()
    assert work.begun == ["a1", "b1"]
    await work.end("b1")
    assert work.begun == ["a1", "b1", "c1"]
    await work.end("c1")
    assert work.begun == ["a1", "b1", "c1"]  # there is room, but not for another of a's
    await work.end("a1", "a2", "a3")
    assert work.begun == ["a1", "b1", "c1", "a2", "a3"]
    assert len(work.turns) == 0


@pytest.mark.gen_test
async def test_without_a_caller_it_is_a_semaphore() -> None:
    work = Work(2)
    work.ask("-1", "-2", "-3")
    await settle()
    assert work.begun == ["-1", "-2"]
    await work.end("-1", "-2", "-3")
    assert work.begun == ["-1", "-2", "-3"]


@pytest.mark.gen_test
async def test_no_turn_is_lost_by_cancelling() -> None:
    chance = random.Random(3)
    work = Work(3)
    names = [f"{chance.choice('abcd-')}{number}" for number in range(300)]
    work.ask(*names)
    for name in names:
        if chance.random() < 0.5:
            if chance.random() < 0.5:
                await asyncio.sleep(0)
            work.tasks[name].cancel()
        else:
            work._ends[name].set()
    await asyncio.wait_for(asyncio.gather(*work.tasks.values(), return_exceptions=True), PATIENCE_S)
    assert len(work.turns) == 0
    work.ask("x1", "y1", "z1")
    await settle()
    assert work.begun[-3:] == ["x1", "y1", "z1"]
    await work.end("x1", "y1", "z1")
