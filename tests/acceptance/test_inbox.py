"""§5: kept messages for one user, delivered until they are acknowledged."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer
from tests.support.waiting import poll

QUICK: dict[str, Any] = {"ack_timeout_s": 0.5, "ack_retries": 2}


@pytest.fixture
def user() -> str:
    """A user that no other test uses."""
    return f"u-{uuid.uuid4().hex}"


@pytest.fixture
def restarted(tmp_path: Path) -> Iterator[list[RunningServer]]:
    """Servers of this test, the latest last; all are stopped after it."""
    servers: list[RunningServer] = []
    yield servers
    for server in servers:
        server.kill()


def publish(server: RunningServer, user: str, data: Any, **options: Any) -> dict[str, Any]:
    """Keep a message for a user."""
    body = {"type": "note", "data": data, "keep": True, **options}
    answer: dict[str, Any] = server.post(f"/users/{user}/messages", body).ok
    return answer


def test_messages_kept_while_offline_follow_the_greeting(
    server: RunningServer, connect: Connect, user: str
) -> None:
    answers = [publish(server, user, number) for number in range(3)]
    assert [answer["offset"] for answer in answers] == [1, 2, 3]
    assert {answer["matched"] for answer in answers} == {0}
    client = connect(user)
    inbox = client.established["inbox"]
    assert inbox == {"epoch": answers[0]["epoch"], "offset": 3, "pending": 3}
    pushes = [client.push("note") for _ in range(3)]
    assert [push["data"] for push in pushes] == [0, 1, 2]
    for push, answer in zip(pushes, answers, strict=True):
        assert push["id"] == answer["message_id"]
        assert push["stream"] == f"user:{user}"
        assert (push["epoch"], push["offset"]) == (answer["epoch"], answer["offset"])
    assert publish(server, user, 3)["sent"] == 1
    assert client.push("note")["data"] == 3


@pytest.mark.parametrize("path", ["/ws/chat", "/ws/chat/session/s1", "/ws/admin/monitor"])
def test_every_endpoint_has_the_inbox(
    server: RunningServer, connect: Connect, user: str, path: str
) -> None:
    publish(server, user, "a")
    client = connect(user, path, role="admin")
    assert client.established["inbox"]["pending"] == 1
    assert client.await_push("note")["data"] == "a"


def test_a_message_waits_through_a_restart_and_a_kill(
    tmp_path: Path, restarted: list[RunningServer], connect: Connect, user: str
) -> None:
    restarted.append(RunningServer(tmp_path))
    publish(restarted[-1], user, "a")
    restarted[-1].stop()
    restarted.append(RunningServer(tmp_path))
    client = connect(user, to=restarted[-1])
    assert client.push("note")["data"] == "a"
    publish(restarted[-1], user, "b")
    restarted[-1].process.kill()
    restarted[-1].wait()
    restarted.append(RunningServer(tmp_path))
    client = connect(user, to=restarted[-1])
    first, second = client.push("note"), client.push("note")
    assert (first["data"], second["data"]) == ("a", "b")
    assert client.call("ack", ids=[first["id"]])["type"] == "ack"
    restarted[-1].process.kill()
    restarted[-1].wait()
    restarted.append(RunningServer(tmp_path))
    client = connect(user, to=restarted[-1])
    assert client.established["inbox"]["pending"] == 1
    assert client.push("note")["data"] == "b"


def test_an_acknowledged_message_never_comes_back(
    server: RunningServer, connect: Connect, user: str
) -> None:
    first, second = connect(user), connect(user)
    publish(server, user, "a")
    message = first.push("note")
    assert second.push("note") == message
    first.call("ack", ids=[message["id"]])
    update = second.push("message_status_update")
    assert update["message_id"] == message["id"]
    assert (update["status"], update["user_id"]) == ("delivered", user)
    assert update["session_id"] is None
    third = connect(user)
    assert third.established["inbox"]["pending"] == 0
    assert first.rest() == second.rest() == third.rest() == []


def test_an_unacknowledged_message_comes_again_marked_and_then_waits(
    tmp_path: Path, restarted: list[RunningServer], connect: Connect, user: str
) -> None:
    restarted.append(RunningServer(tmp_path, **QUICK))
    client = connect(user, to=restarted[-1])
    sent = publish(restarted[-1], user, "a")
    first, *again = [client.push("note") for _ in range(3)]
    assert "redelivered" not in first
    assert again == [{**first, "redelivered": True}] * 2
    publish(restarted[-1], user, "b")  # by the time this is given up, the first one would have come
    assert [client.push("note")["data"] for _ in range(3)] == ["b"] * 3
    later = connect(user, to=restarted[-1])
    assert later.established["inbox"]["pending"] == 2
    assert later.push("note")["id"] == sent["message_id"]


def test_a_plain_client_has_a_message_once_it_is_written(
    server: RunningServer, connect: Connect, user: str
) -> None:
    publish(server, user, "a")
    plain = connect(user, v1=False)
    assert plain.push("note")["data"] == "a"
    publish(server, user, "b")
    assert plain.push("note")["data"] == "b"

    def pending() -> int:
        client = connect(user)
        client.close()
        return int(client.established["inbox"]["pending"])

    poll(pending, lambda count: count == 0)


def test_what_has_run_out_is_not_given(server: RunningServer, connect: Connect, user: str) -> None:
    monitor = connect("watcher", "/ws/admin/monitor", role="admin")
    gone = publish(server, user, "a", ttl_s=0.5)
    publish(server, user, "b")
    while True:
        update = monitor.await_push("message_status_update")
        if update["message_id"] == gone["message_id"] and update["status"] == "expired":
            break
    assert update["user_id"] == user
    client = connect(user)
    assert client.established["inbox"]["pending"] == 1
    assert client.push("note")["data"] == "b"


def test_an_inbox_of_hundreds_comes_in_order_with_what_comes_meanwhile(
    server: RunningServer, connect: Connect, user: str
) -> None:
    count = 600
    for start in range(0, count, 200):
        messages = [
            {
                "type": "note",
                "target": {"type": "user", "id": user},
                "data": [number, "x" * 4000],
                "keep": True,
            }
            for number in range(start, start + 200)
        ]
        results = server.post("/messages/batch", {"messages": messages}).ok["results"]
        assert {result["status"] for result in results} == {200}
    client = connect(user)
    assert client.established["inbox"]["pending"] == count
    publish(server, user, [count, ""])
    assert [client.push("note")["data"][0] for _ in range(count + 1)] == list(range(count + 1))
    assert client.call("ack", stream=f"user:{user}", offset=count + 1)["acknowledged"] > 0
    assert connect(user).established["inbox"]["pending"] == 0
