"""``GET /sessions/{id}/past``: what they saw at that time."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.waiting import poll


@pytest.fixture
def session() -> str:
    """A session that no other test uses."""
    return f"s-{uuid.uuid4().hex}"


def past(server: RunningServer, session: str, at: str = "") -> dict[str, Any]:
    query = f"?at={at}" if at else ""
    found: dict[str, Any] = server.get(f"/sessions/{session}/past{query}").ok
    return found


def test_state_and_people_of_then(server: RunningServer, connect: Connect, session: str) -> None:
    server.put(f"/sessions/{session}/members", {"user_ids": ["alice"]}).ok  # noqa: B018
    alice = connect("alice")
    alice.join(session)
    alice.call("send_message", session_id=session, content="hello")
    found = past(server, session)
    assert [each["user_id"] for each in found["present"]] == ["alice"]
    then = found["at"]
    assert server.get(f"/sessions/{session}").ok["offset"] == 1
    alice.call("leave_session", session_id=session)
    server.patch(f"/sessions/{session}", {"state": "closed", "title": "T"}).ok  # noqa: B018
    server.post(f"/sessions/{session}/holder", {"holder": {"type": "ai", "id": "bot"}}).ok  # noqa: B018
    server.put(f"/sessions/{session}/members", {"user_ids": ["bob"]}).ok  # noqa: B018
    found = past(server, session, then)
    assert (
        found.items()
        >= {
            **{"session_id": session, "at": then, "title": None, "state": "open", "holder": None},
            **{"term": 0, "offset": 1, "members": ["alice"]},
        }.items()
    )
    assert found["positions"] == [{"user_id": "alice", "read_offset": 1, "is_exact": True}]
    (visit,) = found["present"]
    assert visit["user_id"] == "alice"
    assert visit["since"] <= then
    now = past(server, session)
    assert now["present"] == []
    assert (now["state"], now["title"], now["term"], now["members"]) == ("closed", "T", 1, ["bob"])
    assert [each["field"] for each in now["changes"]] == [
        *("members", "title", "state", "holder", "members")
    ]
    assert past(server, session, then)["present"][0]["until"] is not None


def test_who_was_there_when_the_server_was_killed_is_gone_after_its_start(
    start: Any, connect: Connect
) -> None:
    server = start()
    alice = connect("alice", to=server, sessions="*")
    alice.join("s1")
    alice.call("send_message", session_id="s1", content="hello")
    then = past(server, "s1")["at"]
    server.kill()
    again = start(folder=server.folder)
    assert past(again, "s1")["present"] == []
    (visit,) = past(again, "s1", then)["present"]
    assert (visit["user_id"], visit["until"] > then) == ("alice", True)


def test_refusals(server: RunningServer, connect: Connect, session: str) -> None:
    path = f"/sessions/{session}/past"
    assert server.get(path).problem == (404, "not_found")
    server.patch(f"/sessions/{session}", {"organization_id": "o1"}).ok  # noqa: B018
    assert server.get(f"{path}?at=1h").problem == (404, "not_found")
    for query in ("at=yesterday", "at=", "at=1h&at=2h", "since=1h"):
        assert server.get(f"{path}?{query}").problem == (400, "bad_request")
    ours = token("m", role="manager", organization_id="o1")
    theirs = token("m", role="manager", organization_id="o2")
    assert server.get(path, ours).status == 200
    assert server.get(path, theirs).problem == (404, "not_found")
    assert server.get(path, token("u")).problem == (403, "forbidden")


def test_a_manager_sees_its_own_people(
    server: RunningServer, connect: Connect, session: str
) -> None:
    users = {"ours": "o1", "theirs": "o2"}
    for user, organization in users.items():
        server.put(f"/users/{user}/contacts", {"organization_id": organization}).ok  # noqa: B018
    server.put(f"/sessions/{session}/members", {"user_ids": list(users)}).ok  # noqa: B018
    server.patch(f"/sessions/{session}", {"organization_id": "o1"}).ok  # noqa: B018
    for user in users:
        connect(user).join(session)
    poll(lambda: len(past(server, session)["present"]), lambda n: n == 2)
    manager = token("m", role="manager", organization_id="o1")
    found = server.get(f"/sessions/{session}/past", manager).ok
    assert found["members"] == ["ours"]
    assert [each["user_id"] for each in found["positions"]] == ["ours"]
    assert [each["user_id"] for each in found["present"]] == ["ours"]
    assert "theirs" not in str(found)
