"""The implementations that the contract suite runs against."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.backends.valkey import ValkeyProcess, find_redis
from tests.support.cluster_nodes import Cluster, LocalCluster, RedisCluster

REDIS = find_redis()
SERVERS = {"valkey": "shared_valkey"} | ({} if REDIS is None else {"redis": "shared_redis"})
"""Fixtures of the servers that this machine has."""


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    """One server for all tests that do not break it."""
    server = ValkeyProcess(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    """The ``redis-server`` of this machine, likewise."""
    server = ValkeyProcess(tmp_path_factory.mktemp("redis"), binary=REDIS or "")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyProcess]:
    """A server that the test may break."""
    server = ValkeyProcess(tmp_path)
    server.start()
    yield server
    server.kill()


def _emptied(request: pytest.FixtureRequest, name: str) -> ValkeyProcess:
    found: ValkeyProcess = request.getfixturevalue(SERVERS[name])
    found.run("FLUSHALL")
    return found


@pytest.fixture(params=["local", *SERVERS])
def server(request: pytest.FixtureRequest) -> ValkeyProcess | None:
    """An empty server for what passes between nodes; None: there is one process."""
    return None if request.param == "local" else _emptied(request, request.param)


@pytest.fixture
def cluster(server: ValkeyProcess | None) -> Cluster:
    return LocalCluster() if server is None else RedisCluster(server.url)


@pytest.fixture(params=list(SERVERS))
def redis_cluster(request: pytest.FixtureRequest) -> RedisCluster:
    """For what is of several nodes alone."""
    return RedisCluster(_emptied(request, request.param).url)
