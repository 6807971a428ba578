"""Edited and deleted messages on two nodes: what clients of each get, live and later."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from tests.support.cluster_servers import ClusterServers
from tests.support.running_server import ADMIN, API, RunningServer
from tests.support.tokens import token
from tests.support.waiting import poll
from tests.support.websocket_clients import Client, open_client


def joined(node: RunningServer, user: str, session_id: str) -> Client:
    client = open_client(node, bearer=token(user, sessions=[session_id]))
    client.join(session_id)
    return client


def at(client: Client, offset: int) -> dict[str, Any]:
    """The change at an offset."""
    while (push := client.await_push("message_updated"))["offset"] < offset:
        pass
    return push


def contents(pushes: list[dict[str, Any]]) -> dict[int, Any]:
    return {each["offset"]: each["message"].get("content") for each in pushes}


def looked_back(node: RunningServer, session_id: str) -> dict[int, Any]:
    path = f"/sessions/{session_id}/history?changes=true"
    return contents(node.get(path).json()["messages"])


def test_changes_reach_the_clients_and_the_memory_of_each_node(nodes: ClusterServers) -> None:
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    here, there = joined(one, "u1", "edits"), joined(two, "u2", "edits")
    sent = here.call("send_message", session_id="edits", content="secret one")
    start = {"epoch": sent["epoch"], "offset": 0}
    assert there.await_push("new_message")["offset"] == 1
    for client in (here, there):  # into the memory of both
        client.call("resume", streams={"session:edits": start})

    here.call("edit_message", message_id=sent["message_id"], content="secret two")
    push = there.await_push("message_updated")
    assert (push["offset"], push["message"]["content"]) == (2, "secret two")
    for client in (here, there):
        resumed = client.call("resume", streams={"session:edits": start})
        found = resumed["streams"]["session:edits"]["messages"]
        assert contents(found) == {1: "secret two", 2: "secret two"}

    path = f"{API}/messages/{sent['message_id']}"
    answer = two.request("DELETE", path, bearer=ADMIN)
    assert (answer.status, answer.json()["offset"]) == (200, 3), answer.json()
    deleted = [client.await_push("message_deleted") for client in (here, there)]
    assert deleted[0] == deleted[1]
    for node, client in ((one, here), (two, there)):
        resumed = client.call("resume", streams={"session:edits": start})
        assert "secret" not in json.dumps(resumed)
        found = resumed["streams"]["session:edits"]["messages"]
        assert contents(found) == dict.fromkeys((1, 2, 3))
        assert looked_back(node, "edits") == dict.fromkeys((1, 2, 3))
        client.close()


def test_edits_at_the_same_time_on_two_nodes_end_the_same_everywhere(
    nodes: ClusterServers,
) -> None:
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    here, there = joined(one, "u1", "races"), joined(two, "u1", "races")
    sent = here.call("send_message", session_id="races", content="0")
    for number in range(10):
        for client in (here, there):
            client.send("edit_message", message_id=sent["message_id"], content=f"{number}")
    last = [at(client, 21) for client in (here, there)]
    assert last[0] == last[1]
    newest = last[0]["message"]["content"]
    for node in (one, two):
        assert set(looked_back(node, "races").values()) == {newest}
    for client in (here, there):
        client.close()


def test_a_reply_names_a_message_that_another_node_has_stored(nodes: ClusterServers) -> None:
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    here, there = joined(one, "u1", "replies"), joined(two, "u2", "replies")
    sent = here.call("send_message", session_id="replies", content="question")
    there.call("send_message", session_id="replies", content="answer", reply_to=sent["message_id"])
    assert here.await_push("new_message")["offset"] == 1
    assert here.await_push("new_message")["message"]["reply_to"] == sent["message_id"]
    for client in (here, there):
        client.close()


def found(node: RunningServer, query: str) -> list[str]:
    answer = node.get(f"/search?query={query}").json()
    return [each["message"]["content"] for each in answer["messages"]]


def test_messages_of_any_node_are_found_on_each(nodes: ClusterServers) -> None:
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    here, there = joined(one, "u1", "fruit"), joined(two, "u2", "fruit")
    sent = here.call("send_message", session_id="fruit", content="kumquat one")
    there.call("send_message", session_id="fruit", content="kumquat two")
    for node in (one, two):
        texts = poll(partial(found, node, "kumquat"), lambda texts: len(texts) == 2)
        assert texts == ["kumquat two", "kumquat one"]
    there.call("search", query="kumquat")
    here.call("delete_message", message_id=sent["message_id"])
    for client in (here, there):
        answer = client.call("search", query="kumquat")
        assert [each["message"]["content"] for each in answer["messages"]] == ["kumquat two"]
        client.close()


def test_another_node_goes_on_indexing(nodes: ClusterServers) -> None:
    third = nodes.start("n3")
    nodes.nodes["n1"].expects_faults = nodes.nodes["n2"].expects_faults = True
    writer = joined(third, "u1", "left")
    for name in ("n1", "n2"):
        nodes.nodes[name].kill()
    sent = writer.call("send_message", session_id="left", content="durian alone")
    assert sent["type"] == "ack"
    assert poll(partial(found, third, "durian"), bool) == ["durian alone"]
    writer.close()
