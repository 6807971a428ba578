from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.frames import PONG
from tests.support.live_server import Live, MakeLive
from tests.support.waiting import PATIENCE_S
from wsserver.storage.tables.snapshots import FIELDS

READS_ONLY = frozenset({"monitor"})
COMMANDS: list[tuple[str, dict[str, Any], str | None]] = [
    ("get_stats", {}, "stats:read"),
    ("subscribe", {}, None),
    ("broadcast", {"type": "x"}, "messages:publish"),
    ("publish", {"type": "x", "target": {"type": "broadcast"}}, "messages:publish"),
    ("disconnect_user", {"user_id": "u1"}, "connections:disconnect"),
    ("ping_user", {"user_id": "u1"}, "connections:read"),
]


@pytest.mark.gen_test
@pytest.mark.parametrize(("command", "args", "permission"), COMMANDS)
async def test_each_command_needs_the_permission_of_its_rest_call(
    live: Live, command: str, args: dict[str, Any], permission: str | None
) -> None:
    able = READS_ONLY | ({permission} if permission else set())
    may = await live.monitor("may", permissions=able)
    may_not = await live.monitor("may_not", permissions=READS_ONLY)
    assert (await may.call(command, args=args))["type"] == "result"
    if permission is not None:
        assert await may_not.error(command, args=args) == "forbidden"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("command", "args", "field"),
    [
        ("get_stats", {"x": 1}, "x"),
        ("subscribe", {"events": "x"}, "events"),
        ("subscribe", {"interval_s": 0}, "interval_s"),
        ("broadcast", {}, "type"),
        ("broadcast", {"type": "stats_update"}, "type"),
        ("broadcast", {"type": "x", "target": {"type": "broadcast"}}, "target"),
        ("publish", {"type": "x"}, "target"),
        ("publish", {"type": "x", "target": {"type": "user"}}, "target.id"),
        ("disconnect_user", {}, "user_id"),
        ("disconnect_user", {"user_id": "a b"}, "user_id"),
        ("ping_user", {"user_id": "u1", "timeout_s": 0}, "timeout_s"),
    ],
)
async def test_args_of_the_wrong_shape_are_refused_as_the_body_would_be(
    live: Live, command: str, args: dict[str, Any], field: str
) -> None:
    monitor = await live.monitor()
    error = (await monitor.call(command, args=args))["error"]
    assert error["code"] == "validation_failed"
    assert [each["field"] for each in error["errors"]] == [field]
    assert (await monitor.call("ping"))["type"] == "pong"


@pytest.mark.gen_test
async def test_the_answers_are_those_of_the_rest_calls(live: Live) -> None:
    monitor = await live.monitor("boss")
    client = await live.connect("u1")
    await monitor.rest()

    async def result(command: str, **args: Any) -> Any:
        answer = await monitor.call(command, args=args)
        assert answer["type"] == "result"
        return answer["result"]

    stats = await result("get_stats")
    assert set(FIELDS) <= stats.keys()
    assert stats["total_connections"] == 2
    assert await result("subscribe", events=["x"], interval_s=9) == {
        "events": ["x"],
        "interval_s": 9.0,
    }
    sent = await result("broadcast", type="x", data=1)
    assert (sent["matched"], sent["sent"], sent["failed"]) == (2, 2, 0)
    assert (await client.receive("x"))["id"] == sent["message_id"]
    sent = await result("publish", type="y", target={"type": "user", "id": "u1"})
    assert sent["matched"] == 1
    assert (await client.receive("y"))["id"] == sent["message_id"]
    assert await result("disconnect_user", user_id="u1", reason="bye") == {"disconnected": 1}
    assert await client.closing() == (4502, "bye")
    entries = {e.action: e for e in await live.audited()}
    assert entries.keys() == {"broadcast", "publish", "disconnect"}
    assert entries["publish"].target == "user:u1"
    assert entries["disconnect"].remote_ip == "10.0.0.1"
    assert entries["disconnect"].request_id == monitor.id


@pytest.mark.gen_test
async def test_a_monitor_can_ping_even_itself(live: Live) -> None:
    monitor = await live.monitor("boss")
    monitor.send("ping_user", ref="p", args={"user_id": "boss", "timeout_s": 5})
    _, push = await monitor.frame()
    _, ping_id = await monitor.frame()
    live.clock.advance(0.005)
    if b'"ping"' in push:
        monitor.send_frame(PONG, ping_id)
    answer = await asyncio.wait_for(monitor.reply("p"), PATIENCE_S)
    assert answer["result"]["connections"] == [
        {"connection_id": monitor.id, "alive": True, "rtt_ms": 5.0}
    ]


@pytest.mark.gen_test
async def test_a_monitor_has_the_commands_of_a_chat_too(live: Live) -> None:
    monitor = await live.monitor("boss")
    assert (await monitor.call("join_session", session_id="s1"))["type"] == "session_joined"
    assert (await monitor.call("presence", session_id="s1"))["users"][0]["user_id"] == "boss"


@pytest.mark.gen_test
async def test_who_is_confined_publishes_into_no_empty_session_of_others(
    make_live: MakeLive,
) -> None:
    live = await make_live(roles={"manager": ["monitor", "messages:publish"]})
    args = {"type": "note", "target": {"type": "session", "id": "s1"}, "keep": True}
    await live.in_session("member", "s1", organization_id="o1")
    mine = await live.monitor("m1", role="manager", organization_id="o1")
    other = await live.monitor("m2", role="manager", organization_id="o2")
    assert (await mine.call("publish", args=args))["result"]["offset"] == 1
    assert await other.error("publish", args=args) == "forbidden"
    assert (await mine.call("publish", args=args))["result"]["offset"] == 2
    entry = (await live.audited())[1]
    assert (entry.actor, entry.action, entry.outcome) == ("m2", "publish", "forbidden")
