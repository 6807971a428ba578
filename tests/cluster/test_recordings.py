"""Recordings and chaos: connections of every node are concerned, whichever node is asked."""

from __future__ import annotations

import pytest

from tests.support.cluster_servers import ClusterServers
from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.waiting import poll
from tests.support.websocket_clients import open_client

Two = tuple[RunningServer, RunningServer]


def test_connections_of_all_nodes_are_recorded(two: Two) -> None:
    n1, n2 = two
    started = n1.post("/recordings", {"user_id": "recorded"}).json()
    path = f"/recordings/{started['recording_id']}"
    clients = []
    for node in two:
        client = open_client(node, bearer=token("recorded", sessions=["s1"]))
        client.push("connection_established")
        client.call("join_session", session_id="s1")
        clients.append(client)
    found = poll(
        lambda: n2.get(f"{path}?limit=1000").json(),
        lambda found: [e["type"] for e in found["events"]].count("session_joined") >= 2,
    )
    assert {each["node"] for each in found["connections"]} == {"n1", "n2"}
    cursor = found["next_cursor"]
    clients[0].call("ping")
    rest = n2.get(f"{path}?limit=1000&cursor={cursor}").json()
    assert [event["type"] for event in rest["events"]][-2:] == ["ping", "pong"]
    assert n2.delete(path).status == 200
    assert n1.get(path).status == 404
    for client in clients:
        client.close()


def test_a_node_that_joins_takes_part(cluster: ClusterServers) -> None:
    n1 = cluster.start("n1", chaos=True)
    started = n1.post("/recordings", {"user_id": "late"}).json()
    n1.put("/users/late/chaos", {"cut_every_s": 1})
    n2 = cluster.start("n2", chaos=True)
    client = open_client(n2, bearer=token("late"))
    client.push("connection_established")
    poll(
        lambda: n1.get(f"/recordings/{started['recording_id']}").json(),
        lambda found: [each["node"] for each in found["connections"]] == ["n2"],
    )
    with pytest.raises(AssertionError, match="cut off without a close frame"):
        client.closed()


def test_connections_of_all_nodes_are_disturbed(cluster: ClusterServers) -> None:
    n1, n2 = cluster.start("n1", chaos=True), cluster.start("n2", chaos=True)
    client = open_client(n2, bearer=token("disturbed"))
    client.push("connection_established")
    path = "/users/disturbed/chaos"
    answer = n1.put(path, {"drop": 1, "direction": "to_client"})
    assert (answer.status, answer.json()["connected"]) == (200, 1)
    assert n2.get("/chaos").json()["disturbed"][0]["user_id"] == "disturbed"
    n2.post("/users/disturbed/messages", {"type": "lost", "data": 1})
    assert n1.delete(path).status == 200
    n2.post("/users/disturbed/messages", {"type": "hint", "data": 2})
    assert client.push("hint")["data"] == 2
    n1.put(path, {"cut_now": True})
    with pytest.raises(AssertionError, match="cut off without a close frame"):
        client.closed()
