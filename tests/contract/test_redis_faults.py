"""What broker and control over Redis do while the server or a node is away; real servers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_nodes import RedisCluster, eventually, publish, two_nodes, upkeep
from wsserver.cluster.broker import Publication, PublishResult
from wsserver.cluster.control import Request
from wsserver.cluster.redis import bus, control, outgoing
from wsserver.cluster.redis.link import TIMEOUT_S
from wsserver.promise import Promise
from wsserver.protocol.targets import EVERYONE, session, user


class Name(Request[str], frozen=True):
    """Asks a node for its name."""


class Count(Request[int], frozen=True):
    """Asks a node for a number."""


class End(Request[bool], frozen=True):
    """Asks a node for what its requester would not expect later."""

    is_void_late = True


@pytest.mark.gen_test(timeout=30)
async def test_a_server_that_is_killed_and_started_again(valkey: ValkeyProcess) -> None:
    async with two_nodes(valkey.url) as (one, two):
        await one.open("c1", "u1")
        await two.open("c2", "u1")
        assert await publish(one, "m1") == 2
        gaps: list[str] = []
        one.broker.add_gap_listener(lambda: gaps.append("broker"))
        one.control.add_gap_listener(lambda: gaps.append("control"))
        valkey.kill()
        await eventually(lambda: one.broker.health()["ok"], False, within=5)
        started = asyncio.get_running_loop().time()
        away = Publication("m2", "x", EVERYONE, b"{}")
        # The own node is reached at once.
        assert await one.broker.publish(away) == PublishResult(1, 1, 0, ("n2",))
        assert await one.directory.count("u1") == 1
        assert await one.reserve("u1", 2) is not None
        assert await one.reserve("u1", 1) is None
        await one.open("c3", "u3")
        await one.close("c1", "u1")
        assert asyncio.get_running_loop().time() - started < 5
        assert one.directory.health()["ok"] is False
        listed = [(each.node, each.connections) for each in await one.directory.nodes()]
        assert listed == [("n1", 1), ("n2", 0)]  # of n2 nothing is known any more
        valkey.start()
        await eventually(lambda: one.broker.health()["ok"] and two.broker.health()["ok"], within=8)
        assert gaps == ["broker", "control"]
        await eventually(lambda: publish(one, "m3"), 2)
        await eventually(lambda: two.directory.count("u3"), 1, within=5)
        await eventually(lambda: one.directory.count("u1"), 1, within=5)


@pytest.mark.gen_test(timeout=30)
async def test_a_server_that_is_emptied(valkey: ValkeyProcess) -> None:
    async with two_nodes(valkey.url) as (one, two):
        for number in range(3):
            await one.open(f"c{number}", "u1", sessions=("s1",))
        valkey.run("FLUSHALL")
        await eventually(lambda: two.directory.count("u1"), 3, within=10)

        async def in_session() -> list[str]:
            found = await two.directory.connections(session("s1"))
            return [each.connection_id for each in found]

        await eventually(in_session, ["c0", "c1", "c2"], within=10)
        change = await one.close("c0", "u1")
        assert change.connections == 2


@pytest.mark.gen_test(timeout=30)
async def test_what_has_waited_in_a_standstill_is_not_handled_if_it_is_void_then(
    redis_cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "PROBE_S", 0.02)
    monkeypatch.setattr(control, "LATE_S", 0.5)
    handled: list[str] = []

    def handle(request: Request[Any]) -> Any:
        handled.append(type(request).__name__)
        return True

    async with redis_cluster.nodes(2) as (one, two):
        two.control.add_handler(End, handle)
        two.control.add_handler(Name, handle)
        received_bus = two.control._bus  # type: ignore[attr-defined]
        transport = received_bus._connection._transport
        transport.pause_reading()
        assert (await one.control.ask("n2", End(), timeout_s=0.1)).unreachable == ("n2",)
        assert (await one.control.ask("n2", Name(), timeout_s=0.1)).unreachable == ("n2",)
        await eventually(lambda: received_bus.delay_s > 0.5)
        transport.resume_reading()
        await eventually(lambda: handled, ["Name"])
        await eventually(lambda: received_bus.delay_s < 0.5)
        assert (await one.control.ask("n2", End())).by_node == {"n2": True}


@pytest.mark.gen_test(timeout=30)
async def test_subscriptions_that_are_killed_come_back(valkey: ValkeyProcess) -> None:
    async with two_nodes(valkey.url) as (one, two):
        two.broker.follow(session("s1"))
        await two.broker.followed(session("s1"))
        gaps: list[int] = []
        two.broker.add_gap_listener(lambda: gaps.append(1))
        for _ in range(3):
            before = len(gaps)
            valkey.run("CLIENT", "KILL", "TYPE", "pubsub")
            await eventually(lambda before=before: len(gaps) > before, within=8)  # type: ignore[misc]
        message = Publication("m1", "x", session("s1"), b"{}")
        await eventually(lambda: one.broker.health()["ok"], within=8)
        assert (await one.broker.publish(message)).matched == 2


@pytest.mark.gen_test(timeout=30)
async def test_a_result_that_comes_later_is_counted_and_a_missing_one_named(
    valkey: ValkeyProcess,
) -> None:
    async with two_nodes(valkey.url) as (one, two):
        held: list[Promise[PublishResult]] = []

        def hold(publication: Publication) -> Promise[PublishResult]:
            held.append(Promise())
            return held[-1]

        two.receiver.deliver = hold  # type: ignore[assignment, method-assign]
        begun = one.broker.begin(Publication("m1", "x", EVERYONE, b"{}"))
        assert isinstance(begun, Promise)
        await eventually(lambda: len(held), 1)
        held[0].resolve(PublishResult(2, 1, 1))
        assert await begun == PublishResult(3, 2, 1)
        result = await one.broker.publish(Publication("m2", "x", EVERYONE, b"{}"))
        assert result == PublishResult(1, 1, 0, ("n2",))
        held[1].resolve(PublishResult(2, 1, 1))  # too late
        one.receiver.deliver = hold  # type: ignore[assignment, method-assign]
        result = await one.broker.publish(Publication("m3", "x", EVERYONE, b"{}"))
        assert result == PublishResult(0, 0, 0, ("n1", "n2"))
        assert one.broker._pending == {}  # type: ignore[attr-defined]


@pytest.mark.gen_test(timeout=30)
async def test_a_channel_that_is_followed_again_is_confirmed_by_the_last_subscription(
    valkey: ValkeyProcess,
) -> None:
    async with two_nodes(valkey.url) as (one, _):
        target = session("s7")
        valkey.pause()
        one.broker.follow(target)
        one.broker.unfollow(target)
        one.broker.follow(target)
        followed = asyncio.ensure_future(one.broker.followed(target))
        one.broker._bus._subscribed(b"wsserver:{session:s7}")  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        assert not followed.done(), "the first confirmation precedes the unsubscription"
        one.broker._bus._unconfirmed["wsserver:{session:s7}"] = 2  # type: ignore[attr-defined]
        valkey.resume()
        await followed


@pytest.mark.gen_test(timeout=40)
async def test_a_slow_subscriber_that_is_cut_off_comes_back_and_learns_of_the_gap(
    valkey: ValkeyProcess,
) -> None:
    valkey.run("CONFIG", "SET", "client-output-buffer-limit", "'pubsub 1mb 1mb 1'")
    async with two_nodes(valkey.url) as (one, two):
        assert await publish(one, "before") == 2
        gaps: list[int] = []
        two.broker.add_gap_listener(lambda: gaps.append(1))
        socket = two.broker._bus._connection._transport  # type: ignore[attr-defined]
        socket.pause_reading()  # so that it is slow on any machine
        # Small ones: the buffer of a subscriber shares large ones, and Valkey does not count them.
        burst = Publication("m", "x", EVERYONE, b"x" * 10_000)
        for _ in range(2000):
            one.broker.post(burst)
        subscribers = ("CLIENT", "LIST", "TYPE", "pubsub")
        await eventually(lambda: valkey.run(*subscribers).count(b"id="), 1, within=15)
        socket.resume_reading()
        await eventually(lambda: len(gaps) > 0, within=15)
        await eventually(lambda: one.broker.health()["ok"] and two.broker.health()["ok"], within=8)
        await eventually(lambda: publish(one, "after"), 2)


@pytest.mark.gen_test(timeout=30)
async def test_what_exceeds_the_queue_is_dropped_and_answered(
    valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "WAITING_LIMIT_BYTES", 1000)
    async with two_nodes(valkey.url) as (one, two):
        begun = [
            one.broker.begin(Publication(f"m{number}", "x", EVERYONE, b"x" * 100))
            for number in range(20)
        ]
        results = [each if isinstance(each, PublishResult) else await each for each in begun]
        matched = [each.matched for each in results]
        assert set(matched) == {1, 2}
        assert {each.matched: each.unreachable for each in results} == {1: ("n2",), 2: ()}
        assert len(two.receiver.ids) == matched.count(2)
        assert one.receiver.ids == [f"m{number}" for number in range(20)]


@pytest.mark.gen_test(timeout=30)
async def test_after_a_standstill_of_the_process_what_is_still_to_be_read_is_not_lost(
    valkey: ValkeyProcess,
) -> None:
    async with two_nodes(valkey.url) as (one, _):
        sender = upkeep(one)._control._bus
        gaps: list[int] = []
        one.broker.add_gap_listener(lambda: gaps.append(1))
        heard_at = sender._heard_at
        await eventually(lambda: sender._heard_at > heard_at)
        sender._heard_at -= 1000.0
        sender._check_heard()  # its timer comes before what the socket has
        assert not sender._connection._transport.is_closing()
        await eventually(lambda: sender._heard_at > heard_at)
        assert gaps == []


@pytest.mark.gen_test(timeout=30)
async def test_a_server_that_hangs_is_noticed_and_found_again(valkey: ValkeyProcess) -> None:
    async with two_nodes(valkey.url) as (one, two):
        valkey.pause()
        await eventually(lambda: one.broker.health()["ok"], False, within=8)
        assert await publish(one, "m1") == 1
        one.control.add_handler(Name, lambda _: "n1")
        async with asyncio.timeout(TIMEOUT_S / 2):  # no command waits for the server
            answers = await one.control.ask_all(Name())
        assert (answers.by_node, answers.unreachable) == ({"n1": "n1"}, ("n2",))
        valkey.resume()
        await eventually(lambda: one.broker.health()["ok"] and two.broker.health()["ok"], within=10)
        await eventually(lambda: publish(one, "m2"), 2)


@pytest.mark.gen_test(timeout=30)
async def test_a_server_that_is_away_at_the_start(valkey: ValkeyProcess) -> None:
    valkey.kill()
    async with RedisCluster(valkey.url).node("a") as node:
        assert node.broker.health()["ok"] is False
        await node.open("c1", "u1")
        valkey.start()
        await eventually(lambda: node.broker.health()["ok"], within=8)
        await eventually(lambda: node.directory.health()["ok"], within=8)
        assert [c.connection_id for c in await node.directory.connections(user("u1"))] == ["c1"]


@pytest.mark.gen_test(timeout=30)
async def test_a_late_answer_to_a_former_run_of_a_node_answers_no_request(
    valkey: ValkeyProcess,
) -> None:
    cluster = RedisCluster(valkey.url)
    async with cluster.node("n2") as two:
        is_free = asyncio.Event()

        async def name(_: Name) -> str:
            await is_free.wait()
            return "n2"

        async def count(_: Count) -> int:
            is_free.set()
            await upkeep(two)._control._bus.echo(10)  # the late answers are passed on before
            return 2

        two.control.add_handler(Name, name)
        two.control.add_handler(Count, count)
        async with cluster.node("n1") as one:
            asked = [one.control.ask("n2", Name(), 0.3) for _ in range(50)]
            assert {each.unreachable for each in await asyncio.gather(*asked)} == {("n2",)}
        async with cluster.node("n1") as one:
            assert (await one.control.ask("n2", Count(), 20)).by_node == {"n2": 2}


@pytest.mark.gen_test(timeout=30)
async def test_a_request_that_cannot_be_read_is_answered_at_once(
    valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_nodes(valkey.url) as (one, _):
        monkeypatch.setattr(control, "_encoded", lambda _: b"\xc1")
        answers = await one.control.ask("n2", Name(), 60)
        assert (answers.by_node, answers.unreachable) == ({}, ("n2",))


@pytest.mark.gen_test(timeout=30)
async def test_a_control_that_has_stopped_begins_no_more_work(valkey: ValkeyProcess) -> None:
    async with two_nodes(valkey.url) as (one, two):
        asked: list[Count] = []

        def count(request: Count) -> int:
            asked.append(request)
            return 1

        two.control.add_handler(Count, count)
        await two.control.stop()
        answers = await one.control.ask("n2", Count(), 0.3)
        assert (answers.unreachable, asked) == (("n2",), [])
