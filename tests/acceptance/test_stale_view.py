"""``seen_offset`` of ``send_message``: a sender who has not seen what others wrote is refused."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer
from tests.support.websocket_clients import Client, together


@pytest.fixture
def session() -> str:
    """A session that no other test uses."""
    return f"s-{uuid.uuid4().hex}"


def send(client: Client, session: str, content: str, **fields: Any) -> dict[str, Any]:
    return client.call("send_message", session_id=session, content=content, **fields)


def test_nothing_is_stored_and_the_sender_gets_what_was_missed(
    connect: Connect, session: str
) -> None:
    alice, bob = connect("alice", sessions="*"), connect("bob", sessions="*")
    for client in (alice, bob):
        client.join(session)
    send(alice, session, "one")
    pushed = bob.await_push("new_message")
    reply = send(bob, session, "too late", seen_offset=0)
    assert reply["type"] == "error"
    error = reply["error"]
    assert (error["code"], error["temporary"]) == ("stale_view", True)
    assert error["missed"] == [pushed]
    assert send(bob, session, "now", seen_offset=1)["offset"] == 2
    assert send(bob, session, "own ones need not be seen", seen_offset=1)["offset"] == 3
    assert send(alice, session, "ahead", seen_offset=2**53)["offset"] == 4
    texts = [push["message"]["content"] for push in bob.rest() if push["type"] == "new_message"]
    assert texts == ["now", "own ones need not be seen", "ahead"]


def test_of_those_who_answer_at_once_one_does(
    server: RunningServer, connect: Connect, session: str
) -> None:
    clients = [connect(f"u{number}", sessions="*") for number in range(6)]
    for client in clients:
        client.join(session)
    for round_ in range(5):
        replies = together(
            lambda n, seen=round_: send(clients[n], session, str(n), seen_offset=seen),  # type: ignore[misc]
            len(clients),
        )
        assert sorted(reply["type"] for reply in replies) == ["ack"] + ["error"] * 5
        (stored,) = [reply["message_id"] for reply in replies if reply["type"] == "ack"]
        for reply in replies:
            if reply["type"] == "error":
                assert [each["id"] for each in reply["error"]["missed"]] == [stored]
    assert server.get(f"/sessions/{session}").ok["offset"] == 5


def test_a_repeated_message_is_the_first_one(connect: Connect, session: str) -> None:
    alice, bob = connect("alice", sessions="*"), connect("bob", sessions="*")
    for client in (alice, bob):
        client.join(session)
    first = send(alice, session, "a", seen_offset=0, client_message_id="c1")
    send(bob, session, "b")
    again = send(alice, session, "a", seen_offset=0, client_message_id="c1")
    assert (again["type"], again["message_id"]) == ("ack", first["message_id"])
    refused = send(alice, session, "c", seen_offset=1, client_message_id="c2")
    assert refused["error"]["code"] == "stale_view"
    assert send(alice, session, "c", seen_offset=2, client_message_id="c2")["offset"] == 3


@pytest.mark.parametrize("seen", [-1, 2**53 + 1, "1", 1.5, None, True])
def test_bad_offsets(connect: Connect, seen: Any) -> None:
    client = connect("u1", sessions="*")
    client.join("bad")
    error = client.error("send_message", session_id="bad", content="x", seen_offset=seen)
    assert (error["code"], error["field"]) == ("bad_request", "seen_offset")
