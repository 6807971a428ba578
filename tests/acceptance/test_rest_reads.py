"""§6, §11: REST reads of a server with clients; the fields are the contract's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.waiting import poll

TEN = [
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
]
CONNECTION = {
    "connection_id",
    "user_id",
    "session_id",
    "connected_at",
    "last_ping",
    "last_pong",
    "is_alive",
    "metadata",
    "remote_ip",
    "user_agent",
    "endpoint",
    "rtt_ms",
    "queued_bytes",
}


def test_statistics_count_what_happened(server: RunningServer, connect: Connect) -> None:
    before = server.get("/stats").ok
    one, two = connect("u1", sessions="*"), connect("u1", sessions="*")
    three = connect("u2", sessions="*")
    for client in (one, two, three):
        client.join("r1")
    one.join("r2")
    one.code("nonsense")
    after = server.get("/stats").ok
    assert [after[name] - before[name] for name in TEN if name != "messages_sent"] == [
        3,  # total_connections
        3,  # active_connections
        5,  # messages_received: four joins and one that was refused
        0,  # disconnections
        1,  # errors
        2,  # active_users
        2,  # active_sessions
        3,  # total_user_connections
        4,  # total_session_connections
    ]
    # Three greetings, four joins and an error; both connections of u1 are notified that u2 joined.
    assert after["messages_sent"] - before["messages_sent"] == 8 + 2
    assert after["uptime_s"] > 0
    assert after["node"]
    assert set(after["rates"]) == {
        "messages_sent_per_s",
        "messages_received_per_s",
        "connects_per_s",
    }
    assert set(after["deliver_ms"]) >= {"p50", "p95", "p99", "max"}
    three.close()
    poll(lambda: server.get("/stats").ok["total_connections"], lambda count: count == 2)
    assert server.get("/stats").ok["disconnections"] == after["disconnections"] + 1


def test_a_connection_looks_as_the_report_has_it(server: RunningServer, connect: Connect) -> None:
    client = connect(
        "u1", "/ws/chat/session/r3", sessions=["r3"], username="张三", organization_id="acme"
    )
    shown = server.get(f"/connections/{client.id}").ok
    assert set(shown) >= CONNECTION
    assert shown["connection_id"] == client.id
    assert (shown["user_id"], shown["session_id"]) == ("u1", "r3")
    assert shown["is_alive"] is True
    assert shown["metadata"] == {"username": "张三", "role": "user", "organization_id": "acme"}
    assert shown["remote_ip"] == "127.0.0.1"
    assert "websockets" in shown["user_agent"]
    assert (shown["endpoint"], shown["queued_bytes"]) == ("session", 0)
    for name in ("connected_at", "last_ping", "last_pong"):
        assert shown[name].endswith("Z")
    assert shown in server.get("/connections").ok["connections"]
    assert server.get("/users/u1/connections").ok["connections"] == [shown]
    assert server.get("/sessions/r3/connections").ok["connections"] == [shown]


def test_connections_are_filtered(server: RunningServer, connect: Connect) -> None:
    clients = {
        "a": connect("a", sessions="*", organization_id="acme"),
        "b": connect("b", "/ws/chat/session/r4", sessions="*", organization_id="acme"),
        "c": connect("c", "/ws/admin/monitor", role="admin", organization_id="other"),
    }
    clients["a"].join("r4")
    for query, expected in (
        ("", "abc"),
        ("?user_id=a", "a"),
        ("?user_id=nobody", ""),
        ("?session_id=r4", "ab"),
        ("?organization_id=acme", "ab"),
        ("?organization_id=other", "c"),
        ("?endpoint=chat", "a"),
        ("?endpoint=session", "b"),
        ("?endpoint=monitor", "c"),
        ("?session_id=r4&endpoint=chat", "a"),
        ("?user_id=a&organization_id=other", ""),
    ):
        answer = server.get(f"/connections{query}").ok
        assert "".join(sorted(each["user_id"] for each in answer["connections"])) == expected
        assert answer["total"] == len(expected)
        assert answer["next_cursor"] is None


@pytest.mark.parametrize("path", ["/connections", "/online-users", "/sessions"])
def test_lists_come_in_pages(server: RunningServer, connect: Connect, path: str) -> None:
    for number in range(7):
        connect(f"p{number}", sessions="*").join(f"page{number}")
    name = {"/connections": "connections", "/online-users": "users", "/sessions": "sessions"}[path]
    items: list[Any] = []
    cursor = ""
    sizes = []
    while True:
        page = server.get(f"{path}?limit=3{cursor}").ok
        assert page["total"] == 7
        sizes.append(len(page[name]))
        items += page[name]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert sizes == [3, 3, 1]
    assert items == server.get(path).ok[name]


def test_online_users(server: RunningServer, connect: Connect) -> None:
    first = connect("u1", username="U", organization_id="acme")
    connect("u1")
    answer = server.get("/online-users").ok
    connected = server.get(f"/connections/{first.id}").ok
    assert answer["total"] == 1
    assert answer["users"] == [
        {
            "user_id": "u1",
            "connections": 2,
            "online_since": connected["connected_at"],
            "metadata": {"username": "U", "role": "user", "organization_id": "acme"},
        }
    ]


def test_absent_users_and_sessions(server: RunningServer) -> None:
    empty = {"total": 0, "next_cursor": None}
    assert server.get("/users/nobody/connections").ok == {"connections": [], **empty}
    assert server.get("/sessions/never/connections").ok == {"connections": [], **empty}
    assert server.get("/sessions/never/members").ok["user_ids"] == []
    assert server.get("/sessions/never").problem == (404, "not_found")
    assert server.get("/connections/conn_unknown").problem == (404, "not_found")
    assert server.delete("/connections/conn_unknown").problem == (404, "not_found")
    assert server.post("/users/disconnect", {"user_id": "nobody"}).ok == {"disconnected": 0}
    assert server.post("/ping/nobody", {}).ok == {
        "user_id": "nobody",
        "online": False,
        "connections": [],
    }


def test_a_session_shows_its_people_and_its_position(
    server: RunningServer, connect: Connect
) -> None:
    client = connect("u1", sessions="*", username="U")
    joined = client.join("r5")
    server.put("/sessions/r5/members", {"user_ids": ["m2", "m1", "m2"]})
    shown = server.get("/sessions/r5").ok
    assert shown["session_id"] == "r5"
    assert shown["users"] == [{"user_id": "u1", "username": "U", "connections": 1}]
    assert shown["members"] == ["m1", "m2"]
    assert (shown["epoch"], shown["offset"]) == (joined["epoch"], joined["offset"])
    (listed,) = [s for s in server.get("/sessions").ok["sessions"] if s["session_id"] == "r5"]
    assert shown.items() >= listed.items()
    client.call("leave_session", session_id="r5")
    assert server.get("/sessions/r5").ok["users"] == []
    assert "r5" not in {each["session_id"] for each in server.get("/sessions").ok["sessions"]}


@pytest.mark.parametrize(
    "path",
    [
        "/connections?limit=0",
        "/connections?limit=1001",
        "/connections?limit=%D9%A1%D9%A2",
        "/connections?limit=1_0",
        "/connections?limit=-1",
        "/connections?limit=+5",
        "/connections?limit=5&limit=5",
        "/connections?colour=red",
        "/connections?endpoint=moon",
        "/connections?user_id=a%20b",
        "/connections?cursor=nonsense",
        "/connections/a%20b",
        "/users/%00/connections",
        "/sessions/" + "x" * 129,
        "/stats?verbose=1",
        "/stats/history?since=yesterday",
        "/stats/history?since=2026-13-45T00:00:00Z",
        "/stats/history?step=5",
        "/audit?limit=x",
    ],
)
def test_bad_paths_and_queries(server: RunningServer, path: str) -> None:
    assert server.get(path).problem == (400, "bad_request")


def test_health_metrics_and_documents_need_no_token(server: RunningServer) -> None:
    health = server.request("GET", "/api/v1/websocket/health")
    assert health.ok["status"] == "ok"
    assert all(check["ok"] is True for check in health.ok["checks"].values())
    metrics = server.request("GET", "/metrics")
    assert metrics.status == 200
    assert metrics.headers["content-type"].startswith("text/plain")
    assert b"# TYPE wsserver_" in metrics.body
    proxied = server.request("GET", "/metrics", headers={"X-Forwarded-For": "203.0.113.9"})
    assert proxied.problem == (401, "token_missing")
    document = server.request("GET", "/api/v1/openapi.json").ok
    assert document["openapi"].startswith("3.1")
    page = server.request("GET", "/api/v1/docs")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")


def test_every_answer_carries_the_request_id(server: RunningServer) -> None:
    for path in ("/stats", "/connections/none"):
        assert server.get(path, headers={"X-Request-ID": "my-1"}).headers["x-request-id"] == "my-1"
        made = server.get(path).headers["x-request-id"]
        assert made
        assert made != server.get(path).headers["x-request-id"]
    problem = server.get("/nowhere", headers={"X-Request-ID": "my-2"})
    assert problem.problem == (404, "not_found")
    assert problem.json()["request_id"] == "my-2"


def test_other_methods_are_refused_with_allow(server: RunningServer) -> None:
    answer = server.delete("/stats")
    assert answer.problem == (405, "method_not_allowed")
    assert {"GET", "HEAD", "OPTIONS"} <= set(answer.headers["allow"].split(", "))
    assert server.request("HEAD", "/api/v1/websocket/stats", bearer=token()).status == 403
