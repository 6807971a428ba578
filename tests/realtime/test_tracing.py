from __future__ import annotations

from typing import Any

import pytest

from tests.support.live_server import Client, Live, MakeLive, settle
from wsserver.errors import Forbidden, NotFound
from wsserver.protocol.origin import Origin
from wsserver.protocol.requests import PublishRequest, read_request
from wsserver.protocol.targets import EVERYONE, Target, TargetType, session, user
from wsserver.realtime.connections.connection_log import ConnectionLog
from wsserver.realtime.messages.message import Message
from wsserver.realtime.tracing import tracing as module


async def send(live: Live, target: Target = EVERYONE, **fields: Any) -> str:
    return (await live.router.send(Message("x", {"data": 1}, target, **fields))).message_id


async def trace(live: Live, message_id: str, **query: Any) -> dict[str, Any]:
    return await live.tracing.trace(live.actor(), message_id, **query)


def states(answer: dict[str, Any]) -> dict[str, str]:
    """State, or reason, by user."""
    return {each["user_id"]: each.get("reason", each["state"]) for each in answer["recipients"]}


@pytest.mark.gen_test
async def test_a_live_message_is_traced_to_those_who_were_there(live: Live) -> None:
    before = await live.connect("before")
    plain = await live.connect("plain", protocol="plain")
    await live.connect("stays")
    actor = live.actor()
    request = {"type": "x", "data": 1, "target": {"type": "broadcast"}, "exclude_users": ["stays"]}
    sent = await live.publishing.publish(actor, read_request(request, PublishRequest))
    live.manager.close(before.info, 1000, "")
    await live.connect("after")
    answer = await trace(live, sent["message_id"])
    now = "2023-11-14T22:13:20.000Z"
    assert answer == {
        "message_id": sent["message_id"],
        "type": "x",
        "class": "live",
        "target": {"type": "broadcast"},
        "accepted_at": now,
        "accepted_from": {"user_id": "boss", "role": "admin", "via": "rest", "id": "req_1"},
        "recipients": [
            {
                "user_id": "stays",
                "state": "dropped",
                "reason": "excluded",
                "history": [{"state": "dropped", "at": now}],
            },
            {
                "user_id": "before",
                "connection_id": before.id,
                "state": "sent",
                "history": [{"state": "sent", "at": now}],
            },
            {
                "user_id": "plain",
                "connection_id": plain.id,
                "state": "delivered",
                "history": [{"state": "sent", "at": now}, {"state": "delivered", "at": now}],
            },
        ],
        "truncated": False,
        "summary": {
            "total": 3,
            "pending": 0,
            "sent": 1,
            "delivered": 1,
            "read": 0,
            "dropped": 1,
            "expired": 0,
        },
    }


@pytest.mark.gen_test
async def test_what_connections_have_said_since_is_in_it(live: Live) -> None:
    client = await live.connect("u1")
    message_id = await send(live, user("u1"))
    live.clock.advance(2)
    live.traces.marked(message_id, "u1", client.id, "read")
    live.traces.marked(message_id, "stranger", "conn_x", "read")
    answer = await trace(live, message_id)
    assert states(answer) == {"u1": "read"}
    assert [step["at"] for step in answer["recipients"][0]["history"]] == [
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:13:22.000Z",
    ]


@pytest.mark.gen_test
async def test_a_session_is_traced_with_its_members(live: Live) -> None:
    await live.members.replace("s1", ["here", "elsewhere", "offline", "unwanted"], "boss", 0.0)
    await live.in_session("here")
    await live.in_session("guest")
    await live.connect("elsewhere")
    await live.in_session("stranger", organization_id="o2")
    message_id = await send(
        live,
        session("s1"),
        organization_id="o1",
        with_unaffiliated=True,
        exclude_users=frozenset({"unwanted"}),
    )
    await live.connect("offline")
    assert states(await trace(live, message_id)) == {
        "here": "sent",
        "guest": "sent",
        "elsewhere": "not_joined",
        "offline": "offline",
        "unwanted": "excluded",
        "stranger": "other_organization",
    }


@pytest.mark.gen_test
async def test_filtered_out_users_of_a_broadcast_are_not_listed(live: Live) -> None:
    await live.connect("u1", organization_id="o1")
    await live.connect("u2", organization_id="o2")
    everybody = await trace(live, await send(live, organization_id="o1"))
    assert states(everybody) == {"u1": "sent"}
    assert everybody["organization_id"] == "o1"
    of_role = await send(live, Target(TargetType.ROLE, "user"), organization_id="o1")
    assert states(await trace(live, of_role)) == {"u1": "sent"}


WHY_NOT = [
    # target, filters, of whom is asked, the answer
    (EVERYONE, {}, "u1", "sent"),
    (EVERYONE, {}, "late", "offline"),
    (EVERYONE, {"organization_id": "o9"}, "u1", "other_organization"),
    (EVERYONE, {"role": "admin"}, "u1", "other_role"),
    (EVERYONE, {"exclude_users": frozenset({"u1", "u2"})}, "u1", "excluded"),
    (session("s1"), {}, "u1", "sent"),
    (session("s1"), {}, "member", "not_joined"),
    (session("s1"), {}, "able", "not_joined"),
    (session("s1"), {}, "unable", "no_access"),
    (session("s1"), {}, "late", "offline"),
    (Target(TargetType.ORGANIZATION, "o1"), {}, "unable", "other_organization"),
    (Target(TargetType.ORGANIZATION, "o1"), {}, "late", "offline"),
    (Target(TargetType.ROLE, "admin"), {}, "u1", "other_role"),
    (user("u1"), {}, "u1", "sent"),
    (user("late"), {}, "late", "offline"),
    (user("u1"), {}, "unable", None),
]


@pytest.mark.gen_test
@pytest.mark.parametrize(("target", "filters", "who", "expected"), WHY_NOT)
async def test_one_user_can_be_asked_about(
    live: Live, target: Target, filters: dict[str, Any], who: str, expected: str | None
) -> None:
    await live.members.replace("s1", ["member"], "boss", 0.0)
    await live.in_session("u1", organization_id="o1")
    await live.connect("member")
    await live.connect("able", sessions=["s1"])
    await live.connect("unable")
    message_id = await send(live, target, **filters)
    await live.in_session("late")
    answer = await trace(live, message_id, user_id=who)
    assert states(answer) == ({} if expected is None else {who: expected})
    assert answer["summary"]["total"] == len(answer["recipients"])


@pytest.mark.gen_test
async def test_a_manager_who_may_enter_the_sessions_of_its_organization_had_not_joined(
    make_live: MakeLive,
) -> None:
    """Nothing has found out yet whose the session is."""
    live = await make_live(roles={"manager": ["sessions:any"]})
    for session_id, organization_id in (("ours", "o1"), ("theirs", "o2")):
        await live.in_session(f"in-{session_id}", session_id, organization_id=organization_id)
    await live.connect("m1", role="manager", organization_id="o1")
    for session_id, expected in (("ours", "not_joined"), ("theirs", "no_access")):
        message_id = await send(live, session(session_id))
        assert states(await trace(live, message_id, user_id="m1")) == {"m1": expected}


@pytest.mark.gen_test
async def test_a_user_who_went_before_was_offline(live: Live) -> None:
    client = await live.in_session("u1")
    await send(live)
    live.manager.close(client.info, 1000, "")
    message_id = await send(live, session("s1"))
    assert states(await trace(live, message_id, user_id="u1")) == {"u1": "offline"}


@pytest.mark.gen_test
async def test_signals_leave_no_trace(live: Live) -> None:
    client = await live.in_session("u1")
    await client.call("typing", session_id="s1", is_typing=True)
    assert len(live.traces) == live.connection_log.tick == 0


@pytest.mark.gen_test
async def test_what_is_not_known_is_not_found_and_says_how_long_it_would_be(live: Live) -> None:
    message_id = await send(live)
    await trace(live, message_id)
    live.clock.advance(600)
    for unknown in (message_id, "msg_none"):
        with pytest.raises(NotFound, match=rf"no message {unknown}; live messages .* 600 s"):
            await trace(live, unknown)


@pytest.mark.gen_test
async def test_a_connection_that_breaks_did_not_get_it(live: Live) -> None:
    client = await live.connect("u1")
    stays = await live.connect("u2")
    client.socket.close()
    message_id = (await live.manager.broadcast("x")).message_id
    answer = await trace(live, message_id)
    assert states(answer) == {"u1": "failed", "u2": "sent"}
    await settle()
    assert client.id not in live.hub.connections
    assert states(await trace(live, message_id)) == {"u1": "failed", "u2": "sent"}
    assert (await stays.receive("x"))["id"] == message_id


@pytest.mark.gen_test
async def test_a_slow_consumer_may_not_have_got_what_waited(make_live: MakeLive) -> None:
    live = await make_live(queue_limit_bytes=200_000)
    await live.connect("slow", protocol="plain")
    early = await send(live)
    live.clock.advance(1)
    lost = []
    while live.hub.connections:
        sent = await live.manager.broadcast("x", data="x" * 20_000)
        lost.append(sent.message_id)
        assert len(lost) < 1000
        live.clock.advance(1)
        await settle()
    reasons = [states(await trace(live, each))["slow"] for each in lost]
    assert reasons[-1] == "slow"
    assert 10 <= reasons.count("slow") <= 12  # 200 kB of 20 kB each, and what was half out
    assert set(reasons[: -reasons.count("slow")]) <= {"delivered"}
    assert states(await trace(live, early)) == {"slow": "delivered"}
    last = (await trace(live, lost[-2]))["recipients"][0]["history"]
    assert [step["state"] for step in last] == ["sent", "dropped"]
    assert last[0]["at"] < last[1]["at"]


@pytest.mark.gen_test
async def test_a_large_audience_is_counted_and_listed_in_part(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE", 2)
    for number in range(5):
        await live.connect(f"u{number}")
    message_id = await send(live, exclude_users=frozenset(f"x{number}" for number in range(1200)))
    answer = await trace(live, message_id)
    assert len(answer["recipients"]) == 1000
    assert answer["truncated"] is True
    assert (answer["summary"]["total"], answer["summary"]["sent"]) == (1205, 5)


@pytest.mark.gen_test
async def test_that_some_who_were_there_are_forgotten_is_said(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = ConnectionLog(live.clock, limit=1)
    monkeypatch.setattr(live.hub, "connection_log", limited)
    monkeypatch.setattr(live.traces, "_connection_log", limited)
    clients = [await live.connect(f"u{number}") for number in range(3)]
    message_id = await send(live)
    assert (await trace(live, message_id))["truncated"] is False
    for client in clients:
        live.manager.close(client.info, 1000, "")
    answer = await trace(live, message_id)
    assert answer["truncated"] is True
    assert states(answer) == {"u2": "sent"}


@pytest.mark.gen_test
async def test_the_origin_distinguishes_sockets_monitors_and_the_server(live: Live) -> None:
    client = await live.in_session("u1", sessions=["s1"])
    monitor = await live.monitor("admin")
    sent = await client.call("send_message", session_id="s1", content="hi")
    to_all = {"target": {"type": "broadcast"}, "type": "x"}
    published = (await monitor.call("publish", args=to_all))["result"]
    own = await live.manager.broadcast("x")
    assert [
        (await trace(live, message_id))["accepted_from"]
        for message_id in (sent["message_id"], published["message_id"], own.message_id)
    ] == [
        {"user_id": "u1", "role": "user", "via": "socket", "id": client.id},
        {"user_id": "admin", "role": "admin", "via": "monitor", "id": monitor.id},
        {"user_id": None, "role": None, "via": "server", "id": None},
    ]


# Kept messages


@pytest.mark.gen_test
async def test_a_kept_message_has_its_position_and_waits_for_the_absent(live: Live) -> None:
    await live.members.replace("s1", ["offline"], "boss", 0.0)
    client = await live.in_session("u1")
    sent = await client.call("send_message", session_id="s1", content="hi")
    answer = await trace(live, sent["message_id"])
    assert answer["class"] == "kept"
    assert [answer[name] for name in ("stream", "epoch", "offset")] == [
        sent[name] for name in ("stream", "epoch", "offset")
    ]
    assert [(each["user_id"], each["state"]) for each in answer["recipients"]] == [
        ("u1", "sent"),
        ("offline", "pending"),
    ]
    assert answer["recipients"][1]["reason"] == "offline"


@pytest.mark.gen_test
async def test_after_a_restart_a_kept_message_is_traced_from_storage(
    make_live: MakeLive, live: Live
) -> None:
    await live.members.replace("s1", ["offline"], "boss", 0.0)
    client = await live.in_session("u1", organization_id="o1")
    sent = await client.call("send_message", session_id="s1", content="hi")
    to_one = {"type": "x", "keep": True, "target": {"type": "user", "id": "u7"}, "data": 1}
    request = read_request({**to_one, "exclude_users": ["u8"]}, PublishRequest)
    published = await live.publishing.publish(live.actor(), request)
    await live.database.close()
    again = await make_live()
    answer = await trace(again, sent["message_id"])
    assert answer["accepted_from"] == {
        "user_id": "u1",
        "role": "user",
        "via": "socket",
        "id": client.id,
    }
    assert answer["target"] == {"type": "session", "id": "s1"}
    assert (answer["class"], answer["offset"]) == ("kept", sent["offset"])
    assert states(answer) == {"offline": "pending"}
    inbox = await trace(again, published["message_id"])
    assert states(inbox) == {"u7": "pending", "u8": "excluded"}
    again.clock.advance(700)
    assert (await trace(again, published["message_id"]))["accepted_at"] == inbox["accepted_at"]


@pytest.mark.gen_test
async def test_stored_receipts_show_the_recipients(live: Live) -> None:
    await live.members.replace("s1", ["u2", "u3"], "boss", 0.0)
    client = await live.in_session("u1")
    sent = await client.call("send_message", session_id="s1", content="hi")
    ids, at = [sent["message_id"]], live.clock.wall() + 5
    await live.receipt_store.record("u1", ids, read=False, at=at)
    await live.receipt_store.record("u2", ids, read=True, at=at)
    await live.receipt_store.advance("u3", sent["stream"], sent["offset"], at)
    later = await live.in_session("u2")
    live.traces.marked(sent["message_id"], "u2", later.id, "sent")
    answer = await trace(live, sent["message_id"])
    assert [
        (each["user_id"], each.get("connection_id"), [step["state"] for step in each["history"]])
        for each in answer["recipients"]
    ] == [
        ("u1", client.id, ["sent", "delivered"]),
        ("u2", later.id, ["pending", "sent", "delivered", "read"]),
        ("u3", None, ["pending", "delivered"]),
    ]


@pytest.mark.gen_test
async def test_pending_recipients_expire_with_the_message(live: Live) -> None:
    message_id = await send(live, user("u1"), keep=True, ttl_s=5.0)
    assert states(await trace(live, message_id)) == {"u1": "offline"}
    live.clock.advance(6)
    answer = await trace(live, message_id)
    assert [each["state"] for each in answer["recipients"]] == ["expired"]
    assert [step["at"] for step in answer["recipients"][0]["history"]] == [
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:13:25.000Z",
    ]


@pytest.mark.gen_test
@pytest.mark.parametrize("is_restarted", [False, True])
async def test_acknowledging_a_stream_is_no_receipt_for_what_was_for_others(
    live: Live, is_restarted: bool
) -> None:
    people = {
        name: await live.in_session(name, organization_id=organization_id)
        for name, organization_id in (("u1", "o1"), ("u2", "o2"))
    }
    kept: dict[str, Any] = {"keep": True, "sender": "boss"}
    for_o1 = await send(live, organization_id="o1", **kept)
    not_u2 = await send(live, session("s1"), exclude_users=frozenset({"u2"}), **kept)
    for_all = await send(live, session("s1"), **kept)
    not_its_owner = await send(live, user("u2"), exclude_users=frozenset({"u2"}), **kept)
    await people["u2"].call("ack", stream="user:u2", offset=1)
    not_u2_either = await send(live, exclude_users=frozenset({"u2"}), **kept)
    await people["u1"].call("ack", stream="organization:o1", offset=1)
    for client in people.values():
        await client.call("ack", stream="broadcast", offset=1)
        await client.call("ack", stream="session:s1", offset=2)
    if is_restarted:
        live.forget_traces()
    assert states(await trace(live, for_o1)) == {"u1": "delivered"}
    assert states(await trace(live, not_u2_either)) == {"u1": "delivered", "u2": "excluded"}
    traced = await trace(live, not_u2)
    assert [each["state"] for each in traced["recipients"] if each["user_id"] == "u2"] == [
        "dropped"
    ]
    assert states(traced)["u1"] == "delivered"
    assert states(await trace(live, not_its_owner)) == {"u2": "excluded"}
    assert states(await trace(live, for_all)) == {"u1": "delivered", "u2": "delivered"}


# Who may see


@pytest.fixture
def boss(live: Live) -> Any:
    return live.actor("manager", "boss", organization_id="o1")


async def connect_people(live: Live) -> dict[str, Client]:
    people = {
        name: await live.connect(name, sessions="*", organization_id=organization_id)
        for name, organization_id in (("mine", "o1"), ("theirs", "o2"), ("free", None))
    }
    for name, session_id in (
        *(("mine", "mixed"), ("theirs", "mixed"), ("free", "mixed")),
        *(("theirs", "foreign"), ("free", "nobodys")),
    ):
        await people[name].call("join_session", session_id=session_id)
    live.manager.close((await live.connect("offline", organization_id="o1")).info, 1000, "")
    return people


SEEN = [
    # target, filters, whom the manager of o1 sees in it; None: there is no such message
    (EVERYONE, {}, "mine"),
    (EVERYONE, {"organization_id": "o1"}, "mine"),
    (EVERYONE, {"organization_id": "o2"}, None),
    (EVERYONE, {"role": "admin"}, ""),
    (session("mixed"), {}, "free mine"),
    (session("foreign"), {}, None),
    (session("nobodys"), {}, None),
    (session("empty"), {}, None),
    (user("mine"), {}, "mine"),
    (user("theirs"), {}, None),
    (user("free"), {}, None),
    (user("offline"), {}, "offline"),
    (user("unknown"), {}, None),
    (Target(TargetType.ORGANIZATION, "o1"), {}, "mine"),
    (Target(TargetType.ORGANIZATION, "o2"), {}, None),
    (Target(TargetType.ORGANIZATION, "o3"), {}, None),
    (Target(TargetType.ROLE, "user"), {}, "mine"),
    (Target(TargetType.CONNECTION, "conn_none"), {}, None),
    (EVERYONE, {"exclude_users": frozenset({"theirs", "offline"})}, "mine offline"),
]


@pytest.mark.gen_test
@pytest.mark.parametrize(("target", "filters", "seen"), SEEN)
async def test_a_manager_sees_recipients_of_its_organization_only(
    live: Live, boss: Any, target: Target, filters: dict[str, Any], seen: str | None
) -> None:
    people = await connect_people(live)
    if target == EVERYONE and filters.get("role") == "admin":
        await live.connect("admin", role="admin", organization_id="o1")
        seen = "admin"
    message_id = await send(live, target, **filters)
    live.manager.close(people["theirs"].info, 1000, "")  # gone, but not forgotten
    if seen is None:
        for user_id in (None, "theirs", "mine"):
            with pytest.raises(NotFound):
                await live.tracing.trace(boss, message_id, user_id=user_id)
        return
    answer = await live.tracing.trace(boss, message_id)
    assert sorted(states(answer)) == seen.split()
    assert answer["summary"]["total"] == len(seen.split())
    for outside in ("theirs", "unknown"):
        with pytest.raises(Forbidden, match=f"^user {outside} is outside of your organization$"):
            await live.tracing.trace(boss, message_id, user_id=outside)


@pytest.mark.gen_test
@pytest.mark.parametrize(("role", "target"), [("service", "theirs"), ("admin", "foreign")])
async def test_what_the_unconfined_write_to_others_is_unknown_to_managers_of_their_organization(
    live: Live, boss: Any, role: str, target: str
) -> None:
    await connect_people(live)
    message = Message("x", {}, user(target) if target == "theirs" else session(target))
    message.origin = Origin("svc", role, "o1")
    message_id = (await live.router.send(message)).message_id
    with pytest.raises(NotFound):
        await live.tracing.trace(boss, message_id)


@pytest.mark.gen_test
async def test_what_others_said_where_none_of_mine_was_is_unknown_to_a_manager(
    live: Live, boss: Any
) -> None:
    """Also to a customer, or in a session that has been left since, or before a restart."""
    people = await connect_people(live)
    await people["free"].call("join_session", session_id="foreign")
    sent = await people["theirs"].call("send_message", session_id="foreign", content="hi")
    for is_forgotten in (False, True):
        if is_forgotten:
            live.forget_traces()
        with pytest.raises(NotFound):
            await live.tracing.trace(boss, sent["message_id"])
        await live.tracing.trace(live.actor(), sent["message_id"])


@pytest.mark.gen_test
async def test_a_publisher_from_elsewhere_is_not_named(live: Live, boss: Any) -> None:
    people = await connect_people(live)
    for name, shown in (("mine", "mine"), ("free", "free"), ("theirs", None)):
        sent = await people[name].call("send_message", session_id="mixed", content="hi")
        source = (await live.tracing.trace(boss, sent["message_id"]))["accepted_from"]
        assert source["user_id"] == shown
        assert source["id"] == (people[name].id if shown else None)
        assert source["via"] == "socket"


@pytest.mark.gen_test
async def test_a_manager_can_trace_messages_sent_by_its_organization(live: Live, boss: Any) -> None:
    await connect_people(live)
    origin = Origin("mine", "manager", "o1", "rest", "req_1")
    message_id = await send(live, user("theirs"), origin=origin)
    answer = await live.tracing.trace(boss, message_id)
    assert answer["accepted_from"]["user_id"] == "mine"
    assert states(answer) == {}


@pytest.mark.gen_test
async def test_who_has_come_from_elsewhere_since_is_not_named(live: Live, boss: Any) -> None:
    message_id = await send(live, organization_id="o1", exclude_users=frozenset("xyz"))
    await live.connect("x", organization_id="o2")
    await live.connect("y", organization_id="o1")
    assert states(await live.tracing.trace(boss, message_id)) == {"y": "excluded"}


@pytest.mark.gen_test
async def test_tracing_needs_the_permission(live: Live) -> None:
    message_id = await send(live)
    for actor in (
        live.actor("user"),
        live.actor("admin", permissions=frozenset({"messages:publish"})),
        live.actor("manager"),
    ):
        with pytest.raises(Forbidden):
            await live.tracing.trace(actor, message_id)
