"""Kept messages over two nodes: in order, once, and all of them, whatever happens to pub/sub."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scripts.backends.postgres import PostgresServer
from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_servers import ClusterServers
from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.waiting import PATIENCE_S, poll
from tests.support.websocket_clients import Client, open_client

Nodes = tuple[RunningServer, RunningServer]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    """A server of this file's own: it is killed and paused."""
    server = ValkeyProcess(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def servers(
    postgres: PostgresServer, valkey: ValkeyProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterServers]:
    url = postgres.create_database(is_empty=True)
    made = ClusterServers(tmp_path_factory.mktemp("cluster"), url, valkey.url)
    try:
        made.start("n1")
        made.start("n2")
        yield made
        made.stop()
    finally:
        made.kill()
        postgres.drop_database(url)


@pytest.fixture
def nodes(servers: ClusterServers) -> Nodes:
    found = servers.nodes["n1"], servers.nodes["n2"]
    for node in found:
        poll(lambda node=node: node.health()["checks"]["broker"]["ok"], bool)  # type: ignore[misc]
    return found


def say(node: RunningServer, target: dict[str, str], text: str, **fields: Any) -> dict[str, Any]:
    """Publish a kept message; the answer."""
    body = {"target": target, "type": "announcement", "data": {"text": text}, "keep": True}
    answer = node.post("/messages", {**body, **fields})
    assert answer.status == 200, answer.json()
    return dict(answer.json())


def in_session(session_id: str) -> dict[str, str]:
    return {"type": "session", "id": session_id}


def joined(node: RunningServer, user_id: str, session_id: str) -> Client:
    client = open_client(node, bearer=token(user_id, role="admin"))
    client.join(session_id)
    return client


def take(client: Client, count: int) -> list[tuple[int, str]]:
    """Offset and text of the next announcements."""
    pushes = [client.await_push("announcement") for _ in range(count)]
    return [(each["offset"], each["data"]["text"]) for each in pushes]


def nothing_more(client: Client) -> bool:
    return not [each for each in client.rest() if each["type"] == "announcement"]


def talk(nodes: Nodes, target: dict[str, str], count: int, publishers: int = 2) -> dict[int, str]:
    """Publish from several threads on each node at once; texts by offset."""

    def publisher(number: int) -> list[tuple[int, str]]:
        node, done = nodes[number % 2], []
        for turn in range(count):
            text = f"{number}/{turn}"
            done.append((int(say(node, target, text)["offset"]), text))
        return done

    with ThreadPoolExecutor(2 * publishers) as pool:
        found = list(pool.map(publisher, range(2 * publishers)))
    return dict(pair for each in found for pair in each)


@pytest.mark.parametrize("kind", ["session", "user", "broadcast"])
def test_publishers_on_both_nodes_make_one_order_for_all(nodes: Nodes, kind: str) -> None:
    target = {"type": kind} if kind == "broadcast" else {"type": kind, "id": f"order-{kind}"}
    clients = [joined(node, f"order-{kind}", f"order-{kind}") for node in nodes]
    texts = talk(nodes, target, 15)
    assert sorted(texts) == list(range(1, 61))
    for client in clients:
        assert take(client, 60) == sorted(texts.items())
        assert nothing_more(client)
        client.close()


def test_results_are_the_sum_of_both_nodes(nodes: Nodes) -> None:
    clients = [joined(nodes[i % 2], f"sum{i}", "sum") for i in range(3)]
    answer = poll(
        lambda: say(nodes[0], in_session("sum"), "hello"),  # a busy machine may take over 150 ms
        lambda answer: bool(answer["matched"] == 3),
    )
    assert (answer["sent"], answer["failed"]) == (3, 0)
    assert "unreachable" not in answer
    for client in clients:
        client.close()


def test_whoever_reads_after_the_answer_sees_the_message_on_any_node(nodes: Nodes) -> None:
    watcher = joined(nodes[1], "raw-watcher", "raw")
    reader = open_client(nodes[1], bearer=token("raw-reader", role="admin"))
    for number in range(1, 11):
        sent = say(nodes[0], in_session("raw"), str(number))
        assert sent["offset"] == number
        page = reader.call("history", session_id="raw")
        assert page["messages"][-1]["data"]["text"] == str(number)
        assert reader.join("raw")["offset"] == number
        since = {"epoch": sent["epoch"], "offset": number - 1}
        resumed = reader.call("resume", streams={"session:raw": since})["streams"]["session:raw"]
        assert [each["offset"] for each in resumed["messages"]] == [number]
        say(nodes[0], {"type": "user", "id": f"raw{number}"}, "hello")
        client = open_client(nodes[1], bearer=token(f"raw{number}"))
        established = client.push("connection_established")
        assert (established["inbox"]["offset"], established["inbox"]["pending"]) == (1, 1)
        client.close()
        reader.call("leave_session", session_id="raw")
    assert [offset for offset, _ in take(watcher, 10)] == list(range(1, 11))
    watcher.close()
    reader.close()


def test_joining_while_others_publish_leaves_no_gap(nodes: Nodes) -> None:
    texts: dict[int, str] = {}
    talking = threading.Thread(
        target=lambda: texts.update(talk(nodes, in_session("late"), 15, publishers=1))
    )
    talking.start()
    clients = []
    for number in range(8):
        client = open_client(nodes[number % 2], bearer=token(f"late{number}", role="admin"))
        clients.append((client, int(client.join("late")["offset"])))
    talking.join()
    for client, offset in clients:
        assert [each for each, _ in take(client, 30 - offset)] == list(range(offset + 1, 31))
        assert nothing_more(client)
        client.close()


@pytest.mark.parametrize("fault", ["kill pubsub", "pause", "restart"])
def test_faults_of_pubsub_lose_and_double_nothing(
    nodes: Nodes, valkey: ValkeyProcess, fault: str
) -> None:
    session_id = fault.replace(" ", "-")
    clients = [joined(node, f"fault{i}", session_id) for i, node in enumerate(nodes)]
    texts: dict[int, str] = {}
    talking = threading.Thread(
        target=lambda: texts.update(talk(nodes, in_session(session_id), 20, publishers=1))
    )
    talking.start()
    take(clients[0], 5)
    if fault == "kill pubsub":
        for _ in range(3):
            valkey.run("CLIENT", "KILL", "TYPE", "pubsub")
    elif fault == "pause":
        valkey.run("CLIENT", "PAUSE", "1500", "ALL")
    else:
        valkey.kill()
        valkey.start()
    talking.join()
    assert sorted(texts) == list(range(1, 41))
    assert take(clients[0], 35) == sorted(texts.items())[5:]
    assert take(clients[1], 40) == sorted(texts.items())
    assert all(nothing_more(client) for client in clients)
    for client in clients:
        client.close()


def test_without_redis_the_other_node_gets_it_from_the_database(
    nodes: Nodes, valkey: ValkeyProcess
) -> None:
    clients = [joined(node, f"away{i}", "away") for i, node in enumerate(nodes)]
    valkey.kill()
    try:
        for number in range(1, 4):
            say(nodes[0], in_session("away"), str(number))
        for client in clients:
            assert take(client, 3) == [(1, "1"), (2, "2"), (3, "3")]
    finally:
        valkey.start()
    for client in clients:
        client.close()


def test_what_was_erased_without_redis_is_in_no_memory_afterwards(
    nodes: Nodes, valkey: ValkeyProcess
) -> None:
    client = open_client(nodes[1], bearer=token("erased"))
    client.established = client.push("connection_established")
    said = [say(nodes[0], {"type": "user", "id": "erased"}, f"secret {n}") for n in (1, 2)]
    assert len(take(client, 2)) == 2
    since = {"epoch": said[0]["epoch"], "offset": 0}
    everybody = say(nodes[0], {"type": "broadcast"}, "hello")
    take(client, 1)
    trace = f"/messages/{everybody['message_id']}"
    assert client.id in nodes[0].get(trace).body.decode()
    valkey.kill()
    try:
        assert nodes[0].delete("/users/erased/data").ok["erased"]["messages"] == 2
    finally:
        valkey.start()
    for node in nodes:
        poll(lambda node=node: node.health()["checks"]["broker"]["ok"], bool)  # type: ignore[misc]
    resumed = client.call("resume", streams={"user:erased": since})
    assert resumed["type"] == "resumed", resumed
    assert "secret" not in json.dumps(resumed)
    # Nodes look for changes that they have not heard of twice a second.
    poll(lambda: nodes[0].get(trace).body.decode(), lambda text: client.id not in text)
    client.close()


def test_a_client_of_a_killed_node_resumes_on_the_other(
    servers: ClusterServers, nodes: Nodes
) -> None:
    one = joined(nodes[0], "moving", "moving")
    sent = [say(nodes[number % 2], in_session("moving"), str(number)) for number in range(4)]
    assert [offset for offset, _ in take(one, 4)] == [1, 2, 3, 4]
    nodes[0].process.kill()
    nodes[0].process.wait()
    say(nodes[1], in_session("moving"), "meanwhile")
    two = open_client(nodes[1], bearer=token("moving", role="admin"))
    since = {"epoch": sent[0]["epoch"], "offset": 4}
    resumed = two.call("resume", streams={"session:moving": since})["streams"]["session:moving"]
    assert resumed["recovered"]
    assert [each["data"]["text"] for each in resumed["messages"]] == ["meanwhile"]
    say(nodes[1], in_session("moving"), "live")
    assert take(two, 1) == [(6, "live")]
    two.close()
    servers.start("n1")


def test_clients_of_a_draining_node_resume_on_the_other_while_others_publish(
    servers: ClusterServers, nodes: Nodes
) -> None:
    stays, draining = nodes[0], servers.start("n3")
    clients = [joined(draining, f"drained{number}", "drained") for number in range(3)]
    count = 200
    with ThreadPoolExecutor(1) as pool:
        published = pool.submit(
            lambda: [say(stays, in_session("drained"), str(number)) for number in range(count)]
        )
        seen = [[client.await_push("announcement")["offset"]] for client in clients]
        assert stays.post("/nodes/n3/drain").ok["draining"]
        for client, offsets in zip(clients, seen, strict=True):
            assert client.closed()[0] == 1012
            offsets += [e["offset"] for e in client.pushes if e["type"] == "announcement"]
        sent = published.result(PATIENCE_S)
    for number, offsets in enumerate(seen):
        client = open_client(stays, bearer=token(f"drained{number}", role="admin"))
        since = {"epoch": sent[0]["epoch"], "offset": offsets[-1]}
        found = client.call("resume", streams={"session:drained": since})
        missed = found["streams"]["session:drained"]
        assert missed["recovered"]
        offsets += [each["offset"] for each in missed["messages"]]
        assert offsets == list(range(1, count + 1))
        client.close()
    assert draining.process.wait(PATIENCE_S) == 0


def test_a_node_that_does_not_answer_is_named(servers: ClusterServers, nodes: Nodes) -> None:
    clients = [joined(node, f"stuck{i}", "stuck") for i, node in enumerate(nodes)]
    poll(lambda: say(nodes[0], in_session("stuck"), "1")["matched"], lambda count: bool(count == 2))
    nodes[1].process.send_signal(signal.SIGSTOP)
    try:
        answer = say(nodes[0], in_session("stuck"), "2")
        assert (answer["matched"], answer["unreachable"]) == (1, ["n2"])
        message = {"target": in_session("stuck"), "type": "announcement", "data": {"text": "3"}}
        batch = nodes[0].post("/messages/batch", {"messages": [message, {**message, "keep": True}]})
        assert [each["unreachable"] for each in batch.json()["results"]] == [["n2"], ["n2"]]
        assert batch.json()["unreachable"] == ["n2"]
    finally:
        nodes[1].process.send_signal(signal.SIGCONT)
    for client in clients:
        client.close()
