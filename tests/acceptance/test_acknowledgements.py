"""§4 and §5: ``ack`` and ``read``, and the status updates that senders get."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.websocket_clients import Client


@pytest.fixture
def name() -> str:
    """A part of names that no other test uses."""
    return uuid.uuid4().hex


def updates(pushes: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [
        (push["message_id"], push["user_id"], push["status"])
        for push in pushes
        if push["type"] == "message_status_update"
    ]


def joined(connect: Connect, user: str, session: str, **options: Any) -> Client:
    client = connect(user, sessions=[session], **options)
    client.join(session)
    return client


def test_a_message_in_a_session_is_followed_by_its_sender(connect: Connect, name: str) -> None:
    alice, bob = joined(connect, f"alice-{name}", name), joined(connect, f"bob-{name}", name)
    phone = connect(f"alice-{name}")
    sent = alice.call("send_message", session_id=name, content="hi")["message_id"]
    assert bob.await_push("new_message")["id"] == sent
    assert bob.call("ack", ids=[sent])["acknowledged"] == 1
    assert bob.call("ack", ids=[sent])["acknowledged"] == 0
    assert bob.call("read", ids=[sent])["acknowledged"] == 1
    expected = [(sent, f"bob-{name}", "delivered"), (sent, f"bob-{name}", "read")]
    for client in (alice, phone):
        pushes = client.rest()
        assert updates(pushes) == expected
        assert {u["session_id"] for u in pushes if u["type"] == "message_status_update"} == {name}
    assert updates(bob.rest()) == []


def test_a_plain_client_in_a_session_needs_no_acknowledgement(connect: Connect, name: str) -> None:
    alice = joined(connect, f"alice-{name}", name)
    joined(connect, f"bob-{name}", name, v1=False)
    sent = alice.call("send_message", session_id=name, content="hi")["message_id"]
    update = alice.await_push("message_status_update")
    assert (update["message_id"], update["status"]) == (sent, "delivered")
    assert update["user_id"] == f"bob-{name}"


def test_the_sender_follows_a_message_to_a_user_from_queued_to_read(
    server: RunningServer, connect: Connect, name: str
) -> None:
    boss, user = f"boss-{name}", f"user-{name}"
    sender, watcher = connect(boss), connect(f"m-{name}", "/ws/admin/monitor", role="admin")
    body = {"type": "note", "data": 1, "keep": True}
    sent = server.post(f"/users/{user}/messages", body, bearer=token(boss, role="service")).ok[
        "message_id"
    ]
    client = connect(user)
    assert client.push("note")["id"] == sent
    client.call("ack", ids=[sent])
    client.call("read", ids=[sent])
    expected = [(sent, user, s) for s in ("queued", "sent", "delivered", "read")]
    assert updates(sender.rest()) == expected
    assert [each for each in updates(watcher.rest()) if each[0] == sent] == expected


def test_everything_up_to_an_offset(server: RunningServer, connect: Connect, name: str) -> None:
    alice, bob = joined(connect, f"alice-{name}", name), joined(connect, f"bob-{name}", name)
    sent = [
        alice.call("send_message", session_id=name, content=str(number))["message_id"]
        for number in range(3)
    ]
    assert bob.call("ack", stream=f"session:{name}", offset=2)["acknowledged"] == 2
    assert [id_ for id_, _, _ in updates(alice.rest())] == sent[:2]
    assert bob.error("ack", stream=f"session:{name}", offset=4)["field"] == "offset"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": ["m"] * 1001}, "ids"),
        ({"ids": ["m"], "stream": "broadcast"}, "stream"),
        ({"ids": ["m"], "offset": 1}, "offset"),
        ({"stream": "broadcast"}, "offset"),
        ({"offset": 1}, "stream"),
        ({"stream": "role:admin", "offset": 1}, "stream"),
        ({"stream": "broadcast", "offset": 1.5}, "offset"),
        ({"stream": "broadcast", "offset": "5"}, "offset"),
    ],
)
def test_a_malformed_ack_is_refused(connect: Connect, fields: dict[str, Any], field: str) -> None:
    error = connect("u1").error("ack", **fields)
    assert (error["code"], error["field"]) == ("bad_request", field)


def test_strangers_learn_and_change_nothing(
    server: RunningServer, connect: Connect, name: str
) -> None:
    alice = joined(connect, f"alice-{name}", name)
    thief = connect(f"thief-{name}")
    secret = alice.call("send_message", session_id=name, content="hi")["message_id"]
    note = server.post(
        f"/users/alice-{name}/messages", {"type": "note", "data": 1, "keep": True}
    ).ok["message_id"]
    alice.rest()
    for ids in ([secret], [note], ["msg_unknown"]):
        assert thief.call("ack", ids=ids)["acknowledged"] == 0
        assert thief.call("read", ids=ids)["acknowledged"] == 0
    for stream in (
        f"session:{name}",
        "session:unknown",
        f"user:alice-{name}",
        "organization:acme",
        f"organization:thief-{name}",
    ):
        assert thief.code("ack", stream=stream, offset=1) == "forbidden"
    assert alice.rest() == []
    again = connect(f"alice-{name}")
    assert again.established["inbox"]["pending"] == 1


def test_live_messages_may_be_acknowledged_too(
    server: RunningServer, connect: Connect, name: str
) -> None:
    client = connect(f"u-{name}")
    sent = server.post(f"/users/u-{name}/messages", {"type": "note", "data": 1}).ok
    reply = client.call("ack", ids=[client.push("note")["id"]])
    assert (reply["type"], reply["acknowledged"]) == ("ack", 0)
    (recipient,) = server.get(f"/messages/{sent['message_id']}").ok["recipients"]
    assert recipient["state"] == "delivered"
