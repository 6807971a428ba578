"""Fixtures: a cluster of its own for a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.backends.postgres import PostgresServer
from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_servers import ClusterServers


@pytest.fixture
def cluster(tmp_path: Path, postgres: PostgresServer) -> Iterator[ClusterServers]:
    """A cluster without a node yet; all are stopped at the end, and their logs checked."""
    valkey = ValkeyProcess(tmp_path / "valkey")
    (tmp_path / "valkey").mkdir()
    valkey.start()
    database_url = postgres.create_database(is_empty=True)
    made = ClusterServers(tmp_path, database_url, valkey.url, message_rate=1000)
    try:
        yield made
        made.stop()
    finally:
        made.kill()
        valkey.kill()
        postgres.drop_database(database_url)
