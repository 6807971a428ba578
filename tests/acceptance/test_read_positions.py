"""Read positions: ``mark_read``, ``read_position``, and where they are shown."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer
from tests.support.websocket_clients import Client


@pytest.fixture
def session() -> str:
    """A session that no other test uses."""
    return f"s-{uuid.uuid4().hex}"


def write(client: Client, session: str, count: int = 1) -> None:
    for number in range(count):
        assert client.call("send_message", session_id=session, content=str(number))["type"] == "ack"


def offsets(users: list[dict[str, Any]]) -> dict[str, int | None]:
    return {user["user_id"]: user["read_offset"] for user in users}


def test_a_position_moves_forward_and_is_pushed_to_the_session(
    connect: Connect, session: str
) -> None:
    alice, phone = connect("alice", sessions="*"), connect("alice", sessions="*")
    bob = connect("bob", sessions="*")
    for client in (alice, phone, bob):
        client.join(session)
    write(alice, session, 3)
    assert bob.call("mark_read", session_id=session, offset=2)["type"] == "ack"
    for client in (alice, phone, bob):
        push = client.await_push("read_position")
        assert (push["session_id"], push["user_id"], push["offset"]) == (session, "bob", 2)
    for offset in (2, 1, 0):  # never back, and nothing to be told of
        assert bob.call("mark_read", session_id=session, offset=offset)["type"] == "ack"
    assert [push["type"] for push in alice.rest()] == []
    bob.call("mark_read", session_id=session, offset=2**53)
    assert alice.await_push("read_position")["offset"] == 3
    assert offsets(alice.call("presence", session_id=session)["users"]) == {"alice": 3, "bob": 3}


def test_own_messages_move_the_position_without_a_push(connect: Connect, session: str) -> None:
    alice, bob = connect("alice", sessions="*"), connect("bob", sessions="*")
    alice.join(session)
    write(alice, session, 2)
    assert offsets(bob.join(session)["users"]) == {"alice": 2, "bob": 2}  # begins at the end
    write(alice, session)
    write(bob, session)
    assert offsets(alice.call("presence", session_id=session)["users"]) == {"alice": 3, "bob": 4}
    assert [push["type"] for push in alice.rest() if push["type"] == "read_position"] == []


def test_positions_of_members_also_of_those_who_never_came(
    server: RunningServer, connect: Connect, session: str
) -> None:
    alice = connect("alice", sessions="*")
    alice.join(session)
    write(alice, session, 2)
    server.put(f"/sessions/{session}/members", {"user_ids": ["bob", "carla"]}).ok  # noqa: B018
    write(alice, session, 2)
    bob = connect("bob")
    bob.call("mark_read", session_id=session, offset=3)  # without having joined it
    read = server.get(f"/sessions/{session}").ok
    assert read["positions"] == [
        {"user_id": "bob", "read_offset": 3},
        {"user_id": "carla", "read_offset": 2},
    ]
    assert offsets(bob.join(session)["users"]) == {"alice": 4, "bob": 3}


def test_positions_survive_a_restart(start: Any, connect: Connect, session: str) -> None:
    server = start()
    alice = connect("alice", to=server, sessions="*")
    alice.join(session)
    server.post(f"/sessions/{session}/messages", {"type": "new_message", "content": "a"}).ok  # noqa: B018
    server.post(f"/sessions/{session}/messages", {"type": "new_message", "content": "b"}).ok  # noqa: B018
    assert alice.call("mark_read", session_id=session, offset=1)["type"] == "ack"
    server.stop()
    again = start(folder=server.folder)
    alice = connect("alice", to=again, sessions="*")
    assert offsets(alice.join(session)["users"]) == {"alice": 1}


def test_a_bound_connection_is_told_where_everybody_is(connect: Connect, session: str) -> None:
    alice = connect("alice", sessions="*")
    alice.join(session)
    write(alice, session)
    bound = connect("bob", f"/ws/chat/session/{session}", sessions=[session])
    assert offsets(bound.push("session_joined")["users"]) == {"alice": 1, "bob": 1}
    assert bound.code("mark_read", session_id="another", offset=1) == "session_bound"
    assert bound.call("mark_read", session_id=session, offset=1)["type"] == "ack"


def test_who_has_no_access_reads_nothing_unless_they_have_written(
    server: RunningServer, connect: Connect, session: str
) -> None:
    alice = connect("alice", sessions="*")
    alice.join(session)
    body = {"type": "new_message", "content": "x", "sender": {"user_id": "writer"}}
    server.post(f"/sessions/{session}/messages", body).ok  # noqa: B018
    for user, codes in (("stranger", "error"), ("writer", "ack")):
        client = connect(user)
        assert client.call("mark_read", session_id=session, offset=1)["type"] == codes
    assert connect("x").code("mark_read", session_id=f"{session}.none", offset=0) == "forbidden"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"session_id": "s"},
        {"offset": 1},
        {"session_id": "s", "offset": -1},
        {"session_id": "s", "offset": 2**53 + 1},
        {"session_id": "s", "offset": 2**70},
        {"session_id": "s", "offset": "1"},
        {"session_id": "s", "offset": 1.5},
        {"session_id": "s", "offset": None},
        {"session_id": "a b", "offset": 1},
        {"session_id": "s", "offset": 1, "user_id": "bob"},
    ],
)
def test_bad_fields(connect: Connect, fields: dict[str, Any]) -> None:
    client = connect("u1", sessions="*")
    assert client.code("mark_read", **fields) in ("bad_request", "unknown_field")


def test_the_name_is_reserved(server: RunningServer) -> None:
    answer = server.post("/broadcast", {"type": "read_position"})
    assert answer.problem == (422, "validation_failed")
