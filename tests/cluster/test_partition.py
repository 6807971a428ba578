"""A node that is cut off from PostgreSQL, while the rest of the cluster goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.support.cluster_servers import ClusterServers
from tests.support.cut_network import CutNetwork
from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.waiting import poll
from tests.support.websocket_clients import Client, open_client


@pytest.fixture
def network(database_url: str) -> Iterator[CutNetwork]:
    """What is between the node ``n1`` and PostgreSQL."""
    parts = urlsplit(database_url)
    with CutNetwork(str(parts.hostname), parts.port or 5432) as made:
        yield made


@pytest.fixture
def nodes(
    cluster: ClusterServers, database_url: str, network: CutNetwork
) -> tuple[RunningServer, RunningServer]:
    parts = urlsplit(database_url)
    through = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{network.port}")
    return cluster.start("n1", database_url=urlunsplit(through)), cluster.start("n2")


def say(node: RunningServer, text: str, *, keep: bool = True) -> int:
    """Publish to the session; the status."""
    target = {"type": "session", "id": "s1"}
    body = {"target": target, "type": "announcement", "data": text, "keep": keep}
    return int(node.post("/messages", body).status)


def heard(client: Client) -> list[Any]:
    return [push["data"] for push in client.rest() if push["type"] == "announcement"]


def test_a_node_without_the_database_refuses_what_is_kept_and_misses_nothing(
    nodes: tuple[RunningServer, RunningServer], network: CutNetwork
) -> None:
    alone, other = nodes
    alone.expects_faults = True
    clients = [
        open_client(node, bearer=token(f"u{n}", sessions=["s1"])) for n, node in enumerate(nodes)
    ]
    for client in clients:
        client.join("s1")
    network.cut()
    assert say(other, "kept by the other") == 200
    assert say(other, "live of the other", keep=False) == 200
    assert say(alone, "live", keep=False) == 200
    assert say(alone, "refused") == 503
    assert [alone.health()["status"], other.health()["status"]] == ["degraded", "ok"]
    assert clients[0].code("history", session_id="s1") == "storage_unavailable"
    assert say(other, "kept meanwhile") == 200
    states = [node["state"] for node in other.get("/nodes").ok["nodes"]]
    assert states == ["up", "up"]
    network.mend()
    poll(lambda: alone.health()["status"], lambda status: status == "ok")
    assert poll(lambda: say(alone, "kept again"), lambda status: status in (200, 503)) == 200
    wanted = [
        "kept by the other", "live of the other", "live", "kept meanwhile", "kept again",
    ]  # fmt: skip
    assert [heard(client) for client in clients] == [wanted, wanted]
    kept = [each["data"] for each in clients[0].call("history", session_id="s1")["messages"]]
    assert kept == ["kept by the other", "kept meanwhile", "kept again"]
