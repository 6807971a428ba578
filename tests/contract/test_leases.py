"""The contract of every ``Leases``, run against each implementation."""

from __future__ import annotations

import pytest

from tests.support.cluster_nodes import Cluster, eventually


@pytest.mark.gen_test(timeout=20)
async def test_one_node_holds_a_lease_until_it_leaves(cluster: Cluster) -> None:
    async with cluster.nodes(3) as nodes:

        def holders() -> list[str]:
            return [node.name for node in nodes if node.leases.holds("work")]

        await eventually(lambda: len(holders()) == 1)
        (holder,) = [node for node in nodes if node.leases.holds("work")]
        fence = holder.leases.fence("work")
        assert fence > 0
        assert all(node.leases.fence("work") == 0 for node in nodes if node is not holder)
        if cluster.is_shared:
            await holder.leases.stop()
            await eventually(lambda: len(holders()) == 1 and holders() != [holder.name], within=8)
            (heir,) = [node for node in nodes if node.leases.holds("work")]
            assert heir.leases.fence("work") > fence
