"""§4, §5: the monitor endpoint: pushes and commands."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer

TEN = {
    "total_connections",
    "active_connections",
    "messages_sent",
    "messages_received",
    "disconnections",
    "errors",
    "active_users",
    "active_sessions",
    "total_user_connections",
    "total_session_connections",
}


def test_statistics_arrive_immediately_and_then_at_the_interval(monitor: Connect) -> None:
    client = monitor()
    stats = client.push("stats_update")["stats"]
    assert set(stats) > TEN | {"uptime_s", "rates", "node"}
    assert client.result("subscribe", events=[], interval_s=0.1) == {
        "events": [],
        "interval_s": 0.1,
    }
    started = time.monotonic()
    for _ in range(6):
        client.await_push("stats_update")
    assert 0.3 < time.monotonic() - started < 3
    assert set(client.result("get_stats")) == set(stats)
    bare = client.call("get_stats")
    assert set(bare["result"]) == set(stats)


def test_events_come_to_those_who_ask(monitor: Connect, connect: Connect) -> None:
    everything, some, nothing = monitor("w1"), monitor("w2"), monitor("w3")
    everything.result("subscribe", events=["*"])
    some.result("subscribe", events=["session_*", "typing_status_changed"])
    for client in (everything, some, nothing):
        client.rest()
    user = connect("u1", sessions="*")
    user.join("m1")
    user.call("typing", session_id="m1", is_typing=True)
    sent = user.call("send_message", session_id="m1", content="hello")
    user.close()

    names = [
        "user_connected",
        "session_joined",
        "typing_status_changed",
        "message_published",
        "message_received",
    ]
    events = [everything.await_push("event")["event"] for _ in names]
    assert [event["name"] for event in events] == names
    for event in events:
        assert event.get("sender", event.get("user_id")) == "u1"
        assert event["timestamp"].endswith("Z")
    assert events[0]["connection_id"] == user.id
    assert [event["message_id"] for event in events[3:]] == [sent["message_id"]] * 2
    ends = [everything.await_push("event")["event"]["name"] for _ in range(2)]
    assert sorted(ends) == ["session_left", "user_disconnected"]
    seen = [some.await_push("event")["event"]["name"] for _ in range(3)]
    assert seen == ["session_joined", "typing_status_changed", "session_left"]
    assert "event" not in {push["type"] for push in nothing.rest()}


def test_a_monitor_does_what_rest_does(
    monitor: Connect, connect: Connect, server: RunningServer
) -> None:
    client, user = monitor(), connect("u1")
    answer = client.result("broadcast", type="news", data={"n": 1}, exclude_users=["watcher"])
    assert answer["message_id"].startswith("msg_")
    assert (answer["matched"], answer["sent"], answer["failed"]) == (1, 1, 0)
    assert user.push("news")["data"] == {"n": 1}

    answer = client.result("publish", target={"type": "user", "id": "u1"}, type="news", data=2)
    assert (answer["matched"], answer["sent"], answer["failed"]) == (1, 1, 0)
    push = user.push("news")
    assert (push["data"], push["id"]) == (2, answer["message_id"])

    answer = client.result("ping_user", user_id="u1")
    assert answer["online"] is True
    (trip,) = answer["connections"]
    assert trip["connection_id"] == user.id
    assert trip["alive"] is True
    assert 0 < trip["rtt_ms"] < 5000

    assert client.result("disconnect_user", user_id="u1", reason="enough") == {"disconnected": 1}
    assert user.closed() == (4502, "enough")
    actions = [entry["action"] for entry in server.get("/audit?limit=3").ok["entries"]]
    assert actions == ["disconnect", "publish", "broadcast"]
    assert client.result("ping_user", user_id="u1") == {
        "user_id": "u1",
        "online": False,
        "connections": [],
    }


@pytest.mark.parametrize(
    ("claims", "allowed"),
    [
        ({"role": "service"}, {"get_stats", "broadcast", "publish", "ping_user"}),
        ({"permissions": ["monitor"]}, set()),
        ({"permissions": ["monitor", "connections:disconnect"]}, {"disconnect_user"}),
    ],
    ids=["service", "monitor-only", "may-disconnect"],
)
def test_each_command_needs_its_permission(
    monitor: Connect, claims: dict[str, Any], allowed: set[str]
) -> None:
    client = monitor(**claims)
    commands: dict[str, dict[str, Any]] = {
        "get_stats": {},
        "broadcast": {"type": "news", "data": 1},
        "publish": {"type": "news", "target": {"type": "user", "id": "nobody"}},
        "disconnect_user": {"user_id": "nobody"},
        "ping_user": {"user_id": "nobody"},
    }
    for name, args in commands.items():
        answer = client.call(name, args=args)
        if name in allowed:
            assert answer["type"] == "result", answer
        else:
            assert answer["error"]["code"] == "forbidden"
    assert client.result("subscribe", events=["*"])["events"] == ["*"]


@pytest.mark.parametrize(
    ("command", "args", "code", "field"),
    [
        ("subscribe", {"interval_s": 0}, "validation_failed", "interval_s"),
        ("subscribe", {"events": "all"}, "validation_failed", "events"),
        ("broadcast", {"data": 1}, "validation_failed", "type"),
        ("broadcast", {"type": "stats_update"}, "validation_failed", "type"),
        ("publish", {"type": "news"}, "validation_failed", "target"),
        ("disconnect_user", {}, "validation_failed", "user_id"),
        ("ping_user", {"user_id": "a b"}, "validation_failed", "user_id"),
        ("get_stats", {"x": 1}, "validation_failed", "x"),
    ],
)
def test_bad_arguments_are_named(
    monitor: Connect, command: str, args: dict[str, Any], code: str, field: str
) -> None:
    error = monitor().error(command, args=args)
    assert error["code"] == code
    assert error["errors"][0]["field"].startswith(field)


def test_arguments_stand_in_args(monitor: Connect) -> None:
    client = monitor()
    assert client.code("subscribe", events=["*"]) == "unknown_field"
    assert client.code("subscribe") == "bad_request"
    assert client.code("broadcast", args=[]) == "bad_request"
