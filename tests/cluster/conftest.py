"""A cluster of two nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.backends.postgres import PostgresServer
from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_servers import ClusterServers
from tests.support.running_server import RunningServer


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    """One server for all tests that do not break it."""
    server = ValkeyProcess(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def database_url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    made = postgres.create_database(is_empty=True)
    yield made
    postgres.drop_database(made)


@pytest.fixture
def cluster(
    tmp_path: Path, database_url: str, shared_valkey: ValkeyProcess
) -> Iterator[ClusterServers]:
    """A cluster without a node yet; all are stopped at the end, and their logs checked."""
    shared_valkey.run("FLUSHALL")
    made = ClusterServers(tmp_path, database_url, shared_valkey.url)
    try:
        yield made
        made.stop()
    finally:
        made.kill()


@pytest.fixture(scope="module")
def nodes(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, shared_valkey: ValkeyProcess
) -> Iterator[ClusterServers]:
    """The nodes ``n1`` and ``n2``, for all tests of a module; more may be started, and killed."""
    shared_valkey.run("FLUSHALL")
    database_url = postgres.create_database(is_empty=True)
    folder = tmp_path_factory.mktemp("nodes")
    # Clients of tests may poll faster than real ones do.
    made = ClusterServers(folder, database_url, shared_valkey.url, message_rate=1000)
    try:
        made.start("n1")
        made.start("n2")
        yield made
        made.stop()
    finally:
        made.kill()
        postgres.drop_database(database_url)


@pytest.fixture
def two(cluster: ClusterServers) -> tuple[RunningServer, RunningServer]:
    """The nodes ``n1`` and ``n2``."""
    return cluster.start("n1"), cluster.start("n2")
