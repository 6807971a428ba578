"""The contract of every ``ConnectionDirectory``, run against each implementation."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.cluster_nodes import Cluster, eventually
from wsserver.protocol.targets import EVERYONE, Target, TargetType, organization, session, user


@pytest.mark.gen_test(timeout=30)
async def test_connections_of_all_nodes_are_counted_and_listed(cluster: Cluster) -> None:
    async with cluster.nodes(3) as nodes:
        for number, node in enumerate(nodes):
            change = await node.open(f"c{number}", "u1", at=float(number))
            assert change.connections == number + 1
        await nodes[0].open("c9", "u2", at=9.0, organization_id="o1", sessions=("s1",))
        last = nodes[-1].directory
        ids = [f"c{number}" for number in range(len(nodes))]
        assert await last.count("u1") == len(nodes)
        assert await last.count("nobody") == 0
        assert [c.connection_id for c in await last.connections(user("u1"))] == ids
        assert [c.connection_id for c in await last.connections(EVERYONE)] == [*ids, "c9"]
        for target in (
            organization("o1"),
            session("s1"),
            Target(TargetType.CONNECTION, "c9"),
        ):
            (found,) = await last.connections(target)
            assert (found.connection_id, found.node) == ("c9", nodes[0].name)
        assert dict(await last.users()) == {"u1": len(nodes), "u2": 1}
        assert last.may_be_online("u1")
        only = await last.connections(EVERYONE, node=nodes[-1].name)
        assert {each.node for each in only} == {nodes[-1].name}
        assert await last.connections(EVERYONE, node="nowhere") == []
        counts = {each.node: (each.connections, each.state) for each in await last.nodes()}
        assert counts[nodes[0].name] == (2, "up")
        assert list(counts) == sorted(node.name for node in nodes)


@pytest.mark.gen_test(timeout=30)
async def test_changes_of_a_user_are_numbered(cluster: Cluster) -> None:
    async with cluster.nodes(2) as nodes:
        first = await nodes[0].open("c1", "u1")
        second = await nodes[-1].open("c2", "u1")
        third = await nodes[0].close("c1", "u1")
        fourth = await nodes[-1].close("c2", "u1")
        fifth = await nodes[0].open("c3", "u1")
        changes = [first, second, third, fourth, fifth]
        assert [each.connections for each in changes] == [1, 2, 1, 0, 1]
        became = [each.became for each in changes]
        assert became == ["online", "", "", "offline", "online"]
        numbers = [each.number for each in changes]
        assert numbers == (sorted(set(numbers)) if cluster.is_shared else [0] * 5)


@pytest.mark.gen_test(timeout=30)
async def test_the_limit_of_a_user_holds_for_all_nodes_together(cluster: Cluster) -> None:
    async with cluster.nodes(4) as nodes:
        opened = 0

        async def connect(number: int) -> None:
            nonlocal opened
            node = nodes[number % len(nodes)]
            reservation = await node.reserve("u1", 5)
            if reservation is not None:
                opened += 1
                await node.open(f"c{number}", "u1", reservation=reservation)

        await asyncio.gather(*(connect(number) for number in range(100)))
        assert opened == 5
        assert await nodes[0].directory.count("u1") == 5
        assert await nodes[0].reserve("u1", 5) is None
        assert await nodes[0].reserve("u2", 5) is not None


@pytest.mark.gen_test(timeout=30)
async def test_a_cancelled_reservation_makes_room(cluster: Cluster) -> None:
    async with cluster.nodes(2) as nodes:
        reservation = await nodes[0].reserve("u1", 1)
        assert reservation is not None
        nodes[0].directory.cancel(reservation)
        again = await nodes[-1].reserve("u1", 1)
        assert again is not None
        await nodes[-1].open("c1", "u1", reservation=again)
        assert await nodes[0].reserve("u1", 1) is None
        await nodes[-1].close("c1", "u1")
        assert await nodes[0].reserve("u1", 1) is not None


@pytest.mark.gen_test(timeout=30)
async def test_a_connection_is_found_by_its_newer_claims_and_sessions(cluster: Cluster) -> None:
    async with cluster.nodes(2) as nodes:
        await nodes[0].open("c1", "u1", sessions=("s1",))
        nodes[0].update("c1", organization_id="o1")
        await nodes[0].join("c1", "u1", "s2")
        await nodes[0].leave("c1", "u1", "s1")
        other = nodes[-1].directory

        async def found(target: Target) -> list[str]:
            return [each.connection_id for each in await other.connections(target)]

        await eventually(lambda: found(session("s2")), ["c1"])
        assert await found(session("s1")) == []
        assert await found(organization("o1")) == ["c1"]


@pytest.mark.gen_test(timeout=30)
async def test_the_users_of_a_session_are_those_of_all_nodes(cluster: Cluster) -> None:
    async with cluster.nodes(2) as nodes:
        first, last = nodes[0], nodes[-1]
        for id_, node in (("c1", first), ("c2", last)):
            await node.open(id_, "u1")
        await last.open("c3", "u1.x")
        assert await first.join("c1", "u1", "s1") == 1
        assert await last.join("c2", "u1", "s1") == 2
        assert await last.join("c3", "u1.x", "s1") == 1
        assert await first.users("s1") == {"u1": 2, "u1.x": 1}
        assert await last.users("s1") == {"u1": 2, "u1.x": 1}
        assert await first.leave("c1", "u1", "s1") == 1
        assert await last.leave("c2", "u1", "s1") == 0
        assert await first.users("s1") == {"u1.x": 1}
        assert await first.users("s2") == {}


@pytest.mark.gen_test(timeout=30)
async def test_a_user_that_is_handed_over_is_neither_offline_nor_online(cluster: Cluster) -> None:
    async with cluster.nodes(2) as nodes:
        assert (await nodes[0].open("c1", "u1")).became == "online"
        change = await nodes[0].close("c1", "u1", is_handed_over=True)
        assert (change.connections, change.became) == (0, "")
        if cluster.is_shared:
            assert (await nodes[1].open("c2", "u1")).became == ""
