"""The contract of every broker, run against each implementation."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import cast

import msgspec
import pytest

from tests.support.cluster_nodes import Cluster, Receiver, RedisCluster, eventually
from wsserver.cluster.broker import (
    NO_RECIPIENTS,
    MonitorEvent,
    MonitorPush,
    Outcome,
    Publication,
    PublishResult,
    Push,
    Signal,
)
from wsserver.cluster.memory import MemoryBroker
from wsserver.cluster.redis import broker as redis_broker
from wsserver.cluster.redis.broker import RedisBroker
from wsserver.promise import Promise
from wsserver.protocol.targets import EVERYONE, session, user


def publication(id_: str, target: object = EVERYONE) -> Publication:
    return Publication(id_, "x", target, b"{}")  # type: ignore[arg-type]


@pytest.mark.gen_test(timeout=30)
async def test_every_node_gets_every_publication_in_order_and_the_results_add_up(
    cluster: Cluster,
) -> None:
    async with cluster.nodes(3) as nodes:
        for node in nodes:
            node.receiver.result = PublishResult(3, 2, 1)
        whole = PublishResult(3 * len(nodes), 2 * len(nodes), len(nodes))
        assert await nodes[0].broker.publish(publication("m1")) == whole
        nodes[0].broker.post(publication("m2"))
        assert await nodes[0].broker.publish(publication("m3")) == whole
        for node in nodes:
            await eventually(partial(getattr, node.receiver, "ids"), ["m1", "m2", "m3"])
            assert node.broker.health()["ok"] is True


@pytest.mark.gen_test(timeout=30)
async def test_several_are_published_until_a_time_and_the_first_in_any_case(
    cluster: Cluster,
) -> None:
    async with cluster.nodes(2) as nodes:
        broker = nodes[0].broker
        several = [publication(f"m{number}") for number in range(3)]
        assert len(broker.begin_all(several, 0.0)) == 1
        assert len(broker.begin_all(several[1:], inf)) == 2
        for node in nodes:
            await eventually(partial(getattr, node.receiver, "ids"), ["m0", "m1", "m2"])


@pytest.mark.gen_test(timeout=30)
async def test_many_are_published_before_the_first_result_is_awaited(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_broker, "RESULTS_S", 10.0)  # three nodes share this event loop
    async with cluster.nodes(3) as nodes:
        for node in nodes:
            node.receiver.result = PublishResult(1, 1, 0)
        begun = [nodes[0].broker.begin(publication(f"m{number}")) for number in range(100)]
        ids = [f"m{number}" for number in range(100)]
        assert nodes[0].receiver.ids == ids
        results = [each if isinstance(each, PublishResult) else await each for each in begun]
        assert set(results) == {PublishResult(len(nodes), len(nodes), 0)}
        for node in nodes:
            assert node.receiver.ids == ids


@pytest.mark.gen_test(timeout=30)
async def test_those_of_one_iteration_cross_together_and_have_results_of_their_own(
    redis_cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_broker, "RESULTS_S", 10.0)
    async with redis_cluster.nodes(2) as (one, two):
        late: Promise[PublishResult] = Promise()
        results: dict[str, Outcome] = {"m0": PublishResult(1, 1, 0), "m1": late}
        two.receiver.deliver = lambda each: results.get(each.message_id, NO_RECIPIENTS)  # type: ignore[assignment,method-assign,return-value]
        begun = [one.broker.begin(publication(f"m{number}")) for number in range(4)]
        assert [each for each in begun if isinstance(each, PublishResult)] == []
        promises = cast("list[Promise[PublishResult]]", begun)
        assert await promises[0] == PublishResult(1, 1, 0)
        assert [await promises[2], await promises[3]] == [NO_RECIPIENTS, NO_RECIPIENTS]
        assert not promises[1].done()
        late.resolve(PublishResult(3, 2, 1))
        assert await promises[1] == PublishResult(3, 2, 1)
        assert two.receiver.together == [4]
        assert one.broker._pending == {}  # type: ignore[attr-defined]


@pytest.mark.gen_test(timeout=30)
async def test_a_publication_can_be_sent_before_this_node_has_delivered_it(
    redis_cluster: RedisCluster,
) -> None:
    async with redis_cluster.nodes(2) as (one, two):
        broker = cast("RedisBroker", one.broker)
        left: list[bool] = []

        def deliver(each: Publication) -> PublishResult:
            broker.send_now()
            left.append(bool(broker._bus._outgoing))
            if each.message_id == "m1":
                raise ValueError
            return PublishResult(2, 2, 0)

        one.receiver.deliver = deliver  # type: ignore[assignment,method-assign]
        two.receiver.result = PublishResult(1, 1, 0)
        first = broker.begin(publication("m0"))
        with pytest.raises(ValueError):  # noqa: PT011
            broker.begin(publication("m1"))
        second = broker.begin(publication("m2"))
        for outcome in (first, second):
            assert await cast("Promise[PublishResult]", outcome) == PublishResult(3, 3, 0)
        assert left == [False] * 3
        assert (two.receiver.ids, two.receiver.together) == (["m0", "m1", "m2"], [])
        await eventually(lambda: broker._pending, {})


@pytest.mark.gen_test(timeout=30)
async def test_a_node_of_the_version_before_gets_each_by_itself(
    redis_cluster: RedisCluster,
) -> None:
    async with redis_cluster.nodes(2) as (one, two):
        registry = two.directory._registry  # type: ignore[attr-defined]
        registry.info = msgspec.structs.replace(registry.info, reads_batches=False)
        await registry.renew()
        await one.directory.nodes()
        two.receiver.result = PublishResult(1, 1, 0)
        begun = [one.broker.begin(publication(f"m{number}")) for number in range(3)]
        assert [await cast("Promise[PublishResult]", each) for each in begun] == (
            [PublishResult(1, 1, 0)] * 3
        )
        assert (two.receiver.ids, two.receiver.together) == (["m0", "m1", "m2"], [])


@pytest.mark.gen_test(timeout=30)
async def test_there_is_one_receiver(cluster: Cluster) -> None:
    async with cluster.nodes(1) as (node,):
        second = Receiver(PublishResult(1, 1, 0))
        node.broker.subscribe(second)
        assert await node.broker.publish(publication("m1")) == PublishResult(1, 1, 0)
        node.broker.signal(Push((user("u1"),), b"{}"))
        assert (second.ids, len(second.signals)) == (["m1"], 1)
        assert (node.receiver.ids, node.receiver.signals) == ([], [])


@pytest.mark.gen_test(timeout=30)
async def test_a_large_publication_arrives(cluster: Cluster) -> None:
    async with cluster.nodes(2) as nodes:
        large = Publication("m1", "x", EVERYONE, b"x" * (1024 * 1024 - 100))
        for _ in range(5):
            nodes[0].broker.post(large)
        await eventually(lambda: [len(node.receiver.ids) for node in nodes], [5] * len(nodes))
        assert nodes[-1].receiver.publications[-1] == large


@pytest.mark.gen_test(timeout=30)
async def test_the_own_node_gets_a_publication_before_post_returns(cluster: Cluster) -> None:
    async with cluster.nodes(1) as (node,):
        node.broker.post(publication("m1"))
        assert node.receiver.ids == ["m1"]
        node.broker.signal(Push((user("u1"),), b"{}"))
        assert node.receiver.signals == [Push((user("u1"),), b"{}")]


@pytest.mark.gen_test(timeout=30)
async def test_other_nodes_get_publications_for_what_they_follow(cluster: Cluster) -> None:
    async with cluster.nodes(3) as nodes:
        sender, follower, other = nodes[0], nodes[-1], nodes[len(nodes) // 2]
        follower.broker.follow(session("s1"))
        await follower.broker.followed(session("s1"))
        follower.receiver.result = PublishResult(1, 1, 0)
        assert await sender.broker.publish(publication("m1", session("s1"))) == (
            PublishResult(1, 1, 0)
        )
        assert follower.receiver.ids == ["m1"]
        if cluster.is_shared:
            assert other.receiver.ids == []
        follower.broker.unfollow(session("s1"))
        if cluster.is_shared:
            await eventually_unmatched(nodes)


async def eventually_unmatched(nodes: list) -> None:  # type: ignore[type-arg]
    for _ in range(50):
        result = await nodes[0].broker.publish(publication("late", session("s1")))
        if result == PublishResult(0, 0, 0):
            return
    raise AssertionError("an unfollowed session is still delivered")


@pytest.mark.gen_test(timeout=30)
async def test_signals_reach_the_nodes_that_follow_one_of_their_targets_once(
    cluster: Cluster,
) -> None:
    async with cluster.nodes(2) as nodes:
        sender, receiver = nodes[0], nodes[-1]
        for target in (session("s1"), session("s2")):
            receiver.broker.follow(target)
            await receiver.broker.followed(target)
        signals: list[Signal] = [
            Push((session("s1"), session("s2")), b"{}", exclude_user="u1"),
            MonitorPush(b"{}", "u2"),
            MonitorEvent({"name": "x", "n": 1}),
        ]
        for signal in signals:
            sender.broker.signal(signal)
        await eventually(lambda: receiver.receiver.signals[-1:] == signals[-1:])
        assert receiver.receiver.signals == signals


@pytest.mark.gen_test(timeout=30)
async def test_it_is_told_whether_a_signal_reaches_a_node(cluster: Cluster) -> None:
    async with cluster.nodes(2) as nodes:
        sender, other = nodes[0], nodes[-1]
        told: list[bool] = []
        sender.broker.signal(Push((user("u1"),), b"{}"), told.append)
        await eventually(lambda: len(told), 1)
        assert told == [not cluster.is_shared], "a broker without other nodes may always say so"
        other.broker.follow(user("u1"))
        await other.broker.followed(user("u1"))
        sender.broker.signal(Push((user("u1"),), b"{}"), told.append)
        await eventually(lambda: told[1:], [True])
        other.broker.signal(Push((user("u1"),), b"{}"), told.append)
        assert told[2:] == [True], "this node follows it, so it is known at once"


@pytest.mark.gen_test(timeout=30)
async def test_after_stopping_nothing_is_delivered() -> None:
    broker, receiver = MemoryBroker(), Receiver(PublishResult(1, 1, 0))
    broker.subscribe(receiver)
    await broker.start()
    await broker.stop()
    assert await broker.publish(publication("m1")) == PublishResult(0, 0, 0)
    broker.post(publication("m2"))
    assert receiver.ids == []


def test_a_publication_can_cross_a_wire() -> None:
    sent = Publication(
        *("m1", "x", session("s1"), b"{}"),
        organization_id="o1",
        with_unaffiliated=True,
        role="user",
        exclude_users=frozenset({"u1"}),
    )
    wire = msgspec.msgpack.encode(sent)
    assert msgspec.msgpack.decode(wire, type=Publication) == sent
