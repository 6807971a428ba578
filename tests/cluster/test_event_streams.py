"""Event streams of several nodes: commands by way of any, and coming back to another one."""

from __future__ import annotations

import pytest

from tests.support.cluster_servers import ClusterServers
from tests.support.event_reader import EventReader
from tests.support.tokens import token
from tests.support.waiting import poll
from wsserver.realtime.connections.channel import Channel, parse_channel


def test_any_node_takes_the_commands(nodes: ClusterServers) -> None:
    n1, n2 = nodes.nodes["n1"], nodes.nodes["n2"]
    bearer = token("e1", sessions=["e-s1"])
    stream = EventReader(n1, bearer=bearer)
    other = EventReader(n2, bearer=token("e2", sessions=["e-s1"]))
    for each in (stream, other):
        joined = each.run(n2, {"type": "join_session", "session_id": "e-s1", "ref": 1})
        assert (joined.status, joined.json()["type"]) == (200, "session_joined"), joined
    for number, node in enumerate((n2, n1)):
        sent = stream.run(
            node,
            [
                {"type": "send_message", "session_id": "e-s1", "content": str(number)},
                {"type": "pong"},
                {"type": "nonsense"},
            ],
        ).json()
        assert (sent[0]["type"], sent[0]["offset"], sent[1]) == ("ack", number + 1, None)
        assert sent[2]["error"]["code"] == "unknown_type"
        for each in (stream, other):
            assert each.push("new_message")["message"]["content"] == str(number)
    for each in (stream, other):
        each.close()


def test_it_comes_back_to_another_node(nodes: ClusterServers) -> None:
    n1, n2 = nodes.nodes["n1"], nodes.nodes["n2"]
    bearer = token("e3", sessions=["e-s3"])
    stream = EventReader(n1, bearer=bearer)
    stream.run(n1, {"type": "join_session", "session_id": "e-s3"})
    n2.post("/sessions/e-s3/messages", {"type": "new_message", "content": "before"})
    stream.push("new_message")
    stream.close()
    for text in ("while", "away"):
        n1.post("/sessions/e-s3/messages", {"type": "new_message", "content": text})
    n1.post("/users/e3/messages", {"type": "hint", "data": 1, "keep": True})
    again = EventReader(n2, bearer=bearer, cursor=stream.last_id)
    resumed = again.push("resumed")["streams"]
    assert {name: each["recovered"] for name, each in resumed.items()} == {
        "user:e3": True,
        "broadcast": True,
        "session:e-s3": True,
    }
    assert again.push("hint")["data"] == 1
    assert [again.push("new_message")["message"]["content"] for _ in range(2)] == ["while", "away"]
    n1.post("/sessions/e-s3/messages", {"type": "new_message", "content": "after"})
    assert again.push("new_message")["message"]["content"] == "after"
    again.close()


def test_forged_channels_reach_nobody(nodes: ClusterServers) -> None:
    n1, n2 = nodes.nodes["n1"], nodes.nodes["n2"]
    mine = EventReader(n1, bearer=token("e4"))
    theirs = EventReader(n1, bearer=token("e5"))
    channel = parse_channel(mine.established["channel"])
    for forged in (
        theirs.established["channel"],
        str(channel._replace(secret="x")),
        str(channel._replace(node="n2")),
        str(channel._replace(node="never-seen")),
        str(Channel("n1", "conn_unknown", channel.secret)),
    ):
        answer = mine.run(n2, {"type": "ping"}, **{"X-Wsserver-Channel": forged})
        assert (answer.status, answer.json()["code"]) == (404, "not_found"), forged
    assert mine.run(n2, {"type": "ping"}).status == 200
    for each in (mine, theirs):
        each.close()


def test_it_is_in_the_lists_of_all_nodes_and_can_be_closed_from_any(nodes: ClusterServers) -> None:
    n1, n2 = nodes.nodes["n1"], nodes.nodes["n2"]
    stream = EventReader(n1, bearer=token("e6"))
    (view,) = n2.get("/users/e6/connections").json()["connections"]
    assert (view["transport"], view["node"]) == ("sse", "n1")
    assert n2.post("/ping/e6", {"timeout_s": 5}).json()["connections"][0]["alive"] is True
    assert n2.post("/users/disconnect", {"user_id": "e6"}).json()["disconnected"] == 1
    with pytest.raises(EOFError):
        stream.push("never")
    stream.close()


def test_a_node_that_is_gone(nodes: ClusterServers) -> None:
    n2, n3 = nodes.nodes["n2"], nodes.start("n3")
    bearer = token("e7")
    stream = EventReader(n3, bearer=bearer)
    n3.kill()
    poll(
        lambda: {each["node"]: each["state"] for each in n2.get("/nodes").json()["nodes"]},
        lambda states: states.get("n3") in ("lost", None),
    )
    answer = stream.run(n2, {"type": "ping"})
    assert (answer.status, answer.json()["code"]) == (404, "not_found")
    again = EventReader(n2, bearer=bearer, cursor=stream.last_id)
    assert again.push("resumed")["streams"]["broadcast"]["recovered"] is True
    again.close()
