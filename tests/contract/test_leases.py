"""The contract of every ``Leases``, run against each implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from scripts.backends.postgres import PostgresServer
from tests.support.cluster_nodes import eventually
from tests.support.fake_clock import FakeClock
from wsserver.cluster.leases import Leases
from wsserver.cluster.local import LocalLeases
from wsserver.storage.engine import sql_leases
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.postgres.database import PostgresDatabase
from wsserver.storage.engine.sql_leases import Fence, LeaseLost, Observer, SqlLeases
from wsserver.storage.engine.sqlite import SqliteDatabase

Open = Callable[[int], AbstractAsyncContextManager[Sequence[Leases]]]
"""Starts so many nodes; of a single process it is one."""


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BEAT_S", "LOST_S", "HELD_S", "GAP_S"):
        monkeypatch.setattr(sql_leases, name, getattr(sql_leases, name) / 4)


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    made = postgres.lend_database()
    yield made
    postgres.give_back(made)


@pytest.fixture(params=["local", "sqlite", "postgresql"])
def open_nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "local":
        return _local
    url = request.getfixturevalue("url") if request.param == "postgresql" else None

    @asynccontextmanager
    async def start(count: int) -> AsyncIterator[list[Leases]]:
        async with AsyncExitStack() as stack:
            nodes = []
            for _ in range(count):
                database: Database = (
                    SqliteDatabase(tmp_path / "file.sqlite3", clock=FakeClock(), cluster="tests")
                    if url is None
                    else PostgresDatabase(url, clock=FakeClock(), is_shared=True)
                )
                leases = SqlLeases(await stack.enter_async_context(_opened(database)))
                await leases.start()
                stack.push_async_callback(leases.stop)
                nodes.append(leases)
            yield list[Leases](nodes)

    return start


@asynccontextmanager
async def _local(count: int) -> AsyncIterator[list[Leases]]:
    leases = LocalLeases()
    await leases.start()
    yield [leases]
    await leases.stop()


@asynccontextmanager
async def _opened(database: Database) -> AsyncIterator[Database]:
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def holders(nodes: Sequence[Leases]) -> list[Leases]:
    return [node for node in nodes if node.holds("work")]


async def holder_of(nodes: Sequence[Leases]) -> Leases:
    await eventually(lambda: len(holders(nodes)), 1, within=10)
    return holders(nodes)[0]


@pytest.mark.gen_test(timeout=30)
async def test_one_node_holds_a_lease_until_it_leaves(open_nodes: Open) -> None:
    async with open_nodes(3) as nodes:
        holder = await holder_of(nodes)
        fence = holder.fence("work")
        assert fence > 0
        others = [node for node in nodes if node is not holder]
        assert [node.fence("work") for node in others] == [0] * len(others)
        if others:
            await holder.stop()
            heir = await holder_of(nodes)
            assert heir is not holder
            assert heir.fence("work") > fence


@pytest.mark.gen_test(timeout=30)
async def test_the_work_of_a_lost_node_is_taken_over_and_its_writes_are_refused(
    open_nodes: Open,
) -> None:
    async with open_nodes(2) as nodes:
        holder = await holder_of(nodes)
        if not isinstance(holder, SqlLeases):
            return
        (other,) = [node for node in nodes if node is not holder]
        assert isinstance(other, SqlLeases)
        lost: list[str] = []

        def fail() -> None:
            raise RuntimeError("of one listener, which keeps no other one from being called")

        other.add_lost_listener(fail)
        other.add_lost_listener(lambda: lost.append("lost"))
        fence = Fence("work", holder.fence("work"))
        await other._database.run(fence.require)
        await holder._tasks.end()  # like kill -9
        await eventually(lambda: other.holds("work"), within=10)
        assert not holder.holds("work")
        await eventually(lambda: lost, ["lost"])
        with pytest.raises(LeaseLost, match="work"):
            await other._database.run(fence.require)
        await other._database.run(Fence("work", other.fence("work")).require)
        await other._database.run(Fence("work", LocalLeases().fence("work")).require)


@pytest.mark.gen_test(timeout=30)
async def test_a_node_that_stood_still_loses_its_leases_and_comes_back(open_nodes: Open) -> None:
    async with open_nodes(2) as nodes:
        holder = await holder_of(nodes)
        if not isinstance(holder, SqlLeases):
            return
        await holder._tasks.end()
        (other,) = [node for node in nodes if node is not holder]
        await eventually(lambda: other.holds("work"), within=10)
        holder._tasks.spawn(holder._run(), name="leases")
        holder.holds("more")
        await eventually(lambda: holder.holds("more"), within=10)
        assert other.holds("work")
        assert not holder.holds("work")


# Observing, purely


def observed(*readings: tuple[float, int | None]) -> list[list[str]]:
    """The lost processes after each reading: its time, and the beat of a process."""
    observer = Observer()
    found = []
    for at, beat in readings:
        found.append(sorted(observer.observe({} if beat is None else {"p": beat}, at)))
    return found


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_leases, "LOST_S", 6.0)
    monkeypatch.setattr(sql_leases, "GAP_S", 5.0)


@pytest.mark.usefixtures("seconds")
@pytest.mark.parametrize(
    ("readings", "is_lost"),
    [
        (((0, 1), (2, 1), (4, 1), (5.9, 1)), False),
        (((0, 1), (2, 1), (4, 1), (6, 1)), True),
        (((0, 1), (2, 1), (4, 2), (6, 2), (8, 2)), False),
        (((0, 1), (2, 1), (4, None), (6, 1)), False),
        # Nobody could beat while the database was away.
        (((0, 1), (4, 1), (60, 1), (64, 1)), False),
        (((0, 1), (4, 1), (60, 1), (64, 1), (66, 1)), True),
    ],
)
def test_who_is_lost(readings: tuple[tuple[float, int | None], ...], is_lost: bool) -> None:
    *before, last = observed(*readings)
    assert before == [[]] * len(before)
    assert last == (["p"] if is_lost else [])
