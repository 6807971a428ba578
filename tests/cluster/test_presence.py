"""Presence of users over the nodes: who is online, in which session, and what is pushed."""

from __future__ import annotations

import signal
from functools import partial
from typing import Any

from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_servers import ClusterServers
from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.waiting import poll
from tests.support.websocket_clients import Client, open_client


def connect(server: RunningServer, user: str, path: str = "/ws/chat", **claims: Any) -> Client:
    client = open_client(server, path, bearer=token(user, **{"sessions": "*", **claims}))
    client.push("connection_established")
    return client


def monitor(server: RunningServer, *globs: str) -> Client:
    client = connect(server, "watcher", "/ws/admin/monitor", role="admin")
    client.result("subscribe", events=[*globs, "ready"], interval_s=60)
    return client


def statuses(client: Client, user: str) -> list[tuple[str, int]]:
    """The statuses of a user that have come so far."""
    return [
        (push["status"], push["connections"])
        for push in client.rest()
        if push["type"] == "user_status_update" and push["user_id"] == user
    ]


def next_event(client: Client, name: str, user: str) -> Any:
    while True:
        event = client.await_push("event")["event"]
        if event["name"] == name and event["user_id"] == user:
            return event


def next_status(client: Client, user: str) -> tuple[str, int]:
    while True:
        push = client.await_push("user_status_update")
        if push["user_id"] == user:
            return push["status"], push["connections"]


def users_in(client: Client, session_id: str) -> list[str]:
    users = client.call("presence", session_id=session_id)["users"]
    return [each["user_id"] for each in users]


def present(client: Client, session_id: str) -> list[dict[str, Any]]:
    return without_positions(client.call("presence", session_id=session_id))


def test_a_user_on_two_nodes_is_online_once(nodes: ClusterServers) -> None:
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    watching = [monitor(server, "user_*") for server in (one, two)]
    first = connect(one, "anna")
    counts = [next_event(watching[1], "user_connected", "anna")["connections"]]
    second = connect(two, "anna")
    counts.append(next_event(watching[1], "user_connected", "anna")["connections"])
    first.close()
    counts.append(next_event(watching[1], "user_disconnected", "anna")["connections"])
    second.close()
    counts.append(next_event(watching[1], "user_disconnected", "anna")["connections"])
    assert counts == [1, 2, 1, 0]
    assert next_status(watching[0], "anna") == ("online", 1)
    assert next_status(watching[0], "anna") == ("offline", 0)
    for client in watching:
        client.close()


def test_the_users_of_a_session_are_those_of_all_nodes(nodes: ClusterServers) -> None:
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    here, there, phone = connect(one, "anna"), connect(two, "berta"), connect(one, "berta")
    here.join("room")
    there.join("room")
    anna = {"user_id": "anna", "username": None, "connections": 1}
    berta = {"user_id": "berta", "username": None, "connections": 1}
    for client in (here, there):  # Redis gets to know of a join after its reply
        poll(partial(present, client, "room"), lambda users: users == [anna, berta])
    assert here.await_push("session_joined")["user_id"] == "berta"
    both = [anna, {**berta, "connections": 2}]
    assert without_positions(phone.join("room")) == both
    assert present(here, "room") == both
    bound = connect(two, "carla", "/ws/chat/session/room", sessions=["room"])
    assert [each["user_id"] for each in bound.push("session_joined")["users"]] == [
        *("anna", "berta", "carla")
    ]
    assert here.await_push("session_joined")["user_id"] == "carla"  # not the second of berta
    there.call("leave_session", session_id="room")
    phone.close()
    assert here.await_push("session_left")["user_id"] == "berta"
    assert not [push for push in here.rest() if push["type"] == "session_left"]
    for client in (here, there, bound):
        client.close()


def test_a_user_that_moves_is_offline_and_online_again(nodes: ClusterServers) -> None:
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    listeners = [connect(one, "dora"), connect(two, "elsa")]
    for listener in listeners:
        listener.join("move")
    client = connect(one, "mover")
    client.join("move")  # it may be in before Redis has answered that it is online: not pushed
    for server in (two, one):
        client.close()
        for listener in listeners:
            assert next_status(listener, "mover") == ("offline", 0)
        client = connect(server, "mover")
        for listener in listeners:  # before it has joined again
            assert next_status(listener, "mover") == ("online", 1)
    second = connect(two, "mover", sessions=["move"])
    client.close()
    second.close()
    for listener in listeners:
        assert next_status(listener, "mover") == ("offline", 0)
        listener.close()


def test_what_a_killed_node_leaves_behind(nodes: ClusterServers) -> None:
    one, two, doomed = nodes.nodes["n1"], nodes.nodes["n2"], nodes.start("n3")
    listeners = [connect(one, "dora"), connect(two, "elsa")]
    for listener in listeners:
        listener.join("killed")
    watching = monitor(one, "user_disconnected")
    ends = [connect(doomed, user) for user in ("alone", "both")]
    for client in ends:
        client.join("killed")
    other = connect(two, "both")
    for listener in listeners:
        joined = {listener.await_push("session_joined")["user_id"] for _ in ends}
        while joined != {"alone", "both"}:  # that of the other listener may come first
            joined = {*joined, listener.await_push("session_joined")["user_id"]} - {"elsa"}
        listener.rest()
    doomed.kill()
    event = next_event(watching, "user_disconnected", "alone")
    assert (event["code"], event["connections"]) == (1006, 0)
    assert event["reason"] == "node n3 was lost"
    assert next_event(watching, "user_disconnected", "both")["connections"] == 1
    for listener in listeners:
        assert listener.await_push("session_left")["user_id"] == "alone"
        assert next_status(listener, "alone") == ("offline", 0)
        assert listener.await_push("session_left")["user_id"] == "both"
        assert users_in(listener, "killed") == ["dora", "elsa"]
        assert statuses(listener, "both") == []
    again = [push for push in watching.rest() if push["type"] == "event"]
    assert not [push for push in again if push["event"]["user_id"] in ("alone", "both")]
    for client in (*listeners, *ends, watching, other):
        client.close()


def test_a_killed_node_that_is_back_at_once_reports_whom_it_took_along(
    nodes: ClusterServers,
) -> None:
    one, doomed = nodes.nodes["n1"], nodes.start("n8")
    watching = monitor(one, "user_*")
    taken = connect(doomed, "taken")
    next_event(watching, "user_connected", "taken")
    doomed.kill()
    nodes.start("n8")  # it waits for the end of its former lease, and is the first to know then
    event = next_event(watching, "user_disconnected", "taken")
    assert (event["reason"], event["connections"]) == ("node n8 was lost", 0)
    assert next_status(watching, "taken") == ("offline", 0)
    for client in (taken, watching):
        client.close()


def test_a_paused_node_enters_its_connections_again(nodes: ClusterServers) -> None:
    one, paused = nodes.nodes["n1"], nodes.start("n6")
    paused.expects_faults = True  # PostgreSQL ends its connection if it stops in a transaction
    listener = connect(one, "dora")
    listener.join("paused")
    client = connect(paused, "sleeper")
    client.join("paused")
    assert listener.await_push("session_joined")["user_id"] == "sleeper"  # so Redis has it
    paused.send_signal(signal.SIGSTOP)
    try:
        assert next_status(listener, "sleeper") == ("offline", 0)
    finally:
        paused.send_signal(signal.SIGCONT)
    assert next_status(listener, "sleeper") == ("online", 1)
    poll(lambda: users_in(listener, "paused"), lambda users: users == ["dora", "sleeper"])
    client.close()
    assert next_status(listener, "sleeper") == ("offline", 0)
    listener.close()


def test_nothing_is_pushed_when_the_server_is_emptied(
    nodes: ClusterServers, shared_valkey: ValkeyProcess
) -> None:
    one, two = nodes.nodes["n1"], nodes.nodes["n2"]
    watching = monitor(one)
    listener, client = connect(one, "dora"), connect(two, "steady")
    for each in (listener, client):
        each.join("emptied")
    poll(lambda: statuses(watching, "steady"), bool)
    listener.rest()
    shared_valkey.run("FLUSHALL")
    poll(lambda: users_in(listener, "emptied"), lambda users: users == ["dora", "steady"])
    client.close()  # made up for, once all nodes have entered their connections
    assert next_status(watching, "steady") == ("offline", 0)
    assert next_status(listener, "steady") == ("offline", 0)
    assert statuses(watching, "dora") == []
    for each in (watching, listener):
        each.close()


def test_clients_of_a_draining_node_that_connect_to_another(nodes: ClusterServers) -> None:
    one, draining = nodes.nodes["n1"], nodes.start("n7")
    watching = monitor(one, "user_*")
    moves, stays_away = connect(draining, "moves"), connect(draining, "stays-away")
    for user in ("moves", "stays-away"):
        next_event(watching, "user_connected", user)
    watching.rest()
    assert draining.stop() == 0
    assert next_event(watching, "user_disconnected", "moves")["connections"] == 0
    assert moves.closed()[0] == stays_away.closed()[0] == 1012
    again = connect(one, "moves")
    assert next_event(watching, "user_connected", "moves")["connections"] == 1
    assert next_status(watching, "stays-away") == ("offline", 0)
    assert statuses(watching, "moves") == []
    again.close()
    assert next_status(watching, "moves") == ("offline", 0)
    watching.close()


def without_positions(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Its users; the first position of one who has just joined may not be stored yet."""
    return [{k: v for k, v in user.items() if k != "read_offset"} for user in answer["users"]]
