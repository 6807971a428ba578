"""The implementations that the contract suite runs against."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_nodes import Cluster, LocalCluster, RedisCluster


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    """One server for all tests that do not break it."""
    server = ValkeyProcess(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["local", "redis"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    if request.param == "local":
        return LocalCluster()
    found: RedisCluster = request.getfixturevalue("redis_cluster")
    return found


@pytest.fixture
def redis_cluster(shared_valkey: ValkeyProcess) -> RedisCluster:
    """For what is of several nodes alone."""
    shared_valkey.run("FLUSHALL")
    return RedisCluster(shared_valkey.url)
