"""History says how far each of one's own messages has come, also after a reload."""

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


def send(client: Client, session: str, count: int) -> list[str]:
    return [
        client.call("send_message", session_id=session, content=str(number))["message_id"]
        for number in range(count)
    ]


def receipts(client: Client, session: str, **fields: Any) -> dict[str, dict[str, list[str]]]:
    answer: dict[str, dict[str, list[str]]] = client.call("history", session_id=session, **fields)[
        "receipts"
    ]
    return answer


def nobody(ids: list[str]) -> dict[str, dict[str, list[str]]]:
    return {id_: {"delivered": [], "read": []} for id_ in ids}


def test_each_user_once_under_the_furthest_state(connect: Connect, session: str) -> None:
    alice, bob, carla = (connect(user, sessions="*") for user in ("alice", "bob", "carla"))
    for client in (alice, bob, carla):
        client.join(session)
    first, second, third = send(alice, session, 3)
    theirs = send(bob, session, 1)  # bob has read all before it
    assert receipts(alice, session) == {
        id_: {"delivered": [], "read": ["bob"]} for id_ in (first, second, third)
    }
    assert receipts(bob, session) == nobody(theirs)
    carla.call("ack", ids=[first, second])
    carla.call("read", ids=[second])
    assert receipts(alice, session) == {
        first: {"delivered": ["carla"], "read": ["bob"]},
        second: {"delivered": [], "read": ["bob", "carla"]},
        third: {"delivered": [], "read": ["bob"]},
    }
    carla.call("ack", stream=f"session:{session}", offset=3)
    assert receipts(alice, session)[third] == {"delivered": ["carla"], "read": ["bob"]}
    carla.call("mark_read", session_id=session, offset=1)
    assert receipts(alice, session)[first] == {"delivered": [], "read": ["bob", "carla"]}
    alice.close()
    again = connect("alice", sessions="*")
    assert receipts(again, session, limit=1, before=4) == {
        third: {"delivered": ["carla"], "read": ["bob"]}
    }


def test_who_came_later_has_not_read_what_was_before(
    server: RunningServer, connect: Connect, session: str
) -> None:
    alice = connect("alice", sessions="*")
    alice.join(session)
    before = send(alice, session, 2)
    server.put(f"/sessions/{session}/members", {"user_ids": ["member"]}).ok  # noqa: B018
    joined = connect("joined", sessions="*")
    joined.join(session)
    after = send(alice, session, 1)
    assert receipts(alice, session) == nobody([*before, *after])
    member = connect("member")
    member.call("mark_read", session_id=session, offset=3)
    assert receipts(alice, session) == nobody(before) | {
        after[0]: {"delivered": [], "read": ["member"]}
    }


def test_only_own_messages_have_receipts(
    server: RunningServer, connect: Connect, session: str
) -> None:
    alice, bob = connect("alice", sessions="*"), connect("bob", sessions="*")
    for client in (alice, bob):
        client.join(session)
    body = {"type": "new_message", "content": '"new_message"', "sender": {"user_id": "alice"}}
    by_backend = server.post(f"/sessions/{session}/messages", body).ok["message_id"]
    (by_bob,) = send(bob, session, 1)
    custom = {"type": "order.shipped", "data": {"type": "new_message"}, "keep": True}
    server.post(f"/sessions/{session}/messages", custom).ok  # noqa: B018
    (deleted,) = send(alice, session, 1)
    alice.call("delete_message", message_id=deleted)
    assert receipts(alice, session).keys() == {by_backend}
    assert receipts(bob, session).keys() == {by_bob}
