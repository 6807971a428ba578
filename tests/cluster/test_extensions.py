"""Tasks and quotas on two nodes: pushes, counts and warnings are those of both together."""

from __future__ import annotations

import threading
from typing import Any

from tests.support.running_server import API, RunningServer
from tests.support.tokens import token
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
