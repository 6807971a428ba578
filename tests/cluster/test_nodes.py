"""The nodes of a cluster: their list, nodes that do not answer, and the drain of one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_servers import ClusterServers, without_messages
from tests.support.running_server import ADMIN, RunningServer
from tests.support.server_process import environment
from tests.support.tokens import token
from tests.support.waiting import PATIENCE_S, poll
from tests.support.websocket_clients import Client, RawClient, open_client
from wsserver.version import __version__

MANAGER = token("boss", role="manager", organization_id="o1")
Two = tuple[RunningServer, RunningServer]


def enter(server: RunningServer, user: str, **claims: Any) -> Client:
    """A client that the server has let in."""
    client = open_client(server, bearer=token(user, **claims))
    client.established = client.push("connection_established")
    return client


def nodes_of(server: RunningServer, bearer: str | None = None) -> dict[str, dict[str, Any]]:
    answer = server.get("/nodes", bearer=bearer)
    assert answer.status == 200, answer.json()
    return {each["node"]: each for each in answer.json()["nodes"]}


def test_every_node_lists_all(two: Two) -> None:
    clients = [enter(two[1], user) for user in ("u1", "u2")]
    mine = enter(two[1], "u3", organization_id="o1")
    for node in two:
        found = nodes_of(node)
        assert list(found) == ["n1", "n2"]
        assert [each["connections"] for each in found.values()] == [0, 3]
        assert {each["state"] for each in found.values()} == {"up"}
        assert {each["version"] for each in found.values()} == {__version__}
        assert [each["connections"] for each in nodes_of(node, MANAGER).values()] == [0, 1]
        assert node.get("/nodes", bearer=token("u1")).status == 403
    for client in (*clients, mine):
        client.close()


def test_a_node_that_does_not_answer_is_named(two: Two) -> None:
    n1, n2 = two
    n2.expects_faults = True  # PostgreSQL ends a transaction in which it stands still
    here, there = (enter(node, "u1") for node in two)
    n2.process.send_signal(signal.SIGSTOP)
    try:
        for path, key in (
            ("/connections", "connections"),
            ("/online-users", "users"),
            ("/sessions", "sessions"),
            ("/nodes", "nodes"),
        ):
            answer = n1.get(path)
            assert (answer.status, answer.json()["unreachable"]) == (200, ["n2"]), path
            assert isinstance(answer.json()[key], list)
        stats = n1.get("/stats").json()
        assert (stats["unreachable"], stats["total_connections"]) == (["n2"], 1)
        one = n1.get("/connections?node=n2").json()
        assert (one["unreachable"], one["connections"]) == (["n2"], [])
        stats = n1.get("/stats?node=n2").json()
        assert (stats["unreachable"], stats["total_connections"]) == (["n2"], 0)
        asked = n1.post("/nodes/n2/drain").json()
        assert asked.pop("at")
        assert asked == {"node": "n2", "draining": False, "unreachable": ["n2"]}
        assert n1.get("/nodes/n2/drain").json()["code"] == "node_unreachable"
    finally:
        n2.process.send_signal(signal.SIGCONT)
    poll(lambda: n1.get("/connections").json(), lambda found: "unreachable" not in found)
    n2.wait_for("came late, not handled.*DrainNode")
    poll(lambda: nodes_of(n1)["n2"]["state"], lambda state: state == "up")
    here.close()
    there.close()


def test_actions_name_a_node_that_does_not_answer(two: Two, shared_valkey: ValkeyProcess) -> None:
    n1, n2 = two
    n2.expects_faults = True  # it cannot publish, either
    here, there = (enter(node, "u1") for node in two)
    message = {"target": {"type": "user", "id": "u1"}, "type": "hint", "data": 1}
    before = poll(
        lambda: n1.post("/messages", message).ok, lambda sent: sent["matched"] == 2
    )  # Redis gets to know of a connection after its greeting
    assert list(nodes_of(n1)) == ["n1", "n2"]
    members = "/sessions/s1/members"
    with without_messages(shared_valkey):
        for answer in (
            n1.put(members, {"user_ids": ["u1"]}),
            n1.post("/messages", message),
            n1.post("/messages/explain", message),
            n1.get(f"/messages/{before['message_id']}"),
            n1.post("/ping/u1", {"timeout_s": 1}),
            n1.post("/users/disconnect", {"user_id": "u1"}),
            closing := n1.delete(f"/connections/{there.id}"),
        ):
            assert answer.ok.get("unreachable") == ["n2"], answer.json()
        assert closing.ok["disconnected"] == 0
        assert here.closed()[0] == 4502
    there.close()


def test_a_lost_node_is_listed_as_lost(two: Two) -> None:
    n1, n2 = two
    n2.kill()
    poll(lambda: nodes_of(n1)["n2"]["state"], lambda state: state == "lost")
    assert n1.get("/connections?node=n2").json()["unreachable"] == ["n2"]
    assert "unreachable" not in n1.get("/connections").json()


def test_an_emptied_redis_hides_no_node(two: Two, shared_valkey: ValkeyProcess) -> None:
    n1, n2 = two
    for number in range(3):  # before the nodes have entered themselves again, mostly
        client = enter(n2, f"u{number}")
        assert list(nodes_of(n1)) == ["n1", "n2"]
        shared_valkey.run("FLUSHALL")
        assert list(nodes_of(n1)) == ["n1", "n2"]
        found = n1.post(f"/ping/u{number}").json()
        assert [each["connection_id"] for each in found["connections"]] == [client.id]
        assert n1.post("/users/disconnect", {"user_id": f"u{number}"}).json()["disconnected"] == 1
        client.close()


def test_a_node_drains_on_request_of_another_one(cluster: ClusterServers) -> None:
    n1 = cluster.start("n1")
    n2 = cluster.start("n2", drain_timeout_s=PATIENCE_S, edit_window_s=60)
    staying, leaving = (enter(node, "u1") for node in (n1, n2))
    refused = n1.post("/nodes/n2/drain", bearer=MANAGER)
    assert (refused.status, refused.json()["code"]) == (403, "forbidden")
    assert n1.post("/nodes/n3/drain").status == 404
    assert n1.get("/diagnostics").ok["differing_settings"] == {"n2": ["edit_window_s"]}
    assert n2.get("/diagnostics").ok["differing_settings"] == {"n1": ["edit_window_s"]}
    silent = RawClient(n2)  # never answers the close frame, so that the drain lasts
    silent.open(token("u2"))
    forecast = n1.get("/nodes/n2/drain").json()
    assert (forecast["node"], forecast["total"]) == ("n2", 2)
    answer = n1.post("/nodes/n2/drain")
    assert (answer.status, answer.json()["draining"]) == (200, True)
    assert leaving.closed()[0] == 1012
    poll(lambda: nodes_of(n1)["n2"]["state"], lambda state: state == "draining")
    assert nodes_of(n1)["n1"]["state"] == "up"
    silent.close()
    assert n2.process.wait(PATIENCE_S) == 0
    poll(lambda: list(nodes_of(n1)), lambda names: names == ["n1"])
    assert staying.call("ping")["type"] == "pong"
    entries = n1.get("/audit?action=drain").json()["entries"]
    assert sorted((each["target"], each["outcome"]) for each in entries) == [
        *(("node:n2", "forbidden"), ("node:n2", "ok"))
    ]
    staying.close()


def test_a_drain_is_compared_with_its_forecast(cluster: ClusterServers) -> None:
    n1, n2 = cluster.start("n1"), cluster.start("n2")
    leaving = [enter(n2, f"u{number}") for number in range(2)]
    with subprocess.Popen(
        [sys.executable, "-m", "wsctl", "-o", "json", "drain", "n2", "--yes"],
        env=environment(WSCTL_URL=f"http://127.0.0.1:{n1.port}", WSCTL_TOKEN=ADMIN),
        stdout=subprocess.PIPE,
        text=True,
    ) as draining:
        assert [client.closed()[0] for client in leaving] == [1012, 1012]
        back = [enter(n1, f"u{number}") for number in range(2)]  # at once, whatever was asked
        shown, _ = draining.communicate(timeout=PATIENCE_S)
        assert draining.returncode == 0
    found = json.loads(shown)["comparison"]
    assert (found["expected"], found["returned"], found["missing"]) == (2, 2, 0)
    assert [each["user_id"] for each in found["ignored_hint_by"]] == ["u0", "u1"]
    assert sum(found["reconnects_per_s"]) == 2
    for client in back:
        client.close()


def test_a_single_process_is_a_node(cluster: ClusterServers) -> None:
    alone = cluster.start("alone", database_url=None, redis_url=None)
    client = enter(alone, "u1")
    assert nodes_of(alone)["alone"]["connections"] == 1
    for path in ("/connections", "/online-users", "/sessions"):
        assert alone.get(f"{path}?node=alone").json() == alone.get(path).json()
        assert alone.get(f"{path}?node=other").status == 404
    assert alone.get("/stats").json()["node"] == "alone"
    client.close()
    answer = alone.post("/nodes/alone/drain").json()
    assert (answer["node"], answer["draining"]) == ("alone", True)
    assert alone.process.wait(PATIENCE_S) == 0
