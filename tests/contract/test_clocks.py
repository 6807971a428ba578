"""Clocks that differ between nodes, Redis and the database are measured where they are."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from scripts.backends.postgres import PostgresServer
from tests.support.cluster_nodes import ClusterNode, RedisCluster, eventually
from tests.support.fake_clock import FakeClock
from wsserver.clock import Clock
from wsserver.cluster.directory import LocalConnections
from wsserver.cluster.local import LocalDirectory
from wsserver.realtime.connections.hub import Hub, HubRecords
from wsserver.realtime.observability.clocks import Clocks
from wsserver.storage.engine.postgres.database import PostgresDatabase
from wsserver.storage.engine.sqlite import SqliteDatabase

pytestmark = pytest.mark.slow

AHEAD_S = 7.0


def ahead() -> float:
    return time.time() + AHEAD_S


def alone() -> LocalDirectory:
    local: LocalConnections = HubRecords(Hub(), "n1")
    return LocalDirectory(local, "n1", "1.0", 0.0)


@pytest.mark.gen_test(timeout=30)
async def test_a_node_whose_clock_is_ahead_is_named_by_all(
    redis_cluster: RedisCluster, tmp_path: Path
) -> None:
    file = SqliteDatabase(tmp_path / "file.sqlite3", clock=Clock())

    async def seen(node: ClusterNode) -> tuple[dict[str, int], int | None, float | None]:
        found = await Clocks(Clock(), node.name, node.directory, file).read()
        redis = None if found.redis is None else round(found.redis)
        return {name: round(s) for name, s in found.nodes.items()}, redis, found.database

    async with redis_cluster.node("n1") as right, redis_cluster.node("n2", wall=ahead) as wrong:
        await eventually(lambda: seen(right), ({"n1": 0, "n2": 7}, 0, None), within=10)
        await eventually(lambda: seen(wrong), ({"n1": -7, "n2": 0}, -7, None), within=10)


@pytest.mark.gen_test(timeout=30)
async def test_the_clock_of_postgresql_is_compared_with_that_of_the_node(
    postgres: PostgresServer, clock: FakeClock
) -> None:
    url = postgres.lend_database()
    database = PostgresDatabase(url, clock=clock)
    clock.now_wall = time.time() - AHEAD_S
    clocks = Clocks(clock, "n1", alone(), database)
    assert (await clocks.read()).database is None  # it cannot be read yet
    await database.open()
    found = await clocks.read()
    await database.close()
    postgres.give_back(url)
    assert (found.nodes, found.redis) == ({}, None)
    assert found.database == pytest.approx(AHEAD_S, abs=5)
