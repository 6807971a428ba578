"""Messages reach the connections of every node."""

from __future__ import annotations

from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.websocket_clients import open_client


def test_a_message_reaches_the_connections_of_both_nodes(
    two: tuple[RunningServer, RunningServer],
) -> None:
    clients = [open_client(node, bearer=token("u1")) for node in two]
    body = {
        "target": {"type": "user", "id": "u1"},
        "type": "new_message",
        "session_id": "s1",
        "content": "hello",
    }
    answer = two[0].post("/messages", body)
    assert (answer.status, answer.json()["matched"]) == (200, 2), answer.json()
    for client in clients:
        assert client.await_push("new_message")["message"]["content"] == "hello"
        client.close()
