"""Conversations over two nodes: who holds a session, read positions, what is unread."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest

from tests.support.cluster_servers import ClusterServers
from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.websocket_clients import Client, open_client, together


@pytest.fixture
def session() -> str:
    return f"s-{uuid.uuid4().hex}"


def connect(node: RunningServer, user: str, **claims: Any) -> Client:
    client = open_client(node, bearer=token(user, **{"sessions": "*", **claims}))
    client.established = client.push("connection_established")
    return client


def pair(nodes: ClusterServers) -> tuple[RunningServer, RunningServer]:
    return nodes.nodes["n1"], nodes.nodes["n2"]


def test_of_those_who_take_one_term_on_two_nodes_one_gets_it(
    nodes: ClusterServers, session: str
) -> None:
    clients = [connect(node, f"t{n}", role="admin") for n in range(4) for node in pair(nodes)]

    def take(number: int) -> dict[str, Any]:
        return clients[number].call("take", session_id=session, expected_term=0)

    replies = together(take, len(clients))
    assert sorted(reply["type"] for reply in replies) == ["error"] * 7 + ["taken"]
    (holder,) = [reply["holder"] for reply in replies if reply["type"] == "taken"]
    for node in pair(nodes):
        read = node.get(f"/sessions/{session}").ok
        assert (read["holder"], read["term"]) == (holder, 1)
    for client in clients:
        client.close()


def test_no_message_of_a_former_term_is_stored_after_the_take(
    nodes: ClusterServers, session: str
) -> None:
    """One node publishes for the AI as fast as it can, another one takes the session."""
    one, two = pair(nodes)
    ai = {"holder": {"type": "ai", "id": "bot"}}
    assert one.post(f"/sessions/{session}/holder", ai).ok["term"] == 1
    sales, watching = connect(two, "sales", role="manager", organization_id="o1"), connect(one, "w")
    watching.join(session)
    statuses: list[int] = []
    is_running = threading.Event()

    def publish() -> None:
        while not statuses or statuses[-1] == 200:
            batch = [
                {
                    "target": {"type": "session", "id": session},
                    "type": "new_message",
                    "content": "from the AI",
                    "term": 1,
                }
                for _ in range(5)
            ]
            results = one.post("/messages/batch", {"messages": batch}).ok["results"]
            statuses.extend(result["status"] for result in results)
            is_running.set()

    publisher = threading.Thread(target=publish)
    publisher.start()
    is_running.wait()
    taken = sales.call("take", session_id=session, expected_term=1)
    assert taken["term"] == 2
    sales.join(session)
    mine = sales.call("send_message", session_id=session, content="a human here")
    publisher.join()
    messages = one.get(f"/sessions/{session}/history?limit=1000").ok["messages"]
    assert messages[-1]["offset"] == mine["offset"] == statuses.count(200) + 1
    assert set(statuses) == {200, 409}
    pushed = watching.await_push("session_updated")
    assert (pushed["session"]["term"], pushed["by"]) == (2, "sales")
    for client in (sales, watching):
        client.close()


def test_positions_and_unread_are_the_same_everywhere(nodes: ClusterServers, session: str) -> None:
    one, two = pair(nodes)
    one.put(f"/sessions/{session}/members", {"user_ids": [f"{session}.u"]}).ok  # noqa: B018
    here, there = connect(one, f"{session}.u"), connect(two, f"{session}.u")
    writer = connect(two, "writer")
    writer.join(session)
    for _ in range(3):
        writer.call("send_message", session_id=session, content="x")
    for device in (here, there):
        assert device.await_unread(session_id=session, unread=3)["total"] == 3
    here.call("mark_read", session_id=session, offset=2)
    for device in (here, there):
        assert device.await_unread(session_id=session, unread=1)["total"] == 1
    push = writer.await_push("read_position")
    while push["user_id"] == "writer":  # its own position may come first, on a busy machine
        push = writer.await_push("read_position")
    assert (push["user_id"], push["offset"]) == (f"{session}.u", 2)
    for node in (one, two):
        assert node.get(f"/sessions/{session}").ok["positions"] == [
            {"user_id": f"{session}.u", "read_offset": 2}
        ]
    late = connect(one, "late")
    users = {user["user_id"]: user for user in late.join(session)["users"]}
    assert users["writer"]["read_offset"] == 3
    for client in (here, there, writer, late):
        client.close()


def test_the_organization_set_on_one_node_counts_on_the_other(
    nodes: ClusterServers, session: str
) -> None:
    one, two = pair(nodes)
    manager = token("m", role="manager", organization_id="o7")
    assert two.get(f"/sessions/{session}", manager).status == 404
    assert one.patch(f"/sessions/{session}", {"organization_id": "o7"}).status == 200
    assert two.get(f"/sessions/{session}", manager).ok["organization_id"] == "o7"
    answer = two.patch(f"/sessions/{session}", {"organization_id": "o8"})
    assert answer.problem == (409, "organization_set")


def test_counts_are_exact_on_both_nodes_whatever_happens_at_once(
    nodes: ClusterServers, session: str
) -> None:
    one, two = pair(nodes)
    users = [f"{session}-{number}" for number in range(4)]
    one.put(f"/sessions/{session}/members", {"user_ids": users}).ok  # noqa: B018
    clients = [connect((one, two)[n % 2], user) for n, user in enumerate(users)]
    others = [connect((two, one)[n % 2], user) for n, user in enumerate(users)]
    for client in clients:
        client.join(session)

    def act(number: int) -> None:
        client = clients[number]
        for count in range(15):
            ack = client.call("send_message", session_id=session, content=str(count))
            if count % 3 == 0:
                client.call("mark_read", session_id=session, offset=ack["offset"] - count % 7)

    together(act, len(clients))
    body = {"type": "new_message", "content": "last", "sender": {"user_id": "other"}}
    assert one.post(f"/sessions/{session}/messages", body).ok["offset"] == 61
    senders = {
        message["offset"]: message["message"]["sender"]["user_id"]
        for message in two.get(f"/sessions/{session}/history?limit=1000").ok["messages"]
    }
    positions = {
        each["user_id"]: each["read_offset"]
        for each in two.get(f"/sessions/{session}").ok["positions"]
    }
    for user, *devices in zip(users, clients, others, strict=True):
        unread = sum(sender != user for o, sender in senders.items() if o > positions[user])
        for device in devices:
            assert device.await_unread(unread=unread)["total"] == unread
            device.close()
