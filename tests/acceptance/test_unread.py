"""What is unread to a user: ``unread_changed`` on all devices, whatever changes it."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer
from tests.support.websocket_clients import together


@pytest.fixture
def session() -> str:
    """A session that no other test uses."""
    return f"s-{uuid.uuid4().hex}"


@pytest.fixture
def user() -> str:
    """A user whose other sessions have nothing unread."""
    return f"u-{uuid.uuid4().hex}"


def publish(server: RunningServer, session: str, content: str = "x", **body: Any) -> dict[str, Any]:
    message = {"type": "new_message", "content": content, **body}
    answer: dict[str, Any] = server.post(f"/sessions/{session}/messages", message).ok
    return answer


def members(server: RunningServer, session: str, *users: str) -> None:
    server.put(f"/sessions/{session}/members", {"user_ids": list(users)}).ok  # noqa: B018


def test_every_device_is_told_also_of_sessions_that_it_has_not_joined(
    server: RunningServer, connect: Connect, session: str, user: str
) -> None:
    members(server, session, user)
    members(server, f"{session}.2", user)
    devices = [connect(user) for _ in range(2)]
    devices[0].join(session)
    publish(server, session)
    for device in devices:
        push = device.await_unread(session_id=session, unread=1)
        assert push.keys() == {"type", "session_id", "unread", "total", "timestamp"}
        assert push["total"] == 1
    publish(server, f"{session}.2")
    for device in devices:
        assert device.await_unread(session_id=f"{session}.2")["total"] == 2
    devices[1].call("mark_read", session_id=session, offset=1)
    for device in devices:
        assert device.await_unread(session_id=session).items() >= {"unread": 0, "total": 1}.items()


def test_own_messages_and_deletion(
    server: RunningServer, connect: Connect, session: str, user: str
) -> None:
    members(server, session, user)
    client = connect(user)
    client.join(session)
    sent = [publish(server, session, sender={"user_id": "other"}) for _ in range(3)]
    assert client.await_unread(unread=3)["total"] == 3
    assert server.delete(f"/messages/{sent[1]['message_id']}").status == 200
    assert client.await_unread(unread=2)["total"] == 2
    client.call("send_message", session_id=session, content="mine")
    assert client.await_unread(unread=0)["total"] == 0


def test_what_is_no_message_for_the_user_is_not_counted(
    server: RunningServer, connect: Connect, session: str, user: str
) -> None:
    members(server, session, user, "other")
    client = connect(user)
    path = f"/sessions/{session}/messages"
    for body in (
        {"type": "order.shipped", "data": 1, "keep": True},
        {"type": "new_message", "content": "x", "keep": False},
        {"type": "new_message", "content": "x", "exclude_users": [user]},
        {"type": "new_message", "content": "x", "sender": {"user_id": user}},
        {"type": "new_message", "content": "x", "exclude_users": ["other"]},
    ):
        assert server.post(path, body).status == 200
    assert client.await_unread(session_id=session, unread=1)["total"] == 1


def test_who_is_taken_off_the_list_has_nothing_unread_there(
    server: RunningServer, connect: Connect, session: str, user: str
) -> None:
    members(server, session, user)
    client = connect(user)
    publish(server, session)
    assert client.await_unread(session_id=session, unread=1)["total"] == 1
    members(server, session)
    assert client.await_unread(session_id=session, unread=0)["total"] == 0
    publish(server, session)
    members(server, session, user)  # begins at the end again
    publish(server, session)
    assert client.await_unread(session_id=session, unread=1)["total"] == 1


def test_a_session_by_claim_counts_while_the_claim_does(
    server: RunningServer, connect: Connect, session: str, user: str
) -> None:
    client = connect(user, sessions=[session])
    publish(server, session)
    client.join(session)
    client.close()
    publish(server, session)
    publish(server, session)
    other = connect(user, sessions=[])
    back = connect(user, sessions=[session])
    publish(server, session)
    assert back.await_unread(session_id=session, unread=3)["total"] == 3
    assert other.await_unread(session_id=session, unread=3)["total"] == 3


def test_the_last_state_is_always_told_and_not_each_one(
    server: RunningServer, connect: Connect, session: str, user: str
) -> None:
    members(server, session, user)
    client = connect(user)
    batch = [
        {"target": {"type": "session", "id": session}, "type": "new_message", "content": str(n)}
        for n in range(100)
    ]
    began = time.monotonic()
    for _ in range(5):
        server.post("/messages/batch", {"messages": batch}).ok  # noqa: B018
    pushes = [client.await_unread()]
    while pushes[-1]["unread"] < 500:
        pushes.append(client.await_unread())
    took = time.monotonic() - began
    assert len(pushes) <= 4 * took + 2
    assert [push["total"] for push in pushes] == [push["unread"] for push in pushes]


def test_counts_are_exact_whatever_happens_at_once(
    server: RunningServer, connect: Connect, session: str
) -> None:
    users = [f"{session}-{number}" for number in range(4)]
    members(server, session, *users)
    clients = [connect(user) for user in users]
    for client in clients:
        client.join(session)

    def act(number: int) -> None:
        client = clients[number]
        for count in range(30):
            ack = client.call("send_message", session_id=session, content=str(count))
            if count % 3 == 0:
                client.call("mark_read", session_id=session, offset=ack["offset"] - count % 7)

    together(act, len(clients))
    end = publish(server, session)["offset"]
    assert end == 121
    senders: dict[int, str] = {}
    for message in server.get(f"/sessions/{session}/history?limit=1000").ok["messages"]:
        senders[message["offset"]] = message["message"]["sender"]["user_id"]
    positions = {
        each["user_id"]: each["read_offset"]
        for each in server.get(f"/sessions/{session}").ok["positions"]
    }
    for user, client in zip(users, clients, strict=True):
        assert positions[user] >= max(o for o, sender in senders.items() if sender == user)
        unread = sum(sender != user for o, sender in senders.items() if o > positions[user])
        assert client.await_unread(unread=unread)["total"] == unread


def test_each_unread_message_and_the_position_that_holds_it_back(
    server: RunningServer, connect: Connect, session: str, user: str
) -> None:
    members(server, session, user)
    members(server, f"{session}.2", user)
    first = publish(server, session, sender={"user_id": "bob"})
    publish(server, session, exclude_users=[user])
    deleted = publish(server, session)
    assert server.delete(f"/messages/{deleted['message_id']}").status == 200
    later = [publish(server, session, sender={"user_id": "carla"}) for _ in range(2)]
    publish(server, f"{session}.2")
    connect(user).call("mark_read", session_id=session, offset=1)
    found = server.get(f"/users/{user}/unread").ok
    assert (found["user_id"], found["unread_total"], found["total"]) == (user, 3, 2)
    assert [each["session_id"] for each in found["sessions"]] == [f"{session}.2", session]
    shown = found["sessions"][1]
    assert (shown["unread"], shown["read_offset"]) == (2, 1)
    assert shown["read_at"].endswith("Z")
    assert [(each["message_id"], each["sender"]) for each in shown["messages"]] == [
        (each["message_id"], "carla") for each in later
    ]
    assert first["message_id"] not in str(found)
    page = server.get(f"/users/{user}/unread?limit=1&messages=1").ok
    rest = server.get(f"/users/{user}/unread?limit=1&messages=1&cursor={page['next_cursor']}").ok
    assert [len(each["messages"]) for each in rest["sessions"]] == [1]
    assert (rest["sessions"][0]["session_id"], rest["next_cursor"]) == (session, None)
    for query in ("messages=0", "messages=101", "cursor=x", "limit=0"):
        assert server.get(f"/users/{user}/unread?{query}").problem == (400, "bad_request")


def test_the_name_is_reserved(server: RunningServer) -> None:
    answer = server.post("/broadcast", {"type": "unread_changed"})
    assert answer.problem == (422, "validation_failed")
