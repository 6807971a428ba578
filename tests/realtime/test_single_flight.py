"""Single flight: concurrent calls with the same key share one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.fake_stream_store import Gate
from tests.support.live_server import settle
from wsserver.realtime.streams.concurrency import SingleFlight
from wsserver.tasks import Tasks


class Calls:
    def __init__(self) -> None:
        self.tasks = Tasks()
        self.flights: SingleFlight[int] = SingleFlight(self.tasks)
        self.gate = Gate()
        self.made: list[str] = []
        self.error: Exception | None = None

    def call(self, key: str) -> Callable[[], Awaitable[int]]:
        async def call() -> int:
            self.made.append(key)
            await self.gate.passed()
            if self.error is not None:
                raise self.error
            return len(self.made)

        return call

    def ask(self, key: str) -> asyncio.Task[int]:
        return asyncio.ensure_future(self.flights.do(key, self.call(key)))


@pytest.mark.gen_test
async def test_one_call_serves_all_who_ask_meanwhile() -> None:
    calls = Calls()
    asked = [calls.ask(key) for key in "aaab"]
    await calls.gate.reached()
    asked.append(calls.ask("a"))
    await settle()
    calls.gate.open()
    assert await asyncio.gather(*asked) == [2] * 5
    assert calls.made == ["a", "b"]
    assert await calls.ask("a") == 3


@pytest.mark.gen_test
async def test_a_failure_is_for_all_and_does_not_last() -> None:
    calls = Calls()
    calls.error = ZeroDivisionError()
    asked = [calls.ask("a") for _ in range(3)]
    calls.gate.open()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(each) for each in outcomes} == {ZeroDivisionError}
    calls.error = None
    assert await calls.ask("a") == 2


@pytest.mark.gen_test
async def test_the_call_goes_on_when_who_asked_first_gives_up() -> None:
    calls = Calls()
    first, second = calls.ask("a"), calls.ask("a")
    await calls.gate.reached()
    first.cancel()
    calls.gate.open()
    assert await second == 1
    third = calls.ask("a")
    calls.error = ZeroDivisionError("not awaited")
    third.cancel()
    await settle()
    assert len(calls.tasks) == 0


@pytest.mark.gen_test
async def test_at_the_end_no_caller_waits_for_ever() -> None:
    calls = Calls()
    asked = calls.ask("a")
    await calls.gate.reached()
    await calls.tasks.cancel()
    await settle()
    assert asked.cancelled()
