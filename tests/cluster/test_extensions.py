"""Tasks, quotas and calls on two nodes, which behave as one."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_servers import ClusterServers, without_messages
from tests.support.http_response import Response
from tests.support.running_server import API, RunningServer
from tests.support.tokens import token
from tests.support.tus import PART, metadata
from tests.support.waiting import poll
from tests.support.websocket_clients import open_client

Two = tuple[RunningServer, RunningServer]
ACME = "organization:acme"


def test_a_task_is_changed_on_one_node_and_told_on_the_other(two: Two) -> None:
    first, second = two
    alice = open_client(second, bearer=token("alice"))
    body = {"title": "t", "steps": [], "assignee": {"user": "alice"}}
    task = first.post("/tasks", {**body, "due_at": "2020-01-15T14:30:00Z"}).ok
    assert alice.await_push("task_update")["task"]["task_id"] == task["task_id"]
    assert alice.await_push("notification")["notification"]["type"] == "warning"
    path = f"/tasks/{task['task_id']}"
    poll(lambda: first.get(path).ok["overdue"], lambda overdue: overdue is True)
    versions = [each["version"] for each in second.get(path).ok["history"]]
    assert versions == [1, 2]
    refused = first.request(
        "PATCH",
        API + path,
        {"state": "running", "expected_version": 1},
        bearer=token("a", role="admin"),
    )
    assert refused.problem == (409, "version_changed")
    assert second.get("/notifications?template=task_overdue").ok["total"] == 1
    alice.close()


def test_usage_reported_to_both_nodes_at_once_is_counted_exactly(two: Two) -> None:
    first, second = two
    quota = {"limit": 100, "unit": "tokens", "period": "total", "at_limit": "stop"}
    assert first.put(f"/quotas/{ACME}", quota).status == 200
    boss = open_client(first, bearer=token("boss", role="manager", organization_id="acme"))
    bob = open_client(second, bearer=token("bob", organization_id="acme"))

    def report(node: RunningServer) -> None:
        for _ in range(25):
            assert node.post("/usage", {"scope": ACME, "amount": 1.5}).status == 200

    threads = [threading.Thread(target=report, args=(node,)) for node in two for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for node in two:
        found: Any = node.get(f"/quotas/{ACME}").ok
        assert (found["used"], found["exhausted"]) == (150, True)
    while bob.await_push("usage_update")["used"] != 150:
        pass
    warned = poll(
        lambda: first.get("/notifications?template=cost_warning").ok["total"], lambda n: n >= 1
    )
    assert warned <= 3
    assert boss.await_push("notification")["notification"]["title"]
    for client in (boss, bob):
        client.close()


def test_a_call_between_two_nodes(two: Two) -> None:
    first, second = two
    alice, phone, laptop = [
        open_client(node, bearer=token(user, sessions=["s1"]))
        for node, user in ((first, "alice"), (first, "bob"), (second, "bob"))
    ]
    for client in (alice, phone, laptop):
        assert client.call("join_session", session_id="s1")["type"] == "session_joined"
    call_id = alice.call("call", session_id="s1", media=["audio"])["call_id"]
    for client in (phone, laptop):
        assert client.await_push("call_incoming")["call_id"] == call_id
    entered = laptop.call("call_answer", call_id=call_id)["call"]
    late = phone.call("call_answer", call_id=call_id)["error"]
    assert (late["code"], late["state"]) == ("bad_call_state", "answered")
    for number in range(20):
        candidate = {"candidate": str(number)}
        assert alice.call("call_signal", call_id=call_id, candidate=candidate)["type"] == "ack"
    for number in range(20):
        push = laptop.await_push("call_signal")
        assert push["candidate"] == {"candidate": str(number)}
        assert push["from"] == entered["caller"]["connection_id"]
    laptop.close()
    for wanted in ("ringing", "answered"):
        assert alice.await_push("call_state")["state"] == wanted
    assert not alice.await_push("call_state")["callee"]["connected"]
    back = open_client(first, bearer=token("bob", sessions=["s1"]))
    back.call("join_session", session_id="s1")
    assert alice.await_push("call_state")["callee"]["connected"]
    assert back.call("call_end", call_id=call_id)["type"] == "ack"
    assert alice.await_push("call_state")["state"] == "ended"
    for client in (alice, phone, back):
        client.close()


@pytest.mark.slow
def test_a_party_is_back_before_its_node_counts_as_lost(two: Two) -> None:
    first, second = two
    first.put("/sessions/s1/members", {"user_ids": ["alice", "bob"]}).ok  # noqa: B018
    alice, bob = open_client(first, bearer=token("alice")), open_client(second, bearer=token("bob"))
    for client in (alice, bob):
        client.join("s1")
    call_id = alice.call("call", session_id="s1", media=["audio"])["call_id"]
    bob.await_push("call_incoming")
    assert bob.call("call_answer", call_id=call_id)["type"] == "ack"
    assert bob.await_push("call_state")["caller"]["connected"]
    first.kill()
    back = open_client(second, bearer=token("alice"))
    established = back.push("connection_established")
    back.join("s1")
    assert not bob.await_push("call_state")["caller"]["connected"]
    again = bob.await_push("call_state")
    assert (again["state"], again["caller"]["connected"]) == ("answered", True)
    assert again["caller"]["connection_id"] == established["connection_id"]
    for client in (back, bob):
        client.close()


@pytest.mark.slow
def test_the_call_of_a_caller_whose_node_is_killed_ends_for_whom_it_rings(
    cluster: ClusterServers,
) -> None:
    first, second = (cluster.start(name, call_resume_s=1) for name in ("n1", "n2"))
    first.put("/sessions/s1/members", {"user_ids": ["alice", "bob"]}).ok  # noqa: B018
    alice, bob = open_client(first, bearer=token("alice")), open_client(second, bearer=token("bob"))
    alice.join("s1")
    call_id = alice.call("call", session_id="s1", media=["audio"])["call_id"]
    assert bob.await_push("call_incoming")["call_id"] == call_id
    first.kill()
    while (push := bob.await_push("call_state"))["state"] == "ringing":
        assert not push["caller"]["connected"]
    assert (push["call_id"], push["state"], push["reason"]) == (call_id, "ended", "connection_lost")
    bob.close()


def test_a_call_that_began_without_redis_rings_on_the_other_node_afterwards(
    two: Two, shared_valkey: ValkeyProcess
) -> None:
    first, second = two
    first.put("/sessions/s1/members", {"user_ids": ["alice", "bob"]}).ok  # noqa: B018
    alice = open_client(first, bearer=token("alice"))
    alice.call("join_session", session_id="s1")
    with without_messages(shared_valkey):
        poll(lambda: second.health()["checks"]["broker"]["ok"], lambda ok: not ok)
        poll(lambda: first.health()["checks"]["broker"]["ok"], lambda ok: not ok)
        call_id = alice.call("call", session_id="s1", media=["audio"])["call_id"]
    poll(lambda: second.health()["checks"]["broker"]["ok"], bool)

    def rings() -> bool:
        """Whether a device that connects rings, soon after it has."""
        laptop = open_client(second, bearer=token("bob"))
        pushes = [push for _ in range(100) for push in laptop.rest()]
        laptop.close()
        return any(each.get("call_id") == call_id for each in pushes)

    poll(rings, bool)
    alice.close()


def test_an_upload_goes_on_at_the_other_node_and_is_taken_over_there(
    cluster: ClusterServers, tmp_path: Path
) -> None:
    first, second = (cluster.start(name, data_dir=tmp_path / "shared") for name in ("n1", "n2"))
    alice = token("alice", sessions=["s1"])
    version = {"Tus-Resumable": "1.0.0"}
    about = {**version, "Upload-Length": "6", "Upload-Metadata": metadata(session_id="s1")}
    created = first.request("POST", f"{API}/files", bearer=alice, headers=about)
    path = created.headers["location"]

    def patch(node: RunningServer, offset: int, data: bytes) -> Response:
        lines = {**version, "Upload-Offset": str(offset), "Content-Type": PART}
        return node.request("PATCH", path, data, bearer=alice, headers=lines)

    def offset(node: RunningServer) -> int:
        asked = node.request("HEAD", path, bearer=alice, headers=version)
        return int(asked.headers["upload-offset"])

    assert patch(first, 0, b"a").status == 204
    assert offset(second) == 1
    with socket.create_connection(("127.0.0.1", first.port)) as stalled:
        lines = {
            "Host": f"127.0.0.1:{first.port}",
            "Authorization": f"Bearer {alice}",
            **version,
            "Upload-Offset": "1",
            "Content-Type": PART,
            "Content-Length": "5",
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        stalled.sendall(f"PATCH {path} HTTP/1.1\r\n{head}\r\nbc".encode())
        answer = patch(second, 1, b"bcdef")
        # 409: the first node has stored what it got; 423: its request began after this one
        while answer.status in (409, 423):
            at = offset(second)
            answer = patch(second, at, b"abcdef"[at:])
        assert answer.status == 204, answer
    for node in (first, second):
        url = node.get(f"{path.removeprefix(API)}/url", bearer=alice).ok["url"]
        other = second if node is first else first
        assert other.request("GET", url).body == b"abcdef"


def test_a_node_whose_uploaded_files_are_not_those_of_the_others_is_named(
    cluster: ClusterServers, tmp_path: Path
) -> None:
    first = cluster.start("n1")
    cluster.start("n2")
    cluster.start("n3", data_dir=tmp_path / "apart")
    cluster.start("n4", data_dir=tmp_path / "apart too", disabled_extensions="files")
    differing = poll(
        lambda: first.get("/diagnostics").ok["differing_settings"], lambda found: len(found) == 2
    )
    assert differing["n3"] == ["data_dir/files"]
    assert "data_dir/files" not in differing["n4"]  # it stores none
