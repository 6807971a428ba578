"""Answers that grow on two nodes: appends on any of them, watchers on both, a lost owner."""

from __future__ import annotations

import itertools

import pytest

from tests.support.answer_watchers import Watcher, append, start
from tests.support.cluster_servers import ClusterServers
from tests.support.tokens import token
from tests.support.waiting import poll
from tests.support.websocket_clients import open_client

_numbers = itertools.count()


@pytest.fixture
def session_id() -> str:
    """A session of its own for each test."""
    return f"answers{next(_numbers)}"


def test_appends_on_any_node_reach_the_watchers_of_each(
    nodes: ClusterServers, session_id: str
) -> None:
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    watchers = [Watcher(node, f"u{n}", session_id) for n, node in enumerate((one, two))]
    id_ = start(one, session_id, content="so ")
    text = "so "
    for seq, node in enumerate((one, two) * 10, 1):
        text += f"{seq} "
        assert append(node, id_, seq, f"{seq} ").ok == {"seq": seq, "length": len(text)}
    for watcher in watchers:
        watcher.until(id_, text)
    late = [Watcher(node, f"late{n}", session_id) for n, node in enumerate((one, two))]
    assert [watcher.texts for watcher in late] == [{id_: text}] * 2
    for node in (one, two):
        page = node.get(f"/sessions/{session_id}/history").ok["messages"]
        assert page[0]["message"]["content"] == text
        view = node.get(f"/answers/{id_}").ok
        assert (view["state"], view["content"], view["seq"]) == ("growing", text, 20)
        assert {each["user_id"] for each in view["watchers"]} == {"u0", "u1", "late0", "late1"}
    ended = two.post(f"/answers/{id_}/finish", {"usage": {"n": 1}}).ok
    assert ended == {"state": "completed", "length": len(text), "offset": 2}
    assert one.post(f"/answers/{id_}/finish", {"usage": {"n": 1}}).ok == ended
    for watcher in (*watchers, *late):
        assert watcher.until_ended(id_)["message"]["content"] == text
        watcher.client.close()
    for node in (one, two):
        refused = append(node, id_, 21, "late")
        assert refused.problem == (409, "answer_ended")
        assert refused.json()["state"] == "completed"
        assert append(node, id_, 20, "20 ").ok["seq"] == 20
        assert node.get(f"/answers/{id_}").ok["usage"] == {"n": 1}


def test_nobody_watches_on_the_node_that_a_reader_asks(
    nodes: ClusterServers, session_id: str
) -> None:
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    id_ = start(one, session_id)
    append(one, id_, 1, "unwatched")
    page = two.get(f"/sessions/{session_id}/history").ok["messages"]
    assert page[0]["message"]["content"] == "unwatched"
    watcher = Watcher(two, "u1", session_id)
    assert watcher.texts == {id_: "unwatched"}
    append(two, id_, 2, " before")
    watcher.until(id_, "unwatched before")
    watcher.client.close()
    two.until_empty()
    append(one, id_, 3, " again")
    again = Watcher(two, "u1", session_id)
    assert again.texts == {id_: "unwatched before again"}
    again.client.call("cancel_answer", message_id=id_)
    assert again.until_ended(id_)["state"] == "cancelled"
    assert append(one, id_, 4, "more").problem == (409, "answer_ended")
    again.client.close()


def test_a_holder_on_another_node_ends_the_answer(nodes: ClusterServers, session_id: str) -> None:
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    id_ = start(one, session_id)
    append(one, id_, 1, "I think")
    watcher = Watcher(two, "u1", session_id)
    two.post(f"/sessions/{session_id}/holder", {"holder": {"type": "user", "id": "sales"}})
    end = watcher.until_ended(id_)
    assert (end["state"], end["reason"]) == ("interrupted", "taken")
    assert append(one, id_, 2, " so").problem == (409, "answer_ended")
    watcher.client.close()


def test_a_deletion_on_another_node_ends_the_answer(nodes: ClusterServers, session_id: str) -> None:
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    id_ = start(one, session_id)
    assert two.delete(f"/messages/{id_}").status == 200
    numbers = itertools.count(1)  # taken until the node hears of it
    refused = poll(lambda: append(one, id_, next(numbers), "."), lambda got: got.status != 200)
    assert refused.problem == (409, "answer_ended")
    assert refused.json()["reason"] == "deleted"


def test_many_producers_at_once(nodes: ClusterServers, session_id: str) -> None:
    """Monitors send without waiting for the answers; each answer's appends stay in order."""
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    ids = [start(one, session_id) for _ in range(3)]
    watcher = Watcher(one, "u1", session_id)
    monitor = open_client(two, path="/ws/admin/monitor", bearer=token("admin", role="admin"))
    for seq in range(1, 21):
        for id_ in ids:
            args = {"message_id": id_, "seq": seq, "text": f"{seq},"}
            monitor.send("answer_append", ref=f"{id_} {seq}", args=args)
    replies = [monitor.reply() for _ in range(60)]
    assert all(reply["type"] == "result" for reply in replies), replies[0]
    text = "".join(f"{seq}," for seq in range(1, 21))
    for id_ in ids:
        watcher.until(id_, text)
        assert monitor.result("answer_finish", message_id=id_)["length"] == len(text)
    watcher.client.close()
    monitor.close()
