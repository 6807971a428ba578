"""Revocations, members, organizations and tickets are in force on every node."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from scripts.backends.postgres import PostgresServer
from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_servers import ClusterServers, without_messages
from tests.support.running_server import RunningServer
from tests.support.server_process import ROOT
from tests.support.tokens import token
from tests.support.waiting import poll
from tests.support.websocket_clients import open_client

Nodes = tuple[RunningServer, RunningServer]


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, shared_valkey: ValkeyProcess
) -> Iterator[ClusterServers]:
    """Two nodes for all tests, which use users and sessions of their own."""
    shared_valkey.run("FLUSHALL")
    url = postgres.create_database(is_empty=True)
    made = ClusterServers(tmp_path_factory.mktemp("access"), url, shared_valkey.url)
    try:
        made.start("n1")
        made.start("n2")
        yield made
        made.stop()
    finally:
        made.kill()
        postgres.drop_database(url)


@pytest.fixture
def nodes(pair: ClusterServers) -> Nodes:
    return pair.nodes["n1"], pair.nodes["n2"]


def members(node: RunningServer, session_id: str) -> Any:
    return node.get(f"/sessions/{session_id}/members").json()["user_ids"]


def test_a_revocation_closes_connections_and_refuses_on_every_node(nodes: Nodes) -> None:
    one, two = nodes
    bearer = token("revoked")
    clients = [open_client(node, bearer=bearer) for node in nodes]
    answer = one.post("/tokens/revoke", {"user_id": "revoked"})
    assert (answer.status, answer.json()["disconnected"]) == (200, 2), answer.json()
    assert [client.closed()[0] for client in clients] == [4505, 4505]
    assert two.get("/whoami", bearer).status == 401


def test_a_node_whose_clock_is_behind_revokes_what_was_issued_until_now(
    pair: ClusterServers,
) -> None:
    behind = f"{ROOT / 'scripts/reliability/wrong_clock'}:{ROOT}"
    late = pair.start("n3", prefix=("env", f"PYTHONPATH={behind}", "TORTURE_CLOCK_S=-3600"))
    bearer = token("stolen", iat=time.time() - 60)
    client = open_client(pair.nodes["n1"], bearer=bearer)
    answer = late.post("/tokens/revoke", {"user_id": "stolen"})
    assert (answer.status, answer.json()["disconnected"]) == (200, 1), answer.json()
    assert client.closed()[0] == 4505
    assert [node.get("/whoami", bearer).status for node in pair.nodes.values()] == [401] * 3
    assert late.stop() == 0
    del pair.nodes["n3"]


def test_without_messages_it_is_in_force_within_a_second(
    nodes: Nodes, shared_valkey: ValkeyProcess
) -> None:
    one, two = nodes
    gone, moved = token("deaf", jti="deaf-1"), token("listed")
    client = open_client(two, bearer=gone)
    listed = open_client(two, bearer=moved)
    two.put("/sessions/deaf/members", {"user_ids": ["listed"]})
    assert listed.call("join_session", session_id="deaf")["type"] == "session_joined"
    with without_messages(shared_valkey):
        answer = one.post("/tokens/revoke", {"jti": "deaf-1"})
        assert answer.status == 200, answer.json()
        began = time.monotonic()
        assert client.closed()[0] == 4505
        took_s = time.monotonic() - began
        assert two.get("/whoami", gone).status == 401
        assert one.put("/sessions/deaf/members", {"user_ids": ["other"]}).status == 200
        assert listed.await_push("session_left")["session_id"] == "deaf"
        assert members(two, "deaf") == ["other"]
    listed.close()
    poll(lambda: [node.health()["status"] for node in nodes], lambda each: each == ["ok", "ok"])
    assert took_s < 5  # 0.5 s and one query; the machine may be slow


def test_what_was_written_on_one_node_is_seen_on_the_other_at_once(nodes: Nodes) -> None:
    one, two = nodes
    for number in range(20):
        wanted = [f"m{number}"]
        writer, reader = (one, two) if number % 2 else (two, one)
        assert writer.put("/sessions/seen/members", {"user_ids": wanted}).status == 200
        assert members(reader, "seen") == wanted
        contact = {"organization_id": f"o{number}"}
        assert writer.put("/users/seen/contacts", contact).status == 200
        found = reader.get("/users/seen/contacts").json()
        assert found["organization_id"] == f"o{number}", found


def test_lists_replaced_on_both_nodes_at_the_same_time_end_equal(nodes: Nodes) -> None:
    def replace(node: RunningServer, name: str) -> None:
        for number in range(15):
            users = {"user_ids": [f"{name}{number}", "both"]}
            assert node.put("/sessions/contested/members", users).status == 200

    threads = [
        threading.Thread(target=replace, args=(node, name))
        for node, name in zip(nodes, "ab", strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, two = (members(node, "contested") for node in nodes)
    assert one == two
    assert one in (["a14", "both"], ["b14", "both"])


def test_a_member_removed_on_one_node_leaves_the_session_on_the_other(nodes: Nodes) -> None:
    one, two = nodes
    one.put("/sessions/left/members", {"user_ids": ["leaver"]})
    client = open_client(two, bearer=token("leaver"))
    assert client.call("join_session", session_id="left")["type"] == "session_joined"
    one.put("/sessions/left/members", {"user_ids": []})
    assert client.await_push("session_left")["session_id"] == "left"
    client.close()


def test_of_tokens_on_several_nodes_the_latest_one_says_the_organization(nodes: Nodes) -> None:
    """A manager of the former organization does not reach the user, on whichever node."""
    clients = []
    for node, organization_id in zip(nodes, ("o1", "o2"), strict=True):
        client = open_client(node, bearer=token("moved", organization_id=organization_id))
        client.push("connection_established")
        clients.append(client)
    former, present = (token("boss", role="manager", organization_id=o) for o in ("o1", "o2"))
    path = "/users/moved/connections"
    for node in nodes:
        # Stored a second later at most.
        poll(
            lambda node=node: node.get(path, present).status,  # type: ignore[misc]
            lambda status: status == 200,
        )
        assert node.get(path, former).status == 404
        found = [each["metadata"] for each in node.get(path, present).json()["connections"]]
        assert [each["organization_id"] for each in found] == ["o2"]
    clients[1].close()  # now all connections are of the former one
    for node in nodes:
        poll(
            lambda node=node: node.get(path, former).status,  # type: ignore[misc]
            lambda status: status == 200,
        )
        assert node.get(path, present).status == 404
    clients[0].close()


def test_a_ticket_is_redeemed_once_on_any_node(nodes: Nodes) -> None:
    one, two = nodes
    for issuer, other in ((one, two), (two, one)):
        for redeemer in (issuer, other):
            ticket = issuer.post("/tickets", bearer=token("ticketed")).json()["ticket"]
            path = f"/ws/chat?ticket={ticket}"
            open_client(redeemer, path).close()
            for node in nodes:
                with pytest.raises(InvalidStatus, match="401"):
                    open_client(node, path, offers=())


def test_a_node_that_starts_later_has_all(pair: ClusterServers) -> None:
    one = pair.nodes["n1"]
    bearer = token("earlier")
    one.post("/tokens/revoke", {"user_id": "earlier"})
    one.put("/sessions/earlier/members", {"user_ids": ["m1"]})
    third = pair.start("n3")
    assert third.get("/whoami", bearer).status == 401
    assert members(third, "earlier") == ["m1"]
    third.stop()


def test_a_manager_publishes_to_connections_of_its_organization_on_any_node(nodes: Nodes) -> None:
    manager = token("m", role="manager", organization_id="o1")
    for node, other in (nodes, nodes[::-1]):
        own, foreign = [
            open_client(other, bearer=token(f"of-{name}", organization_id=name))
            for name in ("o1", "o2")
        ]
        ids = {
            client: client.push("connection_established")["connection_id"]
            for client in (own, foreign)
        }
        body = {"type": "note", "data": 1}
        answer = node.post(
            "/messages", {**body, "target": {"type": "connection", "id": ids[own]}}, manager
        )
        assert answer.ok["matched"] == 1
        assert own.await_push("note")["data"] == 1
        for id_ in (ids[foreign], "conn_none"):
            target = {"target": {"type": "connection", "id": id_}}
            answer = node.post("/messages", {**body, **target}, manager)
            assert answer.problem == (403, "forbidden")
        for client in (own, foreign):
            client.close()
