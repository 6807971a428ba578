"""A failover by Sentinel; with real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_nodes import eventually, publish, two_nodes


@asynccontextmanager
async def sentinel_of_two(
    tmp_path: Path,
) -> AsyncIterator[tuple[str, ValkeyProcess, ValkeyProcess]]:
    """The URL of a Sentinel, the primary and the replica."""
    folders = [tmp_path / name for name in ("primary", "replica", "sentinel")]
    for folder in folders:
        folder.mkdir()
    primary = ValkeyProcess(folders[0])
    primary.start()
    replica = ValkeyProcess(folders[1], "--replicaof", "127.0.0.1", str(primary.port))
    replica.start()
    settings = folders[2] / "sentinel.conf"
    settings.write_text(
        f"sentinel monitor main 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds main 500\n"
        "sentinel failover-timeout main 2000\n"
    )
    sentinel = ValkeyProcess(folders[2], sentinel=settings)
    sentinel.start()
    try:
        await eventually(lambda: b"slave0" in primary.run("INFO", "replication"), within=10)
        await asyncio.sleep(1.5)  # Sentinel learns of replicas from the primary's INFO
        yield f"redis+sentinel://127.0.0.1:{sentinel.port}/main", primary, replica
    finally:
        for server in (sentinel, replica, primary):
            server.kill()


@pytest.mark.gen_test(timeout=60)
async def test_a_failover_by_sentinel(tmp_path: Path) -> None:
    async with (
        sentinel_of_two(tmp_path) as (url, primary, replica),
        two_nodes(url) as (one, two),
    ):
        await one.open("c1", "u1")
        await eventually(lambda: publish(one, "m1"), 2)
        primary.kill()
        await eventually(lambda: publish(one, "m2"), 2, within=30)
        await eventually(lambda: two.directory.count("u1"), 1, within=15)
        assert b"role:master" in replica.run("INFO", "replication")


@pytest.mark.gen_test(timeout=60)
async def test_a_former_primary_that_goes_on_is_left(tmp_path: Path) -> None:
    async with (
        sentinel_of_two(tmp_path) as (url, primary, replica),
        two_nodes(url) as (one, two),
    ):
        await one.open("c1", "u1")
        await eventually(lambda: publish(one, "m1"), 2)
        primary.run("ACL", "SETUSER", "default", "-replicaof", "-slaveof")  # it stays as it is
        primary.pause()
        try:
            await eventually(
                lambda: b"role:master" in replica.run("INFO", "replication"), within=20
            )
        finally:
            primary.resume()
        await one.open("c2", "u2")
        await eventually(lambda: two.directory.count("u2"), 1, within=15)
        await eventually(lambda: publish(one, "m2"), 2, within=15)
        entered = ("HEXISTS", "wsserver:{user:u2}:connections", "c:c2")
        await eventually(lambda: replica.run(*entered)[:2], b":1", within=10)
        states = {each.node: each.state for each in await one.directory.nodes()}
        assert states == {"n1": "up", "n2": "up"}
