"""Lists and statistics of a cluster: everything that reads answers for all nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.backends.postgres import PostgresServer
from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_servers import ClusterServers
from tests.support.running_server import API, RunningServer
from tests.support.tokens import token
from tests.support.waiting import poll
from tests.support.websocket_clients import Client, open_client

MANAGER = token("boss", role="manager", organization_id="o1")


class People:
    """Two nodes, with clients on both of them."""

    def __init__(self, n1: RunningServer, n2: RunningServer) -> None:
        self.n1, self.n2 = n1, n2
        self.clients: dict[str, Client] = {}
        for name, node, user, organization, sessions in (
            ("ann1", n1, "ann", "o1", ["s_both", "s_one"]),
            ("ann2", n2, "ann", "o1", ["s_both"]),
            ("bob2", n2, "bob", "o1", ["s_two"]),
            ("cat2", n2, "cat", "o2", ["s_both", "s_cat"]),
            ("dan1", n1, "dan", "o2", []),
        ):
            bearer = token(user, organization_id=organization, sessions=["s_both", *sessions])
            client = self.clients[name] = open_client(node, bearer=bearer)
            client.established = client.push("connection_established")
            for session_id in sessions:
                client.call("join_session", session_id=session_id)

    @property
    def nodes(self) -> tuple[RunningServer, RunningServer]:
        return self.n1, self.n2

    def ids(self, *names: str) -> list[str]:
        return sorted(self.clients[name].id for name in names)


@pytest.fixture(scope="module")
def people(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresServer,
    shared_valkey: ValkeyProcess,
) -> Iterator[People]:
    """One cluster for the tests that change nothing."""
    shared_valkey.run("FLUSHALL")
    database_url = postgres.create_database(is_empty=True)
    folder: Path = tmp_path_factory.mktemp("cluster")
    cluster = ClusterServers(folder, database_url, shared_valkey.url)
    try:
        made = People(cluster.start("n1"), cluster.start("n2"))
        yield made
        for client in made.clients.values():
            client.close()
        cluster.stop()
    finally:
        cluster.kill()
        postgres.drop_database(database_url)


def listed(node: RunningServer, path: str, bearer: str | None = None) -> dict[str, Any]:
    answer = node.get(path, bearer=bearer)
    assert answer.status == 200, answer.json()
    found: dict[str, Any] = answer.json()
    assert "unreachable" not in found
    return found


def test_each_node_lists_the_connections_of_all(people: People) -> None:
    for node in people.nodes:
        found = listed(node, "/connections")
        assert [c["connection_id"] for c in found["connections"]] == people.ids(*people.clients)
        assert found["total"] == 5
        by_id = {c["connection_id"]: c["node"] for c in found["connections"]}
        assert by_id[people.clients["dan1"].id] == "n1"
        assert by_id[people.clients["bob2"].id] == "n2"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/connections?user_id=ann", "ann1 ann2"),
        ("/connections?session_id=s_both", "ann1 ann2 cat2"),
        ("/connections?organization_id=o2", "cat2 dan1"),
        ("/connections?user_id=ann&node=n2", "ann2"),
        ("/connections?node=n1", "ann1 dan1"),
        ("/connections?node=n2", "ann2 bob2 cat2"),
        ("/users/ann/connections", "ann1 ann2"),
        ("/users/ann/connections?node=n1", "ann1"),
        ("/sessions/s_both/connections", "ann1 ann2 cat2"),
        ("/sessions/s_both/connections?node=n2", "ann2 cat2"),
    ],
)
def test_filters_apply_on_every_node(people: People, path: str, names: str) -> None:
    for node in people.nodes:
        found = listed(node, path)
        assert [c["connection_id"] for c in found["connections"]] == people.ids(*names.split())
        assert found["total"] == len(names.split())


def test_pages_join_up_over_the_nodes(people: People) -> None:
    for key, path, id_, total in (
        ("connections", "/connections", "connection_id", 5),
        ("users", "/online-users", "user_id", 4),
        ("sessions", "/sessions", "session_id", 4),
    ):
        seen: list[str] = []
        cursor = ""
        for node in (*people.nodes, *people.nodes, people.n1):
            page = listed(node, f"{path}?limit=2{cursor}")
            assert page["total"] == total
            seen += [each[id_] for each in page[key]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert len(seen) == total
        assert seen == sorted(set(seen))


def test_users_and_sessions_are_counted_once(people: People) -> None:
    for node in people.nodes:
        users = listed(node, "/online-users")["users"]
        assert [(u["user_id"], u["connections"]) for u in users] == [
            *(("ann", 2), ("bob", 1), ("cat", 1), ("dan", 1))
        ]
        on_n1 = listed(node, "/online-users?node=n1")
        assert [(u["user_id"], u["connections"]) for u in on_n1["users"]] == [
            *(("ann", 1), ("dan", 1))
        ]
        sessions = listed(node, "/sessions")["sessions"]
        assert [(s["session_id"], s["connections"]) for s in sessions] == [
            *(("s_both", 3), ("s_cat", 1), ("s_one", 1), ("s_two", 1))
        ]
        assert {u["user_id"]: u["connections"] for u in sessions[0]["users"]} == {
            **{"ann": 2, "cat": 1}
        }
        assert listed(node, "/sessions/s_two")["connections"] == 1


def test_a_connection_of_another_node_is_found(people: People) -> None:
    for node in people.nodes:
        for name, client in people.clients.items():
            found = listed(node, f"/connections/{client.id}")
            assert (found["user_id"], found["node"]) == (name[:3], f"n{name[-1]}")
    assert people.n1.get("/connections/conn_none").status == 404


def test_a_manager_sees_the_own_organization_on_all_nodes(people: People) -> None:
    for node in people.nodes:
        found = listed(node, "/connections", MANAGER)
        assert [c["connection_id"] for c in found["connections"]] == people.ids(
            "ann1", "ann2", "bob2"
        )
        assert found["total"] == 3
        users = listed(node, "/online-users", MANAGER)
        assert ([u["user_id"] for u in users["users"]], users["total"]) == (["ann", "bob"], 2)
        sessions = [s["session_id"] for s in listed(node, "/sessions", MANAGER)["sessions"]]
        assert sessions == ["s_both", "s_one", "s_two"]
        assert node.get("/sessions/s_cat", bearer=MANAGER).status == 404
        assert node.get(f"/connections/{people.clients['cat2'].id}", bearer=MANAGER).status == 404
        stats = poll(
            lambda node=node: listed(node, "/stats", MANAGER),  # type: ignore[misc]
            lambda found: found["total_connections"] == 3,
        )
        assert (stats["active_users"], stats["active_sessions"]) == (2, 3)


def test_the_statistics_are_those_of_all_nodes(people: People) -> None:
    for node in people.nodes:
        stats = poll(
            lambda node=node: listed(node, "/stats"),  # type: ignore[misc]
            lambda found: found["total_connections"] == 5,
        )
        assert stats["node"] == "*"
        gauges = ("active_users", "active_sessions", "total_session_connections", "connects")
        assert [stats[name] for name in gauges] == [4, 4, 6, 5]
        one = listed(node, "/stats?node=n2")
        assert (one["node"], one["total_connections"], one["active_users"]) == ("n2", 3, 3)


def test_the_diagnostics_are_those_of_the_node_that_is_named(people: People) -> None:
    for node in people.nodes:
        for name, count in (("n1", 2), ("n2", 3)):
            found = listed(node, f"/diagnostics?node={name}")
            assert (found["node"], found["connections"]) == (name, count)


@pytest.mark.parametrize(
    "path",
    [
        *("/connections", "/online-users", "/sessions", "/stats", "/diagnostics"),
        *("/users/ann/connections", "/sessions/s_both/connections"),
    ],
)
def test_an_unknown_node_is_named(people: People, path: str) -> None:
    answer = people.n1.get(f"{path}?node=n3")
    assert (answer.status, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["detail"] == "no node n3; the nodes are n1, n2"


def test_a_monitor_gets_the_statistics_of_all_nodes(people: People) -> None:
    bearer = token("watcher", role="admin")
    monitor = open_client(people.n1, "/ws/admin/monitor", bearer=bearer)
    monitor.result("subscribe", events=[], interval_s=0.25)
    speaker = people.clients["bob2"]

    def update() -> Any:
        speaker.call("send_message", session_id="s_two", content="hello")
        return monitor.await_push("stats_update")

    found = poll(update, lambda push: any(u["user_id"] == "bob" for u in push["busiest"]["users"]))
    assert found["stats"]["node"] == "*"
    assert monitor.result("get_stats")["active_users"] == 5
    monitor.close()
    for node in people.nodes:
        poll(
            lambda node=node: listed(node, "/connections?endpoint=monitor")["total"],  # type: ignore[misc]
            lambda total: total == 0,
        )


def traced(node: RunningServer, message_id: str, bearer: str | None = None) -> dict[str, Any]:
    found = listed(node, f"/messages/{message_id}", bearer)
    assert found["truncated"] is False
    return found


@pytest.mark.parametrize("type_", ["hint", "new_message"])
def test_a_trace_has_the_recipients_of_all_nodes(people: People, type_: str) -> None:
    content = {"data": 1} if type_ == "hint" else {"session_id": "s_both", "content": "hi"}
    body = {"target": {"type": "session", "id": "s_both"}, "type": type_, **content}
    sent = people.n1.post("/messages", body).json()
    assert sent["matched"] == 3
    for node in people.nodes:
        found = traced(node, sent["message_id"])
        assert found["summary"]["total"] == 3
        recipients = {r["connection_id"]: r["node"] for r in found["recipients"]}
        assert recipients == {people.clients[name].id: f"n{name[-1]}" for name in
                              ("ann1", "ann2", "cat2")}  # fmt: skip
        assert {r["state"] for r in found["recipients"]} == {"sent"}
        mine = traced(node, sent["message_id"], MANAGER)
        assert {r["user_id"] for r in mine["recipients"]} == {"ann"}
        one = listed(node, f"/messages/{sent['message_id']}?user_id=cat")
        assert [r["connection_id"] for r in one["recipients"]] == people.ids("cat2")
        bob = listed(node, f"/messages/{sent['message_id']}?user_id=bob")
        assert [(r["state"], r["reason"]) for r in bob["recipients"]] == [("dropped", "not_joined")]


def test_a_message_of_one_node_is_traced_by_the_other(people: People) -> None:
    body = {"target": {"type": "user", "id": "dan"}, "type": "hint", "data": 1}
    message_id = people.n2.post("/messages", body).json()["message_id"]
    for node in people.nodes:
        found = traced(node, message_id)
        assert [(r["user_id"], r["node"], r["state"]) for r in found["recipients"]] == [
            ("dan", "n1", "sent")
        ]


def test_a_dry_run_names_the_recipients_of_all_nodes(people: People) -> None:
    body = {
        "target": {"type": "session", "id": "s_both"},
        "type": "hint",
        "data": 1,
        "exclude_users": ["cat"],
    }
    for node in people.nodes:
        found = node.post("/messages/explain", body).json()
        assert found["matched"] == 2
        assert sorted(r["connection_id"] for r in found["recipients"]) == people.ids("ann1", "ann2")
        assert [(e["user_id"], e["reason"]) for e in found["excluded"]] == [("cat", "excluded")]
        to_bob = {"target": {"type": "user", "id": "bob"}, "type": "hint", "data": 1}
        assert node.post("/messages/explain", to_bob).json()["excluded"] == []


def test_a_sign_in_at_the_console_holds_on_every_node(people: People) -> None:
    """And ends on every node, at the latest when the other one reads it again."""
    mark = {"X-Wsserver-Console": "1"}
    bearer = token("dana", role="admin")
    path = f"{API}/console/session"
    signed_in = people.n1.request("POST", path, {"token": bearer}, headers=mark)
    assert signed_in.status == 200, signed_in
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    asked = {**mark, "Cookie": cookie}

    def who(node: RunningServer) -> Any:
        return node.request("GET", path, headers=asked).json()["user_id"]

    assert [who(node) for node in people.nodes] == ["dana", "dana"]
    people.n2.request("DELETE", path, headers=asked)
    assert who(people.n2) is None
    poll(lambda: who(people.n1), lambda user_id: user_id is None)
