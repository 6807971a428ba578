from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.snapshot_rows import snapshot
from wsserver.errors import BadRequest, StorageUnavailable
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.sql_leases import Fence, LeaseLost
from wsserver.storage.tables.snapshots import DAY_S, FIELDS, PrunedSnapshots, Snapshots

START = 1_700_000_000 // 3600 * 3600.0


@pytest.fixture
def snapshots(database: Database) -> Snapshots:
    return Snapshots(database)


async def everything(snapshots: Snapshots, **options: Any) -> list[dict[str, Any]]:
    return (await snapshots.history(0, 1e11, **options)).items


@pytest.mark.gen_test
async def test_a_snapshot_comes_back_as_it_was_given(snapshots: Snapshots) -> None:
    given = snapshot(START + 0.123456, 5, uptime_s=1.5, lag_ms=float("nan"), version="测试")
    await snapshots.add(given)
    assert await everything(snapshots) == [{**given, "lag_ms": None, "samples": 1}]


@pytest.mark.gen_test
async def test_a_retry_adds_nothing(snapshots: Snapshots) -> None:
    await snapshots.add(snapshot(START, 1))
    await snapshots.add(snapshot(START, 1))
    assert len(await everything(snapshots)) == 1


@pytest.mark.gen_test
async def test_numbers_go_on_and_one_is_taken_in_a_period(snapshots: Snapshots) -> None:
    def taken(at: float) -> dict[str, Any]:
        return {name: value for name, value in snapshot(at).items() if name != "sequence"}

    assert await snapshots.add(taken(START), not_within_s=30) == 1
    assert await snapshots.add(taken(START + 29), not_within_s=30) is None
    assert await snapshots.add(taken(START + 29)) == 2
    assert await snapshots.add(taken(START + 59), not_within_s=30) == 3
    assert await snapshots.add(taken(START - 100), not_within_s=30) == 4  # the clock was set back
    assert sorted(item["sequence"] for item in await everything(snapshots)) == [1, 2, 3, 4]


@pytest.mark.gen_test
async def test_a_process_that_lost_its_lease_neither_adds_nor_averages(
    database: Database, snapshots: Snapshots
) -> None:
    await snapshots.add(snapshot(START, 1))
    await database.run(
        lambda db: db.execute("INSERT INTO leases VALUES ('snapshot', 'other', 8)").rowcount
    )
    late = Fence("snapshot", 7)
    with pytest.raises(LeaseLost):
        await snapshots.add(snapshot(START + 60, 2), late)
    with pytest.raises(LeaseLost):
        await snapshots.prune(START + 31 * DAY_S, 30, late)
    assert [item["sequence"] for item in await everything(snapshots)] == [1]
    await snapshots.add(snapshot(START + 60, 2), late._replace(number=8))
    assert len(await everything(snapshots)) == 2


@pytest.mark.gen_test
async def test_since_is_inclusive_and_until_exclusive(snapshots: Snapshots) -> None:
    for n in range(4):
        await snapshots.add(snapshot(START + 60 * n, n))
    page = await snapshots.history(START + 60, START + 180)
    assert [item["sequence"] for item in page.items] == [1, 2]
    assert (page.total, page.next_cursor) == (2, None)


@pytest.mark.gen_test
async def test_pages_hold_everything_once(snapshots: Snapshots) -> None:
    for n in range(5):
        for node in ("n1", "n2"):
            await snapshots.add(snapshot(START + n // 2, n, node))
    seen: list[tuple[str, int]] = []
    cursor = None
    while True:
        items, total, cursor = await snapshots.history(0, 1e11, limit=3, cursor=cursor)
        assert total == 10
        seen += [(item["node"], item["sequence"]) for item in items]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 10
    assert [n for node, n in seen if node == "n1"] == [0, 1, 2, 3, 4]


@pytest.mark.gen_test
@pytest.mark.parametrize("cursor", ["", "x", "é", "W10", "WzEsMl0", "bnVsbA", "W251bGwsIm4iLDFd"])
async def test_a_cursor_that_is_none_is_refused(snapshots: Snapshots, cursor: str) -> None:
    with pytest.raises(BadRequest):
        await snapshots.history(0, 1e11, cursor=cursor)


@pytest.mark.gen_test
async def test_a_step_keeps_the_last_of_each_node(snapshots: Snapshots) -> None:
    for n in range(10):
        await snapshots.add(snapshot(START + 60 * n, n, "n1"))
    await snapshots.add(snapshot(START + 30, 99, "n2"))
    items = await everything(snapshots, step_s=300)
    assert [(item["node"], item["sequence"]) for item in items] == [
        ("n2", 99),
        ("n1", 4),
        ("n1", 9),
    ]
    first = await snapshots.history(0, 1e11, step_s=300, limit=2)
    rest = await snapshots.history(0, 1e11, step_s=300, limit=2, cursor=first.next_cursor)
    assert first.items + rest.items == items
    assert first.total == 3


@pytest.mark.gen_test
async def test_whole_hours_past_the_retention_become_means(snapshots: Snapshots) -> None:
    for minute in range(120):
        await snapshots.add(snapshot(START + 60 * minute, minute, rate=0.5 * minute, host="h"))
    now = START + 30 * DAY_S + 3600 + 1800  # the second hour is half past its retention
    assert await snapshots.prune(now, 30) == PrunedSnapshots(averaged=60, dropped=0)
    items = await everything(snapshots)
    assert len(items) == 61
    mean = items[0]
    assert (mean["timestamp"], mean["sequence"], mean["samples"]) == (START, None, 60)
    assert [mean[name] for name in FIELDS] == [29.5 + n for n in range(len(FIELDS))]
    assert mean["rate"] == 14.75
    assert "host" not in mean
    assert items[1]["timestamp"] == START + 3600


@pytest.mark.gen_test
async def test_pruning_again_changes_nothing(snapshots: Snapshots) -> None:
    for n in range(700):
        await snapshots.add(snapshot(START + 20 * n, n, f"n{n % 2}", rate=n))
    now = START + 40 * DAY_S
    assert (await snapshots.prune(now, 30)).averaged == 700
    means = await everything(snapshots)
    assert sum(mean["samples"] for mean in means) == 700
    assert await snapshots.prune(now, 30) == PrunedSnapshots(0, 0)
    assert await everything(snapshots) == means


@pytest.mark.sqlite_only
@pytest.mark.gen_test
async def test_an_interrupted_run_is_continued_exactly(
    database: Database, snapshots: Snapshots, path: Path
) -> None:
    for n in range(650):  # one hour, three batches
        await snapshots.add(snapshot(START + 5 * n, n, rate=n))
    now = START + 40 * DAY_S

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        # After the first batch, the file is removed.
        real_run, rounds = database.run, 0

        async def run(fn: Callable[..., Any]) -> Any:
            nonlocal rounds
            rounds += 1
            if rounds == 2:
                other.execute("BEGIN IMMEDIATE")
            return await real_run(fn)

        database.run = run  # type: ignore[method-assign, assignment]
        with pytest.raises(StorageUnavailable):
            await snapshots.prune(now, 30)
        database.run = real_run  # type: ignore[method-assign]
        other.execute("ROLLBACK")
    partly = await everything(snapshots)
    assert sum(item["samples"] for item in partly) == 650
    assert 1 < len(partly) < 650

    await snapshots.prune(now, 30)
    (mean,) = await everything(snapshots)
    assert mean["samples"] == 650
    assert mean["total_connections"] == mean["rate"] == sum(range(650)) / 650


@pytest.mark.gen_test
async def test_a_snapshot_that_comes_late_joins_its_hour(snapshots: Snapshots) -> None:
    now = START + 40 * DAY_S
    await snapshots.add(snapshot(START, 10))
    await snapshots.prune(now, 30)
    await snapshots.add(snapshot(START + 60, 20))
    await snapshots.prune(now, 30)
    (mean,) = await everything(snapshots)
    assert (mean["samples"], mean["total_connections"]) == (2, 15)


@pytest.mark.gen_test
async def test_other_writes_pass_between_the_batches(
    database: Database, snapshots: Snapshots
) -> None:
    for n in range(650):
        await snapshots.add(snapshot(START + 5 * n, n))
    pruning = asyncio.ensure_future(snapshots.prune(START + 40 * DAY_S, 30))
    await asyncio.sleep(0)  # its first batch is queued
    await snapshots.add(snapshot(START + 40 * DAY_S, 1))
    assert not pruning.done()
    assert await pruning == PrunedSnapshots(650, 0)


@pytest.mark.gen_test
async def test_means_are_dropped_after_a_year(snapshots: Snapshots) -> None:
    for hour in range(400):
        await snapshots.add(snapshot(START + 3600 * hour, hour))
    await snapshots.prune(START + 40 * DAY_S + 3600 * 400, 30)
    later = START + 367 * DAY_S + 3600 * 350
    assert (await snapshots.prune(later, 30)).dropped == 374
    assert len(await everything(snapshots)) == 26


@pytest.mark.gen_test
async def test_a_restart_keeps_the_history(
    make_database: Callable[..., Database], snapshots: Snapshots, database: Database
) -> None:
    await snapshots.add(snapshot(START, 1))
    await snapshots.add(snapshot(START + 40 * DAY_S, 2))
    await snapshots.prune(START + 40 * DAY_S, 30)
    before = await everything(snapshots)
    await database.close()
    again = make_database()
    await again.open()
    assert await everything(Snapshots(again)) == before


@pytest.mark.gen_test
async def test_stepped_pages_hold_the_last_of_every_step_once(snapshots: Snapshots) -> None:
    chance = random.Random(7)
    moments = [START + chance.random() * 900 for _ in range(60)]
    moments += [START + 1e7 + chance.random() * 900 for _ in range(60)]  # after a long hole
    for number, at in enumerate(sorted(moments)):
        await snapshots.add(snapshot(at, number, chance.choice("ab")))
    await snapshots.prune(START + 2 * DAY_S, 1)  # the first ones become means
    whole = await snapshots.history(START - 7, 1e11, step_s=60, limit=1000)
    paged, cursor = [], None
    while True:
        page = await snapshots.history(START - 7, 1e11, step_s=60, limit=3, cursor=cursor)
        assert page.total == whole.total == len(whole.items)
        paged += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert paged == whole.items
    steps = [(item["node"], item["timestamp"] // 60) for item in paged]
    assert len(set(steps)) == len(steps) > 10
