"""The list of a user's conversations, by the command and over REST."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.waiting import poll


@pytest.fixture
def user() -> str:
    """A user without any other session."""
    return f"u-{uuid.uuid4().hex}"


def publish(server: RunningServer, session: str, content: str = "x", **body: Any) -> dict[str, Any]:
    message = {"type": "new_message", "content": content, **body}
    answer: dict[str, Any] = server.post(f"/sessions/{session}/messages", message).ok
    return answer


def members(server: RunningServer, session: str, *users: str) -> None:
    server.put(f"/sessions/{session}/members", {"user_ids": list(users)}).ok  # noqa: B018


def ids(answer: dict[str, Any]) -> list[str]:
    return [each["session_id"] for each in answer["conversations"]]


def test_a_conversation_is_shown_with_what_is_unread_and_its_last_message(
    server: RunningServer, connect: Connect, user: str
) -> None:
    session = f"{user}.s"
    members(server, session, user, "bob")
    server.patch(f"/sessions/{session}", {"title": "Acme", "metadata": {"a": 1}}).ok  # noqa: B018
    publish(server, session, "first")
    last = publish(server, session, "last", sender={"user_id": "bob", "username": "Bob"})
    custom = {"type": "order.shipped", "data": 1, "keep": True}
    server.post(f"/sessions/{session}/messages", custom).ok  # noqa: B018
    client = connect(user)
    client.join(session)
    answer = client.call("conversations")
    assert answer.keys() == {"type", "ref", "conversations", "unread_total", "next_cursor"}
    assert (answer["unread_total"], answer["next_cursor"]) == (2, None)
    (shown,) = answer["conversations"]
    message = shown.pop("last_message")
    assert (message["id"], message["content"]) == (last["message_id"], "last")
    assert message["sender"] == {"user_id": "bob", "username": "Bob", "role": None}
    times = {shown.pop("created_at"), shown.pop("updated_at")}
    assert all(time.endswith("Z") for time in times)
    assert shown == {
        **{"session_id": session, "title": "Acme", "state": "open", "holder": None, "term": 0},
        **{"organization_id": None, "metadata": {"a": 1}, "offset": 3, "unread": 2},
        **{"members": sorted([user, "bob"]), "active": [user], "read_offset": 0},
    }
    over_rest = server.get(f"/users/{user}/conversations").ok
    assert over_rest["conversations"] == answer["conversations"] or over_rest["total"] == 1
    assert over_rest["conversations"][0]["last_message"] == message
    assert (over_rest["user_id"], over_rest["unread_total"], over_rest["total"]) == (user, 2, 1)


def test_which_sessions_are_listed(server: RunningServer, connect: Connect, user: str) -> None:
    members(server, f"{user}.member", user)
    members(server, f"{user}.former", user)
    members(server, f"{user}.former")
    publish(server, f"{user}.written", sender={"user_id": user})
    publish(server, f"{user}.other")
    client = connect(user, sessions=[f"{user}.joined", f"{user}.unused"])
    client.join(f"{user}.joined")
    expected = {f"{user}.member", f"{user}.written", f"{user}.joined"}
    # That a session was joined by a claim is stored in the background.
    poll(lambda: set(ids(client.call("conversations"))), lambda found: found == expected)
    assert set(ids(server.get(f"/users/{user}/conversations").ok)) == expected
    later = connect(user, sessions=[])  # the claim is gone
    assert set(ids(later.call("conversations"))) == expected - {f"{user}.joined"}


def test_what_the_user_may_not_enter_shows_no_message(
    server: RunningServer, connect: Connect, user: str
) -> None:
    session = f"{user}.s"
    publish(server, session, "mine", sender={"user_id": user})
    publish(server, session, "not for you any more")
    without, with_claim = connect(user), connect(user, sessions=[session])
    (shown,) = without.call("conversations")["conversations"]
    assert (shown["last_message"], shown["unread"]) == (None, 1)
    (shown,) = with_claim.call("conversations")["conversations"]
    assert shown["last_message"]["content"] == "not for you any more"


def test_the_last_message_is_one_for_the_user_in_its_newest_version(
    server: RunningServer, connect: Connect, user: str
) -> None:
    session = f"{user}.s"
    members(server, session, user)
    sent = publish(server, session, "for all")
    publish(server, session, "for others", exclude_users=[user])
    client = connect(user)

    def last() -> dict[str, Any]:
        (shown,) = client.call("conversations")["conversations"]
        message: dict[str, Any] = shown["last_message"]
        return message

    assert last()["content"] == "for all"
    server.patch(f"/messages/{sent['message_id']}", {"content": "edited"}).ok  # noqa: B018
    assert last()["content"] == "edited"
    assert server.delete(f"/messages/{sent['message_id']}").status == 200
    assert last()["deleted"] is True
    assert "content" not in last()


def test_newest_activity_first_in_pages(server: RunningServer, connect: Connect, user: str) -> None:
    sessions = [f"{user}.{number}" for number in range(7)]
    for session in sessions:
        members(server, session, user)
    for session in (*sessions, sessions[2], sessions[0]):
        publish(server, session)
    server.patch(f"/sessions/{sessions[3]}", {"state": "closed"}).ok  # noqa: B018
    expected = [sessions[n] for n in (0, 2, 6, 5, 4, 3, 1)]
    client = connect(user)
    for limit in (1, 3, 7, 100):
        found: list[str] = []
        cursor: str | None = None
        while True:
            more = {} if cursor is None else {"cursor": cursor}
            page = client.call("conversations", limit=limit, **more)
            path = f"/users/{user}/conversations?limit={limit}"
            over_rest = server.get(path + (f"&cursor={cursor}" if cursor else "")).ok
            assert ids(over_rest) == ids(page)
            assert over_rest["next_cursor"] == page["next_cursor"]
            assert (page["unread_total"], over_rest["total"]) == (9, 7)
            assert len(page["conversations"]) <= limit
            found += ids(page)
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == expected
    assert ids(client.call("conversations", state="closed")) == [sessions[3]]
    opened = client.call("conversations", state="open")
    assert ids(opened) == [each for each in expected if each != sessions[3]]
    assert opened["unread_total"] == 9
    assert client.call("conversations", state="pending")["conversations"] == []
    closed = server.get(f"/users/{user}/conversations?state=closed").ok
    assert (ids(closed), closed["total"]) == ([sessions[3]], 1)


def test_a_page_ends_where_the_queue_of_the_connection_would(start: Any, connect: Connect) -> None:
    server = start(queue_limit_bytes=200_000)
    for number in range(10):
        members(server, f"s{number}", "u1")
        publish(server, f"s{number}", "x" * 50_000)
    client = connect("u1", to=server)
    found: list[str] = []
    cursor: str | None = None
    while cursor is not None or not found:
        page = client.call("conversations", cursor=cursor)
        assert 0 < len(page["conversations"]) < 4
        found += ids(page)
        cursor = page["next_cursor"]
    assert found == [f"s{number}" for number in reversed(range(10))]


def test_a_manager_sees_those_of_its_organization(
    server: RunningServer, connect: Connect, user: str
) -> None:
    contacts = {"organization_id": "o1"}
    server.put(f"/users/{user}/contacts", contacts).ok  # noqa: B018
    for session, organization in ((f"{user}.1", "o1"), (f"{user}.2", "o2")):
        members(server, session, user)
        publish(server, session)
        server.patch(f"/sessions/{session}", {"organization_id": organization}).ok  # noqa: B018
    manager = token("m", role="manager", organization_id="o1")
    found = server.get(f"/users/{user}/conversations", manager).ok
    assert (ids(found), found["unread_total"], found["total"]) == ([f"{user}.1"], 1, 1)
    other = token("m", role="manager", organization_id="o2")
    assert server.get(f"/users/{user}/conversations", other).problem == (404, "not_found")
    narrow = token("s", role="service", permissions=["connections:read"])
    assert server.get(f"/users/{user}/conversations", narrow).problem == (403, "forbidden")
    assert server.get("/users/nobody-at-all/conversations").ok["conversations"] == []


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 0},
        {"limit": 101},
        {"limit": "5"},
        {"cursor": ""},
        {"cursor": "x" * 1025},
        {"cursor": "not a cursor"},
        {"cursor": "WzEsMl0"},
        {"state": "gone"},
        {"user_id": "other"},
    ],
)
def test_bad_fields(server: RunningServer, connect: Connect, fields: dict[str, Any]) -> None:
    client = connect("u1")
    assert client.code("conversations", **fields) in ("bad_request", "unknown_field")
    if "limit" not in fields:
        query = "&".join(f"{name}={value}" for name, value in fields.items()).replace(" ", "%20")
        answer = server.get(f"/users/u1/conversations?{query}")
        assert answer.problem == (400, "bad_request")
