"""The implementations that the contract suite runs against."""

from __future__ import annotations

import pytest

from tests.support.cluster_nodes import Cluster, LocalCluster


@pytest.fixture(params=["local"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return LocalCluster()
