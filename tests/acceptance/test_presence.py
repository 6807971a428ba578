"""§5: presence: notices of users who connect, disconnect, join or leave."""

from __future__ import annotations

from typing import Any

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer
from tests.support.websocket_clients import Client


def pushes_of(client: Client, type_: str) -> list[dict[str, Any]]:
    return [push for push in client.rest() if push["type"] == type_]


def test_joining_and_leaving_is_reported_once_per_user(connect: Connect) -> None:
    alice = connect("alice", sessions="*")
    alice.join("p1")
    bob, bob_phone = connect("bob", sessions="*"), connect("bob", sessions="*")
    joined = bob.join("p1")
    assert joined["users"] == [
        {"user_id": "alice", "username": None, "connections": 1, "read_offset": 0},
        {"user_id": "bob", "username": None, "connections": 1, "read_offset": 0},
    ]
    assert bob_phone.join("p1")["users"][1]["connections"] == 2
    (push,) = pushes_of(alice, "session_joined")
    assert (push["session_id"], push["user_id"]) == ("p1", "bob")
    bob.call("leave_session", session_id="p1")
    assert pushes_of(alice, "session_left") == []
    bob_phone.close()
    push = alice.await_push("session_left")
    assert (push["session_id"], push["user_id"]) == ("p1", "bob")
    assert [push["type"] for push in bob.rest()] == []  # nothing about oneself


def test_joining_again_is_the_same_answer_and_no_news(connect: Connect) -> None:
    alice, bob = connect("alice", sessions="*"), connect("bob", sessions="*")
    alice.join("p2")
    first, again = bob.join("p2"), bob.join("p2")
    assert {**first, "ref": 0} == {**again, "ref": 0}
    assert len(pushes_of(alice, "session_joined")) == 1


def test_connect_and_disconnect_of_a_bound_client_are_reported(connect: Connect) -> None:
    alice = connect("alice", sessions="*")
    alice.join("p3")
    bob = connect("bob", "/ws/chat/session/p3", sessions=["p3"])
    bob.push("session_joined")
    online = alice.push("user_status_update")
    assert (online["user_id"], online["status"], online["connections"]) == ("bob", "online", 1)
    assert alice.push("session_joined")["user_id"] == "bob"
    bob.close()
    assert alice.push("session_left")["user_id"] == "bob"
    offline = alice.push("user_status_update")
    assert (offline["user_id"], offline["status"], offline["connections"]) == ("bob", "offline", 0)


def test_status_goes_to_monitors_and_to_people_of_the_users_sessions_only(
    connect: Connect, monitor: Connect, server: RunningServer
) -> None:
    watcher = monitor()
    server.put("/sessions/listed4/members", {"user_ids": ["bob"]})
    near, listed, stranger = (connect(sub, sessions="*") for sub in ("near", "listed", "stranger"))
    near.join("p4")
    listed.join("listed4")
    stranger.join("elsewhere")
    for client in (near, listed, stranger, watcher):
        client.rest()
    bob = connect("bob", sessions=["p4"])
    phone = connect("bob", sessions=["p4"])  # a second connection is no news
    for client in (watcher, near, listed):
        (push,) = pushes_of(client, "user_status_update")
        assert (push["user_id"], push["status"], push["connections"]) == ("bob", "online", 1)
    bob.close()
    phone.close()
    for client in (watcher, near, listed):
        push = client.await_push("user_status_update")
        assert (push["user_id"], push["status"], push["connections"]) == ("bob", "offline", 0)
    assert pushes_of(stranger, "user_status_update") == []


def test_a_session_joined_on_the_way_counts_when_one_goes(connect: Connect) -> None:
    alice, bob = connect("alice", sessions="*"), connect("bob", sessions="*")
    alice.join("p5")
    bob.join("p5")
    bob.close()
    assert alice.await_push("session_left")["user_id"] == "bob"
    assert alice.push("user_status_update")["status"] == "offline"


def test_presence_counts_each_user_once(connect: Connect) -> None:
    clients = [connect("alice", sessions="*", username="A") for _ in range(3)]
    clients.append(connect("bob", sessions="*", v1=False))
    for client in clients:
        client.join("p6")
    assert clients[0].call("presence", session_id="p6")["users"] == [
        {"user_id": "alice", "username": "A", "connections": 3, "read_offset": 0},
        {"user_id": "bob", "username": None, "connections": 1, "read_offset": 0},
    ]


def test_a_removed_member_leaves_immediately(connect: Connect, server: RunningServer) -> None:
    server.put("/sessions/p7/members", {"user_ids": ["bob", "carol"]})
    carol = connect("carol")
    carol.join("p7")
    free = connect("bob")
    free.join("p7")
    bound = connect("bob", "/ws/chat/session/p7")
    by_token = connect("bob", sessions=["p7"])
    by_token.join("p7")
    carol.rest()
    free.rest()
    assert server.put("/sessions/p7/members", {"user_ids": ["carol"]}).ok["user_ids"] == ["carol"]
    assert bound.closed()[0] == 4503
    left = free.await_push("session_left")
    assert (left["session_id"], left["user_id"]) == ("p7", "bob")
    assert free.code("send_message", session_id="p7", content="x") == "not_joined"
    assert free.code("join_session", session_id="p7") == "forbidden"
    # The token of the third one names the session: it may stay.
    assert by_token.call("presence", session_id="p7")["type"] == "presence"
    assert pushes_of(carol, "session_left") == []
