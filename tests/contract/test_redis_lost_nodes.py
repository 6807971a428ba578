"""Nodes that are lost or back, and for whom their connections count; with real servers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_nodes import RedisCluster, eventually, two_nodes, upkeep
from wsserver.cluster.directory import Change, LostConnection
from wsserver.cluster.errors import NodeNameTaken
from wsserver.protocol.targets import EVERYONE


@pytest.mark.gen_test(timeout=40)
async def test_a_lost_node_refuses_nobody_and_its_connections_end(valkey: ValkeyProcess) -> None:
    cluster = RedisCluster(valkey.url)
    async with cluster.node("a") as a, cluster.node("b") as b:
        lost: list[str] = []
        for node in (a, b):
            node.directory.add_lost_listener(
                lambda each: lost.append(each.connection.connection_id)
            )
        async with cluster.vanishing("c") as c:
            for number in range(5):
                await c.open(f"c{number}", "u1")
            assert await a.reserve("u1", 5) is None
        started = asyncio.get_running_loop().time()
        assert await a.reserve("u1", 5) is not None  # before its lease ends
        assert asyncio.get_running_loop().time() - started < 1.0
        await eventually(lambda: sorted(lost), [f"c{n}" for n in range(5)], within=10)
        assert asyncio.get_running_loop().time() - started < 10
        assert await b.directory.connections(EVERYONE) == []
        states = {each.node: each.state for each in await b.directory.nodes()}
        assert states == {"a": "up", "b": "up", "c": "lost"}
        await asyncio.sleep(2.5)
        assert len(lost) == 5  # by one node, once


@pytest.mark.gen_test(timeout=40)
async def test_connects_in_progress_count_while_their_node_lives(valkey: ValkeyProcess) -> None:
    cluster = RedisCluster(valkey.url)
    async with cluster.nodes(1) as (one,):
        async with cluster.vanishing("n2") as two:
            await eventually(lambda: len(one.directory._registry.last_living), 2)  # type: ignore[attr-defined]
            held = [await two.reserve("u1", 5) for _ in range(5)]
            assert all(held)
            assert await one.reserve("u1", 5) is None
            await two.open("c1", "u1", reservation=held.pop())
            assert await one.reserve("u1", 5) is None
        # Killed while it admitted the others: nobody confirms them, nor the one that was admitted.
        reserved = [await one.reserve("u1", 5) for _ in range(6)]
        assert [each is not None for each in reserved] == [True] * 5 + [False]


@pytest.mark.gen_test(timeout=30)
async def test_a_connect_that_is_given_up_leaves_nothing(valkey: ValkeyProcess) -> None:
    async with RedisCluster(valkey.url).nodes(1) as (one,):
        for _ in range(5):
            waiting = asyncio.ensure_future(one.reserve("u1", 5))
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # the command is under way
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        assert await one.reserve("u1", 1) is not None


@pytest.mark.gen_test(timeout=30)
async def test_a_living_node_s_connections_count_when_they_are_confirmed(
    valkey: ValkeyProcess,
) -> None:
    async with two_nodes(valkey.url) as (one, two):
        await one.open("c1", "u1")
        assert await two.reserve("u1", 1) is None
        # An entry that its node does not have, e.g. from a lost command, refuses nobody.
        valkey.run("HSET", "wsserver:{user:u2}:connections", "c:ghost", "n1")
        assert await two.directory.count("u2") == 1
        assert await two.reserve("u2", 1) is not None


@pytest.mark.gen_test(timeout=30)
async def test_a_server_lost_while_owners_confirm_is_one_line_and_local_counts_decide(
    valkey: ValkeyProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_nodes(valkey.url) as (_, two):
        valkey.run("HSET", "wsserver:{user:u2}:connections", "c:ghost", "n1")
        directory: Any = two.directory
        ask = directory._ask_owner

        async def ask_and_lose(*args: Any) -> Any:
            answer = await ask(*args)
            valkey.kill()
            return answer

        monkeypatch.setattr(directory, "_ask_owner", ask_and_lose)
        assert await two.reserve("u2", 1) is not None
        logged = [each for each in caplog.records if "directory" in each.name or each.exc_info]
        away = [each for each in logged if each.getMessage().startswith("redis is away")]
        assert away
        assert [each for each in logged if each.exc_info] == []
        valkey.start()


@pytest.mark.gen_test(timeout=30)
async def test_a_lost_node_that_is_back_keeps_the_connections_it_has_entered_again(
    valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another node is taking them out, which takes long for a node with many."""
    monkeypatch.setattr("wsserver.cluster.redis.directory_upkeep.AT_ONCE", 4)  # one by one
    cluster = RedisCluster(valkey.url)
    async with cluster.node("a") as a:
        lost: list[str] = []

        def come_back(each: LostConnection) -> None:
            lost.append(each.connection.connection_id)
            valkey.run("ZADD", "wsserver:{nodes}:leases", "9999999999999", "c")

        a.directory.add_lost_listener(come_back)
        async with cluster.vanishing("c") as c:
            for number in range(5):
                await c.open(f"c{number}", f"u{number}")
        await eventually(lambda: len(lost), 1, within=20)
        assert {each.node: each.state for each in await a.directory.nodes()}["c"] == "up"
        # The node that takes them out has gone on to its next period.
        renewed = upkeep(a)._renewed_at
        await eventually(lambda: upkeep(a)._renewed_at > renewed, within=10)
        left = {each.connection_id for each in await a.directory.connections(EVERYONE)}
        assert left == {f"c{number}" for number in range(5)} - set(lost)
        assert len(left) == 4


@pytest.mark.gen_test(timeout=30)
async def test_a_node_that_is_killed_while_connections_end_leaves_none(
    valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsserver.cluster.redis.directory_writes.AT_ONCE", 1)
    cluster = RedisCluster(valkey.url)
    async with cluster.node("a") as a:
        lost: list[str] = []
        a.directory.add_lost_listener(lambda each: lost.append(each.connection.connection_id))
        async with cluster.vanishing("c") as c:
            for number in range(9):
                await c.open(f"c{number}", f"u{number}")

            killed = asyncio.Event()

            def kill(_: Change) -> None:
                upkeep(c)._link._gate.reason = "nothing is sent any more"
                killed.set()

            for number in range(9):
                c.hub.remove(c.hub.connections[f"c{number}"])
                c.directory.closed(f"c{number}", f"u{number}", kill)
            await killed.wait()
        await eventually(lambda: "c8" in lost, within=20)
        keys = [f"wsserver:{{user:u{number}}}:connections" for number in range(9)]
        assert not any(b"c:" in valkey.run("HKEYS", key) for key in keys)


@pytest.mark.gen_test(timeout=30)
async def test_a_node_with_other_settings_is_named(
    valkey: ValkeyProcess, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = RedisCluster(valkey.url)
    shared = {"jwt_secret": "1", "edit_window_s": "2", "stream_limit": "3"}
    other = {"jwt_secret": "9", "edit_window_s": "9", "of_a_later_version": "4"}
    async with (
        cluster.node("n1", shared),
        cluster.node("n2", shared) as two,
        cluster.node("n3", other) as three,
    ):
        for node, differing in (
            (two, {"n3": ("edit_window_s", "jwt_secret")}),
            (three, dict.fromkeys(("n1", "n2"), ("edit_window_s", "jwt_secret"))),
        ):
            for _ in range(2):
                listed = await node.directory.nodes()
                found = {e.node: e.differing_settings for e in listed if e.differing_settings}
                assert found == differing
    said = [each.getMessage() for each in caplog.records if "settings of a node" in each.msg]
    named = Counter(each.partition(" node=")[2].partition(" settings=")[::2] for each in said)
    names = "edit_window_s,jwt_secret"
    assert named.pop(("n3", names)) in (1, 2)  # n1 may have looked by now, too
    assert named == {("n1", names): 1, ("n2", names): 1}


@pytest.mark.gen_test(timeout=30)
async def test_two_living_nodes_of_one_name(valkey: ValkeyProcess) -> None:
    cluster = RedisCluster(valkey.url)
    async with cluster.node("a"):
        with pytest.raises(NodeNameTaken, match="'a'"):
            async with cluster.node("a"):
                pass


@pytest.mark.gen_test(timeout=30)
async def test_a_restarted_node_waits_for_its_former_lease(valkey: ValkeyProcess) -> None:
    cluster = RedisCluster(valkey.url)
    async with cluster.vanishing("a") as former:
        await former.open("c1", "u1")
    async with cluster.node("a") as node:
        await eventually(lambda: node.directory.count("u1"), 0)
        assert (await node.open("c1", "u1")).became == "online"


@pytest.mark.gen_test(timeout=30)
async def test_a_lost_node_that_is_back_is_not_forgotten(valkey: ValkeyProcess) -> None:
    async with two_nodes(valkey.url) as (one, _):
        registry = upkeep(one)._registry
        (two,) = [each for each in registry.known if each.name == "n2"]
        await registry.forget(two)  # as it was read before
        assert await registry.living() == ["n1", "n2"]


@pytest.mark.gen_test(timeout=30)
async def test_a_node_whose_entry_cannot_be_read_hides_no_other(
    valkey: ValkeyProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async with two_nodes(valkey.url) as (one, _):
        registry = upkeep(one)._registry
        valkey.run("HSET", registry._keys[0], "n3", "?")
        await registry.refresh()
        assert [each.name for each in registry.known] == ["n1", "n2"]
        assert "n3" in caplog.text
