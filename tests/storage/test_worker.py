"""The thread of a connection: what a fault of a round leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from wsserver.storage.engine.worker import Job, Worker


class Unsteady(Worker[str]):
    """Fails outside of its jobs, once; then it works."""

    def __init__(self) -> None:
        super().__init__("unsteady", queue_limit=10, on_lost=lambda count, error: None)
        self.failures = 1

    def _open(self) -> str:
        return "connection"

    def _work(self, db: str, jobs: Sequence[Job]) -> list[Any]:
        if self.failures:
            self.failures -= 1
            raise ValueError("a fault of the driver")
        return [db] * len(jobs)

    def _close(self, db: str) -> None:
        pass


@pytest.mark.gen_test
async def test_an_unexpected_error_refuses_a_round_and_not_all_later_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Unsteady()
    await worker.start()
    loop = asyncio.get_running_loop()
    for expected in (ValueError, None):
        future: asyncio.Future[Any] = loop.create_future()
        worker.put(Job(lambda db: None, future))
        if expected is None:
            assert await future == "connection"
        else:
            with pytest.raises(expected):
                await future
    await worker.stop()
    (record,) = [each for each in caplog.records if "storage thread failed" in each.msg]
    assert record.exc_info is not None


@pytest.mark.gen_test
async def test_a_fault_of_a_late_callback_keeps_no_outcome_from_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Unsteady()
    found: list[Any] = []

    def faulty(_: Any) -> None:
        raise ValueError("a fault of who was refused")

    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    lates = [Job(lambda db: None, None, late=late) for late in (faulty, found.append)]
    worker._deliver([*lates, Job(lambda db: None, future)], ["a", "b", "c"])
    assert (found, await future) == (["b"], "c")
    (record,) = caplog.records
    assert record.exc_info is not None
