"""§6, §11: publishing over REST, and what arrives on the sockets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer
from tests.support.websocket_clients import Client

People = dict[str, Client]
ACME = {"alice", "phone", "bob"}


@pytest.fixture
def people(connect: Connect) -> People:
    """Two organizations, three roles, a session; everything of their coming has been read."""
    people = {
        "alice": connect("alice", sessions="*", organization_id="acme"),
        "phone": connect("alice", sessions="*", organization_id="acme", v1=False),
        "bob": connect("bob", sessions="*", organization_id="acme", role="manager"),
        "eve": connect("eve", sessions="*", organization_id="other"),
        "boss": connect("boss", "/ws/admin/monitor", role="admin"),
    }
    people["alice"].join("room")
    people["eve"].join("room")
    for client in people.values():
        client.rest()
    return people


def who_got(people: People, type_: str) -> set[str]:
    return {
        name for name, client in people.items() if type_ in {push["type"] for push in client.rest()}
    }


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/broadcast", {}, {"alice", "phone", "bob", "eve", "boss"}),
        ("/broadcast", {"exclude_users": ["alice", "nobody"]}, {"bob", "eve", "boss"}),
        ("/broadcast", {"organization_id": "acme"}, ACME),
        ("/broadcast", {"role": "manager"}, {"bob"}),
        ("/broadcast", {"role": "user", "organization_id": "other"}, {"eve"}),
        ("/broadcast", {"organization_id": "none"}, set()),
        ("/messages", {"target": {"type": "broadcast"}}, {"alice", "phone", "bob", "eve", "boss"}),
        ("/messages", {"target": {"type": "user", "id": "alice"}}, {"alice", "phone"}),
        ("/messages", {"target": {"type": "user", "id": "nobody"}}, set()),
        ("/messages", {"target": {"type": "session", "id": "room"}}, {"alice", "eve"}),
        ("/messages", {"target": {"type": "organization", "id": "acme"}}, ACME),
        ("/messages", {"target": {"type": "role", "id": "admin"}}, {"boss"}),
        ("/users/alice/messages", {}, {"alice", "phone"}),
        ("/sessions/room/messages", {}, {"alice", "eve"}),
        ("/sessions/room/messages", {"exclude_users": ["eve"]}, {"alice"}),
    ],
)  # fmt: skip
def test_each_target_is_reached_and_counted(
    server: RunningServer, people: People, path: str, body: dict[str, Any], expected: set[str]
) -> None:
    answer = server.post(path, {"type": "news.flash", "data": [1, {"a": None}], **body}).ok
    assert answer["message_id"].startswith("msg_")
    assert (answer["matched"], answer["sent"], answer["failed"]) == (
        len(expected),
        len(expected),
        0,
    )
    for name in expected:
        push = people[name].await_push("news.flash")  # monitors also get statistics
        assert (push["id"], push["data"]) == (answer["message_id"], [1, {"a": None}])
    assert who_got(people, "news.flash") == set()


def test_one_connection_can_be_meant(server: RunningServer, people: People) -> None:
    target = {"type": "connection", "id": people["phone"].id}
    answer = server.post("/messages", {"type": "news", "target": target}).ok
    assert answer["matched"] == 1
    assert who_got(people, "news") == {"phone"}


def test_the_service_builds_a_new_message(server: RunningServer, people: People) -> None:
    body = {"type": "new_message", "content": {"text": "嗨"}, "content_type": "json"}
    answer = server.post("/sessions/room/messages", body).ok
    push = people["eve"].push("new_message")
    message = push["message"]
    assert push["id"] == message["id"] == answer["message_id"]
    assert push["session_id"] == message["session_id"] == "room"
    assert message["content"] == {"text": "嗨"}
    assert message["content_type"] == "json"
    assert set(message["sender"]) == {"user_id", "username", "role"}
    assert message["created_at"].endswith("Z")
    sender = {"user_id": "ai", "username": "AI", "role": "service"}
    server.post("/sessions/room/messages", {**body, "sender": sender})
    assert people["eve"].push("new_message")["message"]["sender"] == sender


@pytest.mark.parametrize(
    ("type_", "fields"),
    [
        ("typing", {"user_id": "ai", "username": "AI", "is_typing": True}),
        ("message_status_update", {"message_id": "msg_1", "status": "read", "user_id": "bob"}),
        ("ai_processing_status", {"status": "streaming", "progress": 0.5, "delta": "…"}),
    ],
)
def test_the_reserved_pushes_that_backends_may_send(
    server: RunningServer, people: People, type_: str, fields: dict[str, Any]
) -> None:
    assert server.post("/sessions/room/messages", {"type": type_, **fields}).ok["sent"] == 2
    push = people["eve"].push(type_)
    assert {name: push[name] for name in fields} == fields
    assert push["session_id"] == "room"


def test_a_backends_word_on_who_is_online(server: RunningServer, people: People) -> None:
    body = {"type": "user_status_update", "user_id": "x", "status": "offline", "connections": 0}
    assert server.post("/broadcast", body).ok["matched"] == 5
    push = people["bob"].push("user_status_update")
    assert (push["user_id"], push["status"], push["connections"]) == ("x", "offline", 0)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "news"}, "target"),
        ({"target": {"type": "user", "id": "a"}}, "type"),
        ({"type": "News", "target": {"type": "broadcast"}}, "type"),
        ({"type": "x" * 65, "target": {"type": "broadcast"}}, "type"),
        ({"type": "stats_update", "target": {"type": "broadcast"}}, "type"),
        ({"type": "notification", "target": {"type": "broadcast"}}, "type"),
        ({"type": "news", "target": {"type": "user"}}, "target.id"),
        ({"type": "news", "target": {"type": "moon", "id": "a"}}, "target.type"),
        ({"type": "news", "target": {"type": "user", "id": "a b"}}, "target.id"),
        ({"type": "news", "target": {"type": "broadcast", "id": "a"}}, "target.id"),
        ({"type": "news", "target": {"type": "broadcast"}, "colour": 1}, "colour"),
        ({"type": "news", "target": {"type": "broadcast"}, "content": "x"}, "content"),
        ({"type": "typing", "target": {"type": "broadcast"}, "is_typing": True}, "session_id"),
        ({"type": "new_message", "target": {"type": "session", "id": "s"}}, "content"),
    ],
)
def test_the_wrong_shape_is_named(server: RunningServer, body: dict[str, Any], field: str) -> None:
    answer = server.post("/messages", body)
    assert answer.problem == (422, "validation_failed")
    assert field in {error["field"] for error in answer.json()["errors"]}
    assert all(error["message"] for error in answer.json()["errors"])


@pytest.mark.parametrize(
    ("raw", "headers", "status", "code"),
    [
        (b"", {}, 400, "bad_json"),
        (b"{", {}, 400, "bad_json"),
        (b'{"type":NaN}', {}, 400, "bad_json"),
        (b'{"type":"a","type":"a"}', {}, 400, "bad_json"),
        (b"[" * 33 + b"]" * 33, {}, 400, "too_deep"),
        (b"[]", {}, 422, "validation_failed"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (b"x" * 2_000_000, {}, 413, "body_too_large"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bodies_that_are_none(
    server: RunningServer, raw: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    assert server.post("/broadcast", raw, headers=headers).problem == (status, code)


def test_a_batch_is_judged_one_by_one(server: RunningServer, people: People) -> None:
    to_bob = {"target": {"type": "user", "id": "bob"}, "type": "news"}
    batch = [{**to_bob, "data": 1}, {**to_bob, "type": "event"}, 5, {**to_bob, "data": 2}]
    answer = server.post("/messages/batch", {"messages": batch[:2] + batch[3:]}).ok
    first, refused, last = answer["results"]
    assert [each["status"] for each in answer["results"]] == [200, 422, 200]
    for each in (first, last):
        assert (each["matched"], each["sent"], each["failed"]) == (1, 1, 0)
        assert each["message_id"]
    assert refused["code"] == "validation_failed"
    assert "event" in refused["detail"]
    assert [people["bob"].push("news")["data"] for _ in range(2)] == [1, 2]
    many = [{**to_bob, "data": number} for number in range(1000)]
    assert len(server.post("/messages/batch", {"messages": many}).ok["results"]) == 1000
    assert [people["bob"].push("news")["data"] for _ in range(1000)] == list(range(1000))
    for bad in ([], [*many, to_bob]):
        assert server.post("/messages/batch", {"messages": bad}).problem[0] == 422


def test_explain_sends_nothing(server: RunningServer, people: People) -> None:
    body = {"type": "news", "target": {"type": "session", "id": "room"}, "exclude_users": ["eve"]}
    answer = server.post("/messages/explain", body).ok
    assert answer == {
        "matched": 1,
        "recipients": [{"user_id": "alice", "connection_id": people["alice"].id}],
        "excluded": [{"user_id": "eve", "connection_id": people["eve"].id, "reason": "excluded"}],
    }
    absent = {"type": "news", "target": {"type": "user", "id": "nobody"}}
    assert server.post("/messages/explain", absent).ok == {
        "matched": 0,
        "recipients": [],
        "excluded": [{"user_id": "nobody", "reason": "offline"}],
    }
    assert who_got(people, "news") == set()


def test_a_key_makes_one_message_of_two_requests(server: RunningServer, people: People) -> None:
    key = {"Idempotency-Key": "once-only"}
    body = {"type": "news", "data": 1, "target": {"type": "user", "id": "bob"}}
    first = server.post("/messages", body, headers=key)
    again = server.post("/messages", body, headers=key)
    assert first.ok == again.ok
    other = server.post("/messages", {**body, "data": 2}, headers=key)
    assert other.problem == (409, "idempotency_conflict")
    assert [push["data"] for push in people["bob"].rest() if push["type"] == "news"] == [1]


def test_offline_and_dying_connections_are_left_out(server: RunningServer, people: People) -> None:
    people["phone"].close()
    server.delete(f"/connections/{people['eve'].id}")
    answer = server.post("/broadcast", {"type": "news"}).ok
    assert (answer["matched"], answer["sent"], answer["failed"]) == (3, 3, 0)
    assert people["eve"].closed()[0] == 4502
    assert "news" not in {push["type"] for push in people["eve"].pushes}
