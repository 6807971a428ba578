"""Conversations: state, holder and term of sessions, over REST and by commands."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer, Start
from tests.support.tokens import token
from tests.support.waiting import poll
from tests.support.websocket_clients import together


@pytest.fixture
def session() -> str:
    """A session that no other test uses."""
    return f"s-{uuid.uuid4().hex}"


def patch(server: RunningServer, session: str, body: Any, bearer: str | None = None) -> Any:
    return server.patch(f"/sessions/{session}", body, bearer)


def test_a_session_is_an_object_with_a_state_of_its_own(
    server: RunningServer, connect: Connect, session: str
) -> None:
    assert server.get(f"/sessions/{session}").problem == (404, "not_found")
    body = {"title": "Acme", "state": "pending", "metadata": {"crm": "A-17", "深": [1.5, None]}}
    made = patch(server, session, body).ok
    assert made.items() >= {**body, "session_id": session, "term": 0, "holder": None}.items()
    assert made["created_at"] == made["updated_at"]
    server.put(f"/sessions/{session}/members", {"user_ids": ["alice", "bob"]}).ok  # noqa: B018
    alice = connect("alice")
    assert alice.join(session)["offset"] == 0
    ack = alice.call("send_message", session_id=session, content="你好")
    read = server.get(f"/sessions/{session}").ok
    assert read.items() >= body.items()
    assert (read["members"], read["active"]) == (["alice", "bob"], ["alice"])
    assert read["offset"] == 1
    assert read["last_message"]["id"] == ack["message_id"]
    assert read["last_message"]["content"] == "你好"
    narrow = token("ops", role="service", permissions=["connections:read"])
    assert server.get(f"/sessions/{session}", narrow).ok["last_message"] is None
    changed = patch(server, session, {"title": None, "state": "closed"}).ok
    assert (changed["title"], changed["state"], changed["metadata"]) == (
        None,
        "closed",
        body["metadata"],
    )
    assert patch(server, session, {}).ok == changed


def test_changes_are_pushed_to_the_session_its_members_and_monitors(
    server: RunningServer, connect: Connect, session: str
) -> None:
    server.put(f"/sessions/{session}/members", {"user_ids": ["member"]}).ok  # noqa: B018
    joined, member = connect("joined", sessions=[session]), connect("member")
    other = connect("other", sessions=[session])
    joined.join(session)
    monitor = connect("boss", "/ws/admin/monitor", role="admin")
    monitor.result("subscribe", events=["holder_changed", "session_state_changed"], interval_s=3600)
    patch(server, session, {"state": "pending", "title": "T"}).ok  # noqa: B018
    for client in (joined, member, monitor):
        push = client.await_push("session_updated")
        assert sorted(push["changed"]) == ["state", "title"]
        assert push["by"] == "admin"
        assert push["session"].items() >= {"session_id": session, "state": "pending"}.items()
        assert not {"members", "active", "last_message"} & set(push["session"])
    event = monitor.await_push("event")["event"]
    assert (
        event.items()
        >= {
            "name": "session_state_changed",
            "session_id": session,
            "state": "pending",
            "former": "open",
        }.items()
    )
    patch(server, session, {"state": "pending"}).ok  # noqa: B018
    assert other.rest() == []
    assert [push["type"] for push in joined.rest()] == []


def test_taking_and_releasing(server: RunningServer, connect: Connect, session: str) -> None:
    path = f"/sessions/{session}/holder"
    ai = {"type": "ai", "id": "fastgpt"}
    assert server.post(path, {"holder": ai}).ok == {"holder": ai, "term": 1}
    assert server.post(path, {"holder": ai, "expected_term": 1}).ok == {"holder": ai, "term": 1}
    sales = connect("sales", role="manager", organization_id="o1", sessions=[session])
    customer = connect("customer", sessions=[session])
    customer.join(session)
    error = sales.error("take", session_id=session, expected_term=0)
    assert error.items() >= {"code": "term_changed", "term": 1}.items()
    taken = sales.call("take", session_id=session, expected_term=1)
    sales_holds = {"type": "user", "id": "sales"}
    assert (taken["type"], taken["term"], taken["holder"]) == ("taken", 2, sales_holds)
    assert sales.call("take", session_id=session)["term"] == 2  # holds it already
    push = customer.await_push("session_updated")
    assert (push["session"]["holder"], push["session"]["term"]) == (sales_holds, 2)
    assert (push["changed"], push["by"]) == (["holder", "term"], "sales")
    assert customer.code("release", session_id=session) == "forbidden"
    released = sales.call("release", session_id=session, to="ai")
    assert (released["type"], released["term"], released["holder"]) == ("released", 3, ai)
    assert sales.code("release", session_id=session) == "forbidden"
    boss = connect("boss", role="admin")
    assert boss.call("release", session_id=session)["holder"] is None
    answer = server.post(path, {"holder": None, "expected_term": 2})
    assert answer.problem == (409, "term_changed")
    assert answer.json()["term"] == 4
    new = f"{session}.new"
    assert boss.code("release", session_id=new, to="ai") == "no_responder"


def test_who_may_take(server: RunningServer, connect: Connect, session: str) -> None:
    for claims, may in (
        ({"role": "user", "sessions": [session]}, False),
        ({"role": "user", "sessions": [session], "permissions": ["sessions:manage"]}, False),
        ({"role": "manager", "organization_id": "o1"}, False),
        ({"role": "manager", "organization_id": "o1", "sessions": "*"}, True),
        ({"role": "service"}, True),
        ({"role": "service", "permissions": []}, False),
        ({"role": "service", "permissions": [], "sessions": [session]}, True),
        ({"role": "admin"}, True),
    ):
        client = connect(f"u-{uuid.uuid4().hex}", **claims)
        reply = client.call("take", session_id=session)
        assert reply["type"] == ("taken" if may else "error"), claims
        assert may or reply["error"]["code"] == "forbidden"
    bound = connect("b", f"/ws/chat/session/{session}", role="admin")
    bound.push("session_joined")
    assert bound.code("take", session_id="another") == "session_bound"
    assert bound.code("release", session_id="another") == "session_bound"


def test_of_many_who_take_one_term_one_gets_it(
    server: RunningServer, connect: Connect, session: str
) -> None:
    clients = [connect(f"t{number}", role="admin", sessions=[session]) for number in range(8)]

    def take(number: int) -> dict[str, Any]:
        clients[number].send("take", session_id=session, expected_term=0, ref=1)
        return clients[number].reply()

    replies = together(take, len(clients))
    assert sorted(reply["type"] for reply in replies) == ["error"] * 7 + ["taken"]
    terms = [reply.get("term") or reply["error"]["term"] for reply in replies]
    assert terms == [1] * 8


def test_a_publish_of_another_term_is_refused(
    server: RunningServer, connect: Connect, session: str
) -> None:
    client = connect("u", sessions=[session])
    client.join(session)
    path = f"/sessions/{session}/messages"
    message = {"type": "new_message", "content": "from the AI"}
    delta = {"type": "ai_processing_status", "status": "streaming", "delta": "x"}
    for body in (message, delta):
        assert server.post(path, {**body, "term": 0}).status == 200
        for term in (1, 2**53):
            answer = server.post(path, {**body, "term": term})
            assert answer.problem == (409, "term_changed")
            assert answer.json()["term"] == 0
    server.post(f"/sessions/{session}/holder", {"holder": {"type": "user", "id": "s"}}).ok  # noqa: B018
    target = {"type": "session", "id": session}
    bodies = [{**each, "target": target, "term": t} for t in (0, 1) for each in (message, delta)]
    results = server.post("/messages/batch", {"messages": bodies}).ok["results"]
    assert [result["status"] for result in results] == [409, 409, 200, 200]
    assert [result.get("term") for result in results[:2]] == [1, 1]
    got = [push["type"] for push in client.rest() if push["type"] != "session_updated"]
    assert got == [message["type"], delta["type"]] * 2


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"title": "x" * 201}, ["title"]),
        ({"title": "a\x00b", "state": "gone", "metadata": [], "extra": 1}, None),
        ({"title": 7, "state": None, "organization_id": "a b"}, None),
        ({"metadata": {"x": "y" * 4096}, "title": "\n"}, ["title", "metadata"]),
        ({"metadata": {"中": "文" * 1364}}, ["metadata"]),
        ({"metadata": None}, ["metadata"]),
        ({"organization_id": None}, ["organization_id"]),
        ([], ["body"]),
    ],
)
def test_every_fault_of_a_change_is_named(
    server: RunningServer, session: str, body: Any, fields: list[str] | None
) -> None:
    answer = patch(server, session, body)
    assert answer.problem == (422, "validation_failed")
    named = [fault["field"] for fault in answer.json()["errors"]]
    assert sorted(named) == sorted(fields or list(body))
    assert server.get(f"/sessions/{session}").status == 404


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["holder"]),
        ({"expected_term": -1}, ["holder", "expected_term"]),
        ({"holder": {"type": "robot", "id": "x y"}}, ["holder.type", "holder.id"]),
        ({"holder": {"type": "user"}, "expected_term": 2**53 + 1}, ["holder.id", "expected_term"]),
        ({"holder": "alice", "expected_term": "1"}, ["holder", "expected_term"]),
        ({"holder": {"type": "ai", "id": "x", "more": 1}}, ["holder.more"]),
    ],
)
def test_every_fault_of_a_holder_is_named(
    server: RunningServer, session: str, body: Any, fields: list[str]
) -> None:
    answer = server.post(f"/sessions/{session}/holder", body)
    assert answer.problem == (422, "validation_failed")
    assert [fault["field"] for fault in answer.json()["errors"]] == fields


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"session_id": "a b"},
        {"session_id": "s", "expected_term": -1},
        {"session_id": "s", "expected_term": 2**64},
        {"session_id": "s", "expected_term": True},
        {"session_id": "s", "to": "ai"},
    ],
)
def test_bad_fields_of_take(connect: Connect, fields: dict[str, Any]) -> None:
    client = connect("boss", role="admin")
    assert client.code("take", **fields) in ("bad_request", "unknown_field")
    fields = {name: value for name, value in fields.items() if name != "to"}
    assert client.code("release", **{"to": "bob", **fields}) in ("bad_request", "unknown_field")


def test_the_names_are_reserved_and_a_term_needs_a_session(server: RunningServer) -> None:
    for type_ in ("session_updated", "taken", "released"):
        answer = server.post("/broadcast", {"type": type_})
        assert answer.problem == (422, "validation_failed")
    for target in ({"type": "broadcast"}, {"type": "user", "id": "u"}):
        answer = server.post("/messages", {"type": "x", "target": target, "term": 1, "ttl_s": 5})
        assert [fault["field"] for fault in answer.json()["errors"]] == ["ttl_s", "term"]


def test_a_manager_gives_sessions_of_its_organization_to_it_and_to_its_users(
    start: Start,
) -> None:
    server = start(permissions={"manager": ["sessions:manage", "connections:read"]})
    manager = token("m", role="manager", organization_id="o1")
    for user, organization in (("ours", "o1"), ("theirs", "o2")):
        contacts = {"organization_id": organization}
        server.put(f"/users/{user}/contacts", contacts).ok  # noqa: B018
        server.put(f"/sessions/{user}/members", {"user_ids": [user]}).ok  # noqa: B018
    assert server.patch("/sessions/ours", {"title": "T"}, manager).ok["title"] == "T"
    for session, organization, status in (
        ("ours", "o2", 403),
        ("theirs", "o1", 404),
        ("new", "o1", 404),
        ("ours", "o1", 200),
    ):
        answer = server.patch(f"/sessions/{session}", {"organization_id": organization}, manager)
        assert answer.status == status, (session, organization)
    for user, status in (("ours", 200), ("theirs", 403), ("unknown", 403)):
        holder = {"holder": {"type": "user", "id": user}}
        assert server.post("/sessions/ours/holder", holder, manager).status == status


def test_the_organization_that_was_set_is_the_one_that_counts(
    server: RunningServer, connect: Connect, session: str
) -> None:
    """Members of another organization do not make it theirs."""
    connect("m1", organization_id="o1")
    managers = {
        name: token(f"manager-{name}", role="manager", organization_id=name)
        for name in ("o1", "o2")
    }
    server.put(f"/sessions/{session}/members", {"user_ids": ["m1"]}).ok  # noqa: B018
    path = f"/sessions/{session}"
    assert [server.get(path, each).status for each in managers.values()] == [200, 404]
    assert patch(server, session, {"organization_id": "o2"}).ok["organization_id"] == "o2"
    assert [server.get(path, each).status for each in managers.values()] == [404, 200]
    answer = patch(server, session, {"organization_id": "o1", "title": "x"})
    assert answer.problem == (409, "organization_set")
    assert b"o2" not in answer.body
    assert patch(server, session, {"organization_id": "o2"}).ok["title"] is None
    listed = [
        [each["session_id"] for each in server.get("/sessions", bearer).ok["sessions"]]
        for bearer in managers.values()
    ]
    assert session not in listed[0]


def test_changes_of_sessions_are_audited(server: RunningServer, session: str) -> None:
    patch(server, session, {"title": "secret"}).ok  # noqa: B018
    server.post(f"/sessions/{session}/holder", {"holder": None}).ok  # noqa: B018
    manager = token("m", role="manager", organization_id="o1")
    assert patch(server, session, {"title": "x"}, manager).status == 403

    def entries() -> list[dict[str, Any]]:
        found = server.get("/audit?limit=1000").ok["entries"]
        return [each for each in found if each["target"] == f"session:{session}"]

    poll(entries, lambda found: len(found) >= 3)
    assert {(each["action"], each["outcome"]) for each in entries()} == {
        ("session", "ok"),
        ("holder", "ok"),
        ("session", "forbidden"),
    }
    assert "secret" not in str(entries())
