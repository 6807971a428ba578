"""Users whose status changes while Redis or their node is away; with real servers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_nodes import ClusterNode, RedisCluster, eventually, two_nodes, upkeep
from wsserver.cluster.directory import Change
from wsserver.cluster.redis.directory_scripts import CHANGE


def statuses_of(node: ClusterNode) -> list[tuple[str, str]]:
    """The statuses that are announced by no connect or disconnect, as they come."""
    heard: list[tuple[str, str]] = []

    def note(user_id: str, change: Change) -> None:
        heard.append((user_id, change.became))

    node.directory.add_status_listener(note)
    return heard


@pytest.mark.gen_test(timeout=60)
async def test_changes_while_the_server_is_away_are_made_up_for(valkey: ValkeyProcess) -> None:
    """The server comes back empty, as it is started again."""
    async with two_nodes(valkey.url) as (one, two):
        heard = [statuses_of(one), statuses_of(two)]
        for number, node in enumerate((one, two, one, two, one)):
            await node.open(f"c{number}", ("both", "both", "leaves", "stays", "moves")[number])
        valkey.kill()
        await eventually(lambda: one.directory.health()["ok"], False, within=8)
        await eventually(lambda: two.directory.health()["ok"], False, within=8)
        changes = [
            await one.close("c0", "both"),
            await one.close("c2", "leaves"),
            await one.close("c4", "moves"),
            await two.open("c5", "moves"),
            await two.open("c6", "comes"),
        ]
        assert {each.became for each in changes} == {""}
        valkey.start()
        await eventually(lambda: sorted(heard[0]), [("leaves", "offline")], within=20)
        await eventually(lambda: heard[1], [("comes", "online")], within=20)
        assert await one.directory.users() == {"both": 1, "stays": 1, "moves": 1, "comes": 1}
        assert (await two.close("c1", "both")).became == "offline"


@pytest.mark.gen_test(timeout=60)
async def test_no_status_changes_when_the_server_is_emptied(valkey: ValkeyProcess) -> None:
    async with two_nodes(valkey.url) as (one, two):
        heard = [statuses_of(one), statuses_of(two)]
        for id_, node, user_id in (("c1", one, "u1"), ("c2", two, "u1"), ("c3", one, "u2")):
            await node.open(id_, user_id)
        await one.join("c1", "u1", "s1")
        for node in (one, two):
            await eventually(lambda node=node: upkeep(node)._has_entered)  # type: ignore[misc]
        valkey.run("FLUSHALL")
        changes = [
            await one.close("c1", "u1"),
            await one.open("c4", "u1"),
            await two.open("c5", "u2"),
            await two.open("c6", "u3"),
            await two.close("c6", "u3"),
        ]
        assert {each.became for each in changes} == {""}
        await one.join("c4", "u1", "s1")
        await eventually(lambda: two.directory.users(), {"u1": 2, "u2": 2}, within=10)
        assert await two.users("s1") == {"u1": 1}
        await eventually(lambda: one.directory.health()["ok"])
        await eventually(
            lambda: len(upkeep(one)._unsettled) + len(upkeep(two)._unsettled), 0, within=15
        )
        assert heard == [[], []]
        assert (await one.close("c3", "u2")).became == ""
        assert (await two.close("c5", "u2")).became == "offline"


@pytest.mark.gen_test(timeout=60)
async def test_a_node_that_starts_without_the_server_waits_for_the_others_to_be_back(
    valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsserver.cluster.redis.directory_upkeep.SETTLE_S", 3.0)
    valkey.kill()
    async with RedisCluster(valkey.url).node("two") as two:
        heard = statuses_of(two)
        await two.open("c1", "moves")
        await two.open("c2", "comes")
        valkey.start()
        await eventually(lambda: two.directory.health()["ok"], within=20)
        # Another node, where the user was before, is back later than this one.
        valkey.run("HSET", "wsserver:{user:moves}:connections", "s", "1")
        await eventually(lambda: heard, [("comes", "online")], within=20)


@pytest.mark.gen_test(timeout=60)
async def test_users_that_are_handed_over_and_do_not_come_back(
    valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsserver.cluster.redis.directory_upkeep.HANDED_OVER_S", 0.5)
    async with RedisCluster(valkey.url).node("two") as two:
        heard = statuses_of(two)
        async with RedisCluster(valkey.url).node("one") as one:
            one.directory.add_status_listener(  # whichever of them looks first
                lambda user_id, change: heard.append((user_id, change.became))
            )
            for user_id in ("u1", "u2", "u3"):
                await one.open(f"c-{user_id}", user_id)
            for user_id in ("u1", "u2"):
                await one.close(f"c-{user_id}", user_id, is_handed_over=True)
            await two.open("c9", "u1")
        # Those that were not even closed are taken out when the node stops.
        await eventually(lambda: sorted(heard), [("u2", "offline"), ("u3", "offline")], within=15)
        assert await two.directory.users() == {"u1": 1}


@pytest.mark.gen_test(timeout=60)
async def test_a_handed_over_user_is_offline_though_the_first_attempt_to_find_out_failed(
    valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsserver.cluster.redis.directory_upkeep.HANDED_OVER_S", 0.5)
    async with RedisCluster(valkey.url).node("one") as one:
        heard = statuses_of(one)
        await one.open("c1", "u1")
        await one.close("c1", "u1", is_handed_over=True)
        key = "wsserver:{user:u1}:connections"
        valkey.run("RENAME", key, "aside")
        valkey.run("SET", key, "text")
        await eventually(lambda: "WRONGTYPE" in (upkeep(one)._link.fault or ""), within=15)
        valkey.run("RENAME", "aside", key)
        await eventually(lambda: heard, [("u1", "offline")], within=15)


@pytest.mark.gen_test(timeout=30)
async def test_a_connection_that_ends_while_a_node_enters_its_connections_is_reported_once(
    valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the first time after the start, when what is not its own is of a former run."""
    async with RedisCluster(valkey.url).node("one") as one:
        lost: list[str] = []
        one.directory.add_lost_listener(lambda each: lost.append(each.connection.connection_id))
        await one.open("c1", "u1")
        changes: list[Change] = []
        commands = upkeep(one)._link.commands
        read = commands.hvals

        async def close_after_reading(key: str) -> Any:
            values = await read(key)
            one.hub.remove(one.hub.connections["c1"])
            one.directory.closed("c1", "u1", changes.append)
            return values

        upkeep(one)._has_entered = False
        with monkeypatch.context() as patch:
            patch.setattr(commands, "hvals", close_after_reading)
            await upkeep(one)._enter_all()
        await eventually(lambda: [each.became for each in changes], ["offline"])
        assert lost == []


@pytest.mark.gen_test(timeout=30)
async def test_a_server_with_some_of_the_scripts_makes_no_change_twice(
    valkey: ValkeyProcess,
) -> None:
    """Another node has just begun to load them."""
    async with RedisCluster(valkey.url).node("one") as one:
        link = upkeep(one)._link
        await one.open("c0", "u0", sessions=("s1",))
        valkey.run("SCRIPT", "FLUSH")
        await link.commands.script_load(CHANGE)
        first = one.open("c1", "u1")
        counted = one.join("c0", "u0", "s2")
        change, count = await asyncio.gather(first, counted)
        assert (change.became, count) == ("online", 1)
