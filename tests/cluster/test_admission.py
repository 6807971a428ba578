"""The limit of a user's connections holds for all nodes together, and refuses nobody wrongly."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.cluster_servers import ClusterServers
from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.waiting import poll
from tests.support.websocket_clients import Client, RawClient, open_client, together

LIMIT = 5


def connect(server: RunningServer, user: str) -> Client:
    """A client past its greeting, or past its refusal."""
    client = open_client(server, bearer=token(user))
    with suppress(ConnectionClosed):
        client.push("connection_established")
    return client


def is_open(client: Client) -> bool:
    try:
        return bool(client.call("ping")["type"] == "pong")
    except ConnectionClosed:
        return False


def test_a_hundred_connects_at_the_same_time_on_two_nodes(nodes: ClusterServers) -> None:
    servers = [nodes.nodes["n1"], nodes.nodes["n2"]]
    clients = together(lambda number: connect(servers[number % 2], "crowd"), 100)
    opened = [client for client in clients if is_open(client)]
    assert len(opened) == LIMIT
    refused = next(client for client in clients if client not in opened)
    assert refused.closed()[0] == 4504
    opened[0].close()
    poll(lambda: is_open(connect(servers[0], "crowd")), bool)
    assert connect(servers[1], "crowd").closed()[0] == 4504
    for client in clients:
        client.close()


@pytest.mark.slow
def test_never_a_sixth_of_a_hundred_on_four_nodes(nodes: ClusterServers) -> None:
    servers = [nodes.nodes["n1"], nodes.nodes["n2"], nodes.start("n3"), nodes.start("n4")]
    clients = together(lambda number: connect(servers[number % 4], "crowd4"), 100)
    assert sum(is_open(client) for client in clients) == LIMIT
    for server in servers:
        listed = server.get("/users/crowd4/connections").ok
        assert (listed["total"], "unreachable" in listed) == (LIMIT, False)
    for client in clients:
        client.close()
    for server in servers[2:]:
        server.stop()


def test_a_plain_client_and_a_probe_are_refused_and_reserve_nothing(nodes: ClusterServers) -> None:
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    bearer = token("probing")
    for _ in range(2 * LIMIT):
        assert one.request("GET", "/ws/chat", bearer=bearer).status == 426
    clients = [connect(server, "probing") for server in (one, two, one, two, one)]
    assert all(is_open(client) for client in clients)
    for server in (one, two):
        refused = server.request("GET", "/ws/chat", bearer=bearer)
        assert refused.problem == (429, "connection_limit")
    for client in clients:
        client.close()


def test_dead_clients_of_another_node_give_way(nodes: ClusterServers) -> None:
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    with ExitStack() as stack:
        for _ in range(LIMIT):
            silent = RawClient(one)  # its network is lost: it answers nothing
            stack.callback(silent.close)
            silent.open(token("lost"))
        # Until they were silent for long enough to be pinged.
        poll(lambda: is_open(connect(two, "lost")), bool)


def test_connections_of_a_killed_node_refuse_nobody(nodes: ClusterServers) -> None:
    one, doomed = nodes.nodes["n1"], nodes.start("n3")
    held = [connect(doomed, "robust") for _ in range(LIMIT)]
    assert connect(one, "robust").closed()[0] == 4504
    doomed.kill()
    client = connect(one, "robust")
    assert is_open(client)
    client.close()
    assert not any(is_open(each) for each in held)


def test_the_oldest_connection_of_all_nodes_is_evicted(nodes: ClusterServers) -> None:
    evicting = [
        nodes.start(name, connection_limit_policy="evict_oldest", max_connections_per_user=2)
        for name in ("n4", "n5")
    ]
    oldest = connect(evicting[0], "evicted")
    older, newest = connect(evicting[1], "evicted"), connect(evicting[1], "evicted")
    assert oldest.closed() == (4504, "evicted by a newer connection")
    assert is_open(older)
    again = connect(evicting[0], "evicted")
    assert older.closed()[0] == 4504
    for client in (newest, again):
        assert is_open(client)
        client.close()
