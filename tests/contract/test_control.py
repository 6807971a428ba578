"""The contract of every ``Control``, run against each implementation."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from msgspec import Struct

from tests.support.cluster_nodes import Cluster, eventually
from wsserver.cluster.control import Notice, Request


class Item(Struct, frozen=True):
    name: str


class Greet(Request[list[Item]], frozen=True):
    who: str


class Wait(Request[int], frozen=True):
    seconds: float


class Unheard(Request[int], frozen=True):
    pass


class Changed(Notice, frozen=True):
    ids: tuple[str, ...]


def greet(name: str, request: Greet) -> list[Item]:
    return [Item(f"{request.who}@{name}")]


@pytest.mark.gen_test(timeout=30)
async def test_every_node_answers(cluster: Cluster) -> None:
    async with cluster.nodes(3) as nodes:
        for node in nodes:
            node.control.add_handler(Greet, partial(greet, node.name))
        answers = await nodes[0].control.ask_all(Greet("u1"))
        assert answers.by_node == {node.name: [Item(f"u1@{node.name}")] for node in nodes}
        assert next(iter(answers.by_node)) == nodes[0].name
        assert answers.unreachable == ()


@pytest.mark.gen_test(timeout=30)
async def test_whether_there_can_be_others_and_the_name_of_all(cluster: Cluster) -> None:
    async with cluster.nodes(1) as (node,):
        assert node.control.has_others is cluster.is_shared
        assert node.control.all_nodes == ("*" if cluster.is_shared else node.name)


@pytest.mark.gen_test(timeout=30)
async def test_one_node_answers(cluster: Cluster) -> None:
    async with cluster.nodes(2) as nodes:

        async def slowly(request: Greet) -> list[Item]:
            await asyncio.sleep(0.01)
            return [Item(request.who)]

        for node in nodes:
            node.control.add_handler(Greet, slowly)
        answers = await nodes[0].control.ask(nodes[-1].name, Greet("u1"))
        assert answers.by_node == {nodes[-1].name: [Item("u1")]}
        answers = await nodes[0].control.ask("nowhere", Greet("u1"), timeout_s=0.1)
        assert (answers.by_node, answers.unreachable) == ({}, ("nowhere",))


@pytest.mark.gen_test(timeout=30)
async def test_a_node_that_answers_too_late_or_fails_is_named(cluster: Cluster) -> None:
    async with cluster.nodes(3) as nodes:

        async def wait(request: Wait) -> int:
            await asyncio.sleep(request.seconds)
            return 1

        def fail(request: Wait) -> int:
            raise RuntimeError("broken")

        nodes[0].control.add_handler(Wait, lambda request: 0)
        if len(nodes) > 1:
            nodes[1].control.add_handler(Wait, wait)
            nodes[2].control.add_handler(Wait, fail)
        answers = await nodes[0].control.ask_all(Wait(1.0), timeout_s=0.2)
        assert answers.by_node == {nodes[0].name: 0}
        assert answers.unreachable == tuple(node.name for node in nodes[1:])


@pytest.mark.gen_test(timeout=30)
async def test_the_own_handler_s_error_propagates(cluster: Cluster) -> None:
    async with cluster.nodes(1) as (node,):

        def fail(request: Unheard) -> int:
            raise ValueError("broken")

        node.control.add_handler(Unheard, fail)
        with pytest.raises(ValueError, match="broken"):
            await node.control.ask_all(Unheard())


@pytest.mark.gen_test(timeout=30)
async def test_notices_reach_every_node_in_order_and_the_own_one_at_once(
    cluster: Cluster,
) -> None:
    async with cluster.nodes(3) as nodes:
        heard: dict[str, list[Changed]] = {node.name: [] for node in nodes}
        for node in nodes:
            node.control.add_listener(Changed, heard[node.name].append)
        sent = [Changed((str(n),)) for n in range(20)]
        for notice in sent:
            nodes[0].control.notify(notice)
        assert heard[nodes[0].name] == sent
        for node in nodes:
            await eventually(partial(heard.get, node.name), sent)
