"""The pool of reading threads: reads of one caller do not delay another."""

from __future__ import annotations

import asyncio
import threading

import pytest
import sqlite_utils

from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.fair_queue import caller, read_for, reading_for
from wsserver.storage.engine.reader import CALLER_LIMIT, THREADS


class Long:
    """A read that goes on until it is let go."""

    def __init__(self) -> None:
        self.count = 0
        self.has_begun = threading.Event()
        self._may_end = threading.Event()

    def __call__(self, db: sqlite_utils.Database) -> int:
        self.count += 1
        self.has_begun.set()
        assert self._may_end.wait(10)
        return self.count

    def end(self) -> None:
        self._may_end.set()


def one(db: sqlite_utils.Database) -> int:
    return int(db.execute("SELECT 1").fetchone()[0])


@pytest.mark.gen_test
async def test_the_long_reads_of_one_user_leave_the_other_threads_to_others(
    database: Database,
) -> None:
    long = Long()
    with reading_for("greedy"):
        greedy = [asyncio.ensure_future(database.read(long)) for _ in range(50)]
    await asyncio.to_thread(long.has_begun.wait, 10)
    with reading_for("modest"):
        assert await database.read(one) == 1
    assert await database.read(one) == 1  # the server's own
    assert long.count == 1
    long.end()
    assert await asyncio.gather(*greedy) == list(range(1, 51))


@pytest.mark.gen_test
async def test_the_servers_own_reads_run_side_by_side(database: Database) -> None:
    together = threading.Barrier(THREADS)

    def meet(db: sqlite_utils.Database) -> int:
        together.wait(10)
        return one(db)

    assert await asyncio.gather(*[database.read(meet) for _ in range(THREADS)]) == [1] * THREADS


@pytest.mark.gen_test
async def test_one_caller_cannot_fill_the_queue_of_all(database: Database) -> None:
    long = Long()
    with reading_for("greedy"):
        greedy = [asyncio.ensure_future(database.read(long)) for _ in range(CALLER_LIMIT + 3)]
        await asyncio.to_thread(long.has_begun.wait, 10)
    long.end()
    outcomes = await asyncio.gather(*greedy, return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, StorageUnavailable)]
    assert 1 <= len(refused) <= 3
    assert "your requests" in str(refused[0])
    assert await database.read(one) == 1


@pytest.mark.gen_test
async def test_closing_finishes_what_waits(database: Database) -> None:
    long = Long()
    with reading_for("u1"):
        reads = [asyncio.ensure_future(database.read(long)) for _ in range(5)]
    await asyncio.to_thread(long.has_begun.wait, 10)
    closing = asyncio.ensure_future(database.close())
    await asyncio.sleep(0)
    with pytest.raises(StorageUnavailable):
        await database.read(one)
    long.end()
    assert await asyncio.gather(*reads) == [1, 2, 3, 4, 5]
    await closing


@pytest.mark.gen_test
async def test_each_task_reads_for_its_own_user() -> None:
    async def caller_of(user_id: str) -> str | None:
        read_for(user_id)
        await asyncio.sleep(0)
        return caller()

    tasks = [asyncio.ensure_future(caller_of(name)) for name in ("a", "b")]
    assert await asyncio.gather(*tasks) == ["a", "b"]
    assert caller() is None
