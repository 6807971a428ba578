from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from typing import Any

import pytest

from tests.support.live_server import LIMITS, Client, Live, MakeLive, settle
from tests.support.waiting import until
from wsserver.errors import ConnectionLimit, Draining, ServerFull
from wsserver.realtime.connections.heartbeat import HeartbeatSettings
from wsserver.realtime.manager import ConnectRequest


@pytest.mark.gen_test
async def test_a_newcomer_is_greeted_with_what_it_needs_to_know(make_live: MakeLive) -> None:
    live = await make_live(heartbeat=HeartbeatSettings(0.5, 1.25))
    client = await live.connect("u1")
    assert client.established == {
        "type": "connection_established",
        "connection_id": client.id,
        "user_id": "u1",
        "session_id": None,
        "heartbeat_interval": 0.5,
        "heartbeat_timeout": 1.25,
        "server_time": "2023-11-14T22:13:20.000Z",
        "inbox": {"epoch": (await live.store.head("session:s1")).epoch, "offset": 0, "pending": 0},
        "organization_id": None,
        "organization": None,
        "protocol": "wsserver.v1",
        "max_message_bytes": 65536,
        "timestamp": "2023-11-14T22:13:20.000Z",
    }
    assert client.id.startswith("conn_")
    assert (await live.connect(protocol="plain")).established["protocol"] == "plain"


@pytest.mark.gen_test
async def test_the_handshakes_answer_and_the_greeting_are_one_write(live: Live) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    client = Client(theirs)
    live.clients.append(client)
    other = await live.connect()
    newcomer = ConnectRequest(live.claims("u2"), "chat", None, "plain", "10.0.0.1", "")
    await live.manager.connect(ours.detach(), newcomer, response=b"HTTP/1.1 101\r\n\r\n")
    data = theirs.recv(65536)
    assert data.startswith(b"HTTP/1.1 101\r\n\r\n\x81")
    assert b"connection_established" in data
    assert await other.rest() == []


@pytest.mark.gen_test
async def test_what_the_client_sent_with_its_handshake_is_not_lost(live: Live) -> None:
    text = json.dumps({"type": "ping", "ref": "early"}).encode()
    frame = bytes([0x81, 0x80 | len(text)]) + b"\0\0\0\0" + text
    client = await live.connect(received=frame)
    assert (await client.reply("early"))["type"] == "pong"


@pytest.mark.gen_test
async def test_a_bound_client_is_established_first_and_joined_then(live: Live) -> None:
    other = await live.in_session("u2")
    client = await live.connect("u1", endpoint="session", session_id="s1", sessions=["s1"])
    assert client.established["session_id"] == "s1"
    assert client.joined["session_id"] == "s1"
    assert client.joined["user_id"] == "u1"
    assert client.joined["messages"] == []
    assert {u["user_id"] for u in client.joined["users"]} == {"u1", "u2"}
    assert {"epoch", "offset", "recovered", "timestamp"} <= client.joined.keys()
    pushes = await other.rest()
    assert [p["type"] for p in pushes] == ["user_status_update", "session_joined"]


# Limits


@pytest.mark.gen_test
async def test_one_connection_too_many_is_rejected(make_live: MakeLive) -> None:
    live = await make_live(limits=replace(LIMITS, per_user=2))
    clients = [await live.connect() for _ in range(2)]
    with pytest.raises(ConnectionLimit):
        await live.connect()
    await live.connect("u2")
    assert [await c.rest() for c in clients] == [[], []]
    clients[0].socket.close()
    await settle()
    await live.connect()


@pytest.mark.gen_test
async def test_or_the_oldest_makes_room_with_4504(make_live: MakeLive) -> None:
    live = await make_live(limits=replace(LIMITS, per_user=2, policy="evict_oldest"))
    old, middle = await live.connect(), await live.connect()
    status = await live.monitor()
    new = await live.connect()
    assert (await old.closing())[0] == 4504
    assert live.hub.of_user("u1") == [middle.info, new.info]
    assert [p for p in await status.rest() if p["type"] == "user_status_update"] == []


@pytest.mark.gen_test
async def test_five_is_the_limit_unless_configured(live: Live) -> None:
    for _ in range(5):
        await live.connect()
    with pytest.raises(ConnectionLimit):
        await live.connect()


@pytest.mark.gen_test
async def test_a_full_server_refuses_new_connections_and_keeps_the_open_ones(
    make_live: MakeLive,
) -> None:
    live = await make_live(limits=replace(LIMITS, total=1, policy="evict_oldest"))
    client = await live.connect("u1")
    with pytest.raises(ServerFull) as caught:
        await live.connect("u1")
    assert caught.value.details["retry_after_s"] > 0
    assert await client.rest() == []


# Status


@pytest.mark.gen_test
async def test_connect_and_disconnect_are_sent_to_monitors_and_session_members(
    live: Live,
) -> None:
    await live.members.replace("listed", ["u1"], "admin", 0.0)
    monitor = await live.monitor()
    by_claim = await live.in_session("a", "claimed")
    by_list = await live.in_session("b", "listed")
    in_both = await live.connect("c", sessions="*")
    for session_id in ("claimed", "listed"):
        await in_both.call("join_session", session_id=session_id)
    stranger = await live.in_session("d", "elsewhere")
    people = (monitor, by_claim, by_list, in_both, stranger)
    for client in people:
        await client.rest()

    async def told() -> list[list[tuple[str, int]]]:
        return [
            [
                (p["status"], p["connections"])
                for p in await client.rest()
                if p["type"] == "user_status_update" and p["user_id"] == "u1"
            ]
            for client in people
        ]

    one = await live.connect("u1", sessions=["claimed"])
    two = await live.connect("u1", sessions=["claimed"])
    assert await told() == [[("online", 1)]] * 4 + [[]]
    one.socket.close()
    await settle()
    assert await told() == [[]] * 5
    assert await two.rest() == []
    two.socket.close()
    await settle()
    assert await told() == [[("offline", 0)]] * 4 + [[]]


@pytest.mark.gen_test
async def test_a_monitor_that_has_joined_the_session_is_notified_once(live: Live) -> None:
    monitor = await live.monitor()
    await monitor.call("join_session", session_id="s1")
    await live.connect("u1", sessions=["s1"])
    assert [p["status"] for p in await monitor.rest()] == ["online"]


@pytest.mark.gen_test
async def test_those_in_a_session_that_the_user_had_joined_hear_that_it_is_offline(
    live: Live,
) -> None:
    other = await live.in_session("other")
    client = await live.connect("u1", sessions="*")
    await client.call("join_session", session_id="s1")
    await other.rest()
    client.socket.close()
    await settle()
    assert [p["type"] for p in await other.rest()] == ["session_left", "user_status_update"]


# Going


@pytest.mark.gen_test
async def test_a_client_that_says_goodbye_leaves_nothing_behind(live: Live) -> None:
    events = live.watch("user_*")
    client = await live.in_session("u1")
    client.send_frame(8, (1000).to_bytes(2, "big") + b"done")
    assert (await client.closing())[0] == 1000
    assert [(e["name"], e["connections"], e.get("code"), e.get("reason")) for e in events] == [
        ("user_connected", 1, None, None),
        ("user_disconnected", 0, 1000, "done"),
    ]
    assert len(live.hub) == 0
    assert live.hub.user_connections == live.hub.session_connections == {}
    assert live.manager._expiry._buckets == {}
    stats = live.manager.stats()
    assert (stats["disconnections"], stats["total_connections"], stats["active_sessions"]) == (
        *(1, 0, 0),
    )


@pytest.mark.gen_test
async def test_a_connection_is_closed_by_its_id_once(live: Live) -> None:
    client = await live.connect()
    assert await live.manager.disconnect(client.id, 4502, "因为" * 60)
    code, reason = await client.closing()
    assert code == 4502
    assert reason == "因为" * 20 + "因"  # cut to 123 bytes between characters
    assert not await live.manager.disconnect(client.id)
    assert live.manager.stats()["disconnections"] == 1


@pytest.mark.gen_test
async def test_a_closing_connection_gets_nothing_more_and_is_heard_no_more(live: Live) -> None:
    client = await live.connect()
    live.manager.close(client.info, 1000, "")
    client.send("ping", ref=1)
    receipt = (await live.manager.send_to_user("u1", "x")).receipt
    assert (receipt.matched, receipt.sent) == (0, 0)
    await client.closing()
    assert client.pushes == []


@pytest.mark.gen_test
async def test_a_binary_message_is_closed_with_1003(live: Live) -> None:
    client = await live.connect()
    client.send_frame(2, b"\0")
    assert (await client.closing())[0] == 1003


@pytest.mark.gen_test
async def test_a_client_that_does_not_read_is_closed_and_the_others_never_notice(
    make_live: MakeLive,
) -> None:
    live = await make_live(queue_limit_bytes=64 * 1024)
    await live.connect("slow")
    quick = await live.connect("quick")
    failed = 0
    for n in range(200):
        sent = await live.manager.broadcast("x", data="y" * 8000, n=n)
        failed += sent.receipt.failed
        await quick.receive("x")
        if len(live.hub) == 1:
            break
        await settle()
    assert list(live.hub.user_connections) == ["quick"]
    assert failed >= 1
    assert live.manager.stats()["errors"] == failed
    assert live.poller.counters.slow_consumers == 1


# Draining


@pytest.mark.gen_test
async def test_draining_gives_each_client_another_delay_and_closes_with_1012(live: Live) -> None:
    clients = [await live.in_session(f"u{n}") for n in range(6)]
    for client in clients:
        await client.rest()
    live.manager.drain()
    hints = []
    for client in clients:
        code, reason = await client.closing()
        assert code == 1012
        (push,) = client.pushes  # and nothing of the others' leaving
        assert push["type"] == "server_draining"
        hints.append(push["reconnect_after_ms"])
        assert f"reconnect_after_ms={hints[-1]}" in reason
    assert len(set(hints)) == 6
    assert min(hints) >= 1000
    assert max(hints) <= 6000
    with pytest.raises(Draining):
        await live.connect("late")


@pytest.mark.gen_test
async def test_draining_without_connections_ends(live: Live) -> None:
    live.manager.drain()
    assert live.manager.is_draining


# Tokens


@pytest.mark.gen_test
async def test_a_warning_comes_60_s_before_the_token_ends_and_4010_at_its_end(live: Live) -> None:
    client = await live.connect(exp=live.clock.wall() + 90)
    live.clock.advance(29)
    live.manager.expire_tokens()
    assert await client.rest() == []
    live.clock.advance(1)
    live.manager.expire_tokens()
    live.manager.expire_tokens()
    (push,) = await client.rest()
    assert (push["type"], push["expires_at"]) == ("token_expiring", "2023-11-14T22:14:50.000Z")
    live.clock.advance(60)
    live.manager.expire_tokens()
    assert (await client.closing())[0] == 4010


@pytest.mark.gen_test
async def test_the_warning_comes_immediately_when_less_is_left(live: Live) -> None:
    other = await live.connect("other", exp=live.clock.wall() + 59)
    assert (await other.receive("token_expiring"))["expires_at"]
    client = await live.connect("u1", exp=live.clock.wall() + 59)
    await client.receive("token_expiring")
    assert await other.rest() == []
    bound = await live.connect(
        "u2", endpoint="session", session_id="s1", sessions=["s1"], exp=live.clock.wall() + 5
    )
    await bound.receive("token_expiring")


@pytest.mark.gen_test
async def test_the_wall_clock_may_jump_an_hour_without_a_heartbeat_noticing(live: Live) -> None:
    short = await live.connect("short", exp=live.clock.wall() + 1800)
    long = await live.connect("long", exp=live.clock.wall() + 7200)
    live.clock.now_wall += 3600
    live.manager.heartbeat.advance()
    live.manager.expire_tokens()
    assert (await short.closing())[0] == 4010
    assert await long.rest() == []
    live.clock.now_wall -= 7200
    await live.tick(20.0)
    live.manager.expire_tokens()
    assert await long.rest() == []


# The face


@pytest.mark.gen_test
async def test_a_program_pushes_to_users_sessions_and_all(live: Live) -> None:
    u1, u2 = await live.in_session("u1", "s1"), await live.in_session("u2", "s2")
    manager = live.manager
    for send, expected in (
        (manager.send_to_user("u1", "x", data=1), [1, 0]),
        (manager.send_to_session("s2", "x", data=1), [0, 1]),
        (manager.broadcast("x", data=1), [1, 1]),
        (manager.send_to_user("nobody", "x", data=1), [0, 0]),
    ):
        sent = await send
        assert sent.receipt.matched == sent.receipt.sent == sum(expected)
        got = [await client.rest() for client in (u1, u2)]
        assert [len(pushes) for pushes in got] == expected
        for push in (push for pushes in got for push in pushes):
            assert (push["type"], push["data"], push["id"]) == ("x", 1, sent.message_id)


@pytest.mark.gen_test
async def test_the_indexes_have_their_known_names(live: Live) -> None:
    client = await live.in_session("u1")
    assert live.manager.connections == {client.id: client.info}
    assert live.manager.user_connections == {"u1": {client.id}}
    assert live.manager.session_connections == {"s1": {client.id}}


@pytest.mark.gen_test
async def test_programs_may_raise_and_hear_events_of_their_own(live: Live) -> None:
    seen: list[Any] = []
    live.manager.add_event_handler("billing.*", seen.append)
    live.manager.emit("billing.paid", amount=5)
    live.manager.emit("other")
    assert [(e["name"], e["amount"]) for e in seen] == [("billing.paid", 5)]


@pytest.mark.gen_test
async def test_a_failing_handler_does_not_keep_anybody_out(live: Live) -> None:
    def breaks(event: Any) -> None:
        raise ZeroDivisionError

    live.manager.add_event_handler("*", breaks)
    client = await live.in_session("u1")
    assert (await client.call("ping"))["type"] == "pong"
    assert live.manager.stats()["handler_failures"] == 2


@pytest.mark.gen_test
async def test_many_comings_and_goings_leave_nothing(live: Live) -> None:
    def nothing_is_left() -> bool:
        return len(live.hub) == len(live.tasks) == live.poller.connections == 0

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    before = 0
    for n in range(100):
        client = await live.in_session(f"u{n % 3}")
        client.socket.close()
        await settle()
        if n == 0:  # whatever is opened once, as by the first read of the database, is open now
            await until(nothing_is_left)
            before = descriptors()
    await until(nothing_is_left)
    await live.tick(61.0)
    assert len(live.manager.heartbeat._pings) == len(live.manager.heartbeat._deadlines) == 0
    await until(lambda: descriptors() <= before)


@pytest.mark.gen_test
async def test_users_who_all_leave_together_count_as_no_failed_sends(live: Live) -> None:
    crowd = [await live.in_session(f"u{n}") for n in range(20)]
    stays = await live.in_session("stays")
    for client in crowd:
        client.socket.close()
    await settle()
    left = [p["user_id"] for p in await stays.rest() if p["type"] == "session_left"]
    assert sorted(left) == sorted(client.info.user_id for client in crowd)
    assert live.statistics.errors == 0
    assert live.statistics.disconnections == 20
