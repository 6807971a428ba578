"""A user's inbox is one for the devices on all nodes: acknowledged once, settled everywhere."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from scripts.backends.postgres import PostgresServer
from scripts.backends.valkey import ValkeyProcess
from tests.support.cluster_servers import ClusterServers
from tests.support.running_server import RunningServer
from tests.support.tokens import token
from tests.support.waiting import poll
from tests.support.websocket_clients import Client, open_client, together

Two = tuple[RunningServer, RunningServer]
Update = tuple[str, str]
"""Message id and status."""


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    """One of this module, which is paused."""
    server = ValkeyProcess(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def nodes(
    postgres: PostgresServer, valkey: ValkeyProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterServers]:
    """``n1`` and ``n2``, which resend after a second."""
    database_url = postgres.create_database(is_empty=True)
    made = ClusterServers(
        tmp_path_factory.mktemp("cluster"),
        database_url,
        valkey.url,
        ack_timeout_s=1.0,
        ack_retries=3,
    )
    try:
        made.start("n1")
        made.start("n2")
        yield made
        made.stop()
    finally:
        made.kill()
        postgres.drop_database(database_url)


@pytest.fixture
def two(nodes: ClusterServers) -> Two:
    return nodes.nodes["n1"], nodes.nodes["n2"]


class Users:
    """Clients of users whose names no other test uses; all are closed at the end."""

    def __init__(self) -> None:
        self._suffix = uuid.uuid4().hex
        self._open: list[Client] = []

    def name(self, user: str) -> str:
        return f"{user}-{self._suffix}"

    def connect(self, node: RunningServer, user: str, *, v1: bool = True) -> Client:
        options: dict[str, Any] = {} if v1 else {"offers": ()}
        client = open_client(node, bearer=token(self.name(user)), **options)
        client.established = client.push("connection_established")
        self._open.append(client)
        return client

    def publish(self, node: RunningServer, data: Any, user: str = "u", **options: Any) -> str:
        """Keep a message of ``boss`` for a user; returns its id."""
        answer = node.post(
            f"/users/{self.name(user)}/messages",
            {"type": "note", "data": data, "keep": True, **options},
            bearer=token(self.name("boss"), role="service"),
        )
        return str(answer.ok["message_id"])

    def close(self) -> None:
        for client in self._open:
            client.close()


@pytest.fixture
def users() -> Iterator[Users]:
    made = Users()
    yield made
    made.close()


def note(client: Client) -> tuple[Any, bool]:
    """The next note: its text, and whether it is a repeated one."""
    push = client.await_push("note")
    return push["data"], push.get("redelivered", False)


def notes_until(client: Client, last: tuple[Any, bool]) -> list[tuple[Any, bool]]:
    """The notes up to and with one that must come."""
    notes = [note(client)]
    while notes[-1] != last:
        notes.append(note(client))
    return notes


def ack(client: Client, *ids: str, read: bool = False) -> int:
    return int(client.call("read" if read else "ack", ids=ids)["acknowledged"])


def updates_until(client: Client, last: Update) -> list[Update]:
    """The status updates up to and with one that must come."""
    updates: list[Update] = []
    while not updates or updates[-1] != last:
        push = client.await_push("message_status_update")
        updates.append((push["message_id"], push["status"]))
    return updates


@contextmanager
def cut_off(valkey: ValkeyProcess) -> Iterator[None]:
    """Nothing passes between the nodes."""
    valkey.pause()
    try:
        yield
    finally:
        valkey.resume()


def test_what_one_device_acknowledges_comes_to_no_other_one_again(two: Two, users: Users) -> None:
    first, second = (users.connect(node, "u") for node in two)
    settled = users.publish(two[0], "settled")
    assert note(first) == note(second) == ("settled", False)
    assert ack(first, settled) == 1
    assert second.await_push("message_status_update")["status"] == "delivered"
    first.rest()
    waiting = users.publish(two[1], "waiting")
    for client in (first, second):
        assert [note(client) for _ in range(2)] == [("waiting", False), ("waiting", True)]
    assert users.connect(two[1], "u").established["inbox"]["pending"] == 1
    assert (ack(second, settled), ack(second, waiting), ack(first, waiting)) == (0, 1, 0)
    assert users.connect(two[0], "u").established["inbox"]["pending"] == 0


def test_an_offset_settles_for_devices_on_the_other_node_too(two: Two, users: Users) -> None:
    users.publish(two[1], "old")
    second = users.connect(two[1], "u")
    for text in ("a", "b"):
        users.publish(two[0], text)
    assert [note(second)[0] for _ in range(3)] == ["old", "a", "b"]
    first = users.connect(two[0], "u")
    reply = first.call("ack", stream=f"user:{users.name('u')}", offset=2)
    assert reply["acknowledged"] == 2
    users.publish(two[0], "marker")
    notes_until(second, ("marker", False))
    came = notes_until(second, ("marker", True))
    assert set(came) == {("b", True), ("marker", True)}


def test_without_signals_storage_decides_what_is_resent(
    two: Two, users: Users, valkey: ValkeyProcess
) -> None:
    first, second = (users.connect(node, "u") for node in two)
    ids = [users.publish(two[0], text) for text in ("a", "b")]
    for client in (first, second):
        assert [note(client)[0] for _ in range(2)] == ["a", "b"]
    with cut_off(valkey):
        assert ack(first, ids[0]) == 1
        # Both may be resent to the second one before that, but no more after it.
        second.rest()
        assert ack(first, *ids) == 1
        second.rest()
        marker = users.publish(two[1], "marker")
        came = notes_until(second, ("marker", True))
        assert came == [("marker", False), ("marker", True)]
        # Of a message that only the other node has sent.
        unseen = users.publish(two[1], "unseen")
        assert note(second) == ("unseen", False)
        assert ack(first, unseen, marker) == 2
        assert users.connect(two[1], "u").established["inbox"]["pending"] == 0
    poll(lambda: two[1].health()["status"], lambda status: status == "ok")
    poll(lambda: two[0].health()["status"], lambda status: status == "ok")


def test_devices_that_acknowledge_at_once_are_one_receipt_for_the_sender(
    two: Two, users: Users
) -> None:
    senders = [users.connect(node, "boss") for node in two]
    devices = [users.connect(node, "u") for node in two]
    for number in range(8):
        sent = users.publish(two[number % 2], number)
        for device in devices:
            notes_until(device, (number, False))
        is_read = number % 4 == 3
        counts = together(lambda which: ack(devices[which], sent, read=is_read), 2)  # noqa: B023
        assert sorted(counts) == [0, 1]
        last = (sent, "read" if is_read else "delivered")
        for sender in senders:
            assert updates_until(sender, last) == [(sent, "sent"), last]


def test_a_status_never_goes_back_nor_comes_twice(two: Two, users: Users) -> None:
    sender = users.connect(two[0], "boss")
    devices = [users.connect(node, "u") for node in two]
    for number in range(8):
        sent = users.publish(two[1], number)
        for device in devices:
            notes_until(device, (number, False))
        together(lambda which: ack(devices[which], sent, read=which == 1), 2)  # noqa: B023
        assert updates_until(sender, (sent, "read")) in (
            [(sent, "sent"), (sent, "read")],
            [(sent, "sent"), (sent, "delivered"), (sent, "read")],
        )


def test_plain_clients_of_a_user_on_two_nodes_are_one_receipt(two: Two, users: Users) -> None:
    sender = users.connect(two[1], "boss")
    plain = [users.connect(node, "u", v1=False) for node in two]
    for number in range(4):
        sent = users.publish(two[number % 2], number)
        assert [note(client) for client in plain] == [(number, False)] * 2
        assert updates_until(sender, (sent, "delivered")) == [(sent, "delivered")]
    for node in two:
        assert users.connect(node, "u").established["inbox"]["pending"] == 0


def test_an_expired_message_is_reported_once_and_forgotten_by_all(two: Two, users: Users) -> None:
    sender = users.connect(two[1], "boss")
    devices = [users.connect(node, "u") for node in two]
    ids = [users.publish(two[0], number, ttl_s=1) for number in range(2)]
    updates = updates_until(sender, (ids[1], "expired"))
    assert sorted(updates) == sorted((id_, s) for id_ in ids for s in ("sent", "expired"))
    for device in devices:
        assert ack(device, *ids) == 0
    last = users.publish(two[0], "last")
    assert updates_until(sender, (last, "sent")) == [(last, "sent")]


def test_a_notification_is_acknowledged_on_any_node(two: Two, users: Users) -> None:
    body = {"user_ids": [users.name("u")], "title": "T", "message": "M", "channels": ["websocket"]}
    device = users.connect(two[1], "u")
    name = two[0].post("/notify", body).json()["notification_id"]
    assert device.await_push("notification")["notification"]["id"] == name
    assert ack(device, name) == 1
    (delivery,) = two[0].get(f"/notifications/{name}").ok["deliveries"]
    assert delivery["state"] == "delivered"


def test_a_client_of_a_killed_node_goes_on_at_another(
    nodes: ClusterServers, two: Two, users: Users
) -> None:
    killed = nodes.start("n3")
    client = users.connect(killed, "u")
    users.publish(two[1], "first")
    ids = [users.publish(two[1], text) for text in ("second", "third")]
    assert [note(client)[0] for _ in range(3)] == ["first", "second", "third"]
    assert ack(client, ids[0]) == 1
    killed.kill()
    again = users.connect(two[1], "u")
    assert again.established["inbox"]["pending"] == 2
    assert [note(again) for _ in range(2)] == [("first", False), ("third", False)]
    assert ack(again, *ids) == 1
    again.rest()
    assert note(again) == ("first", True)


def test_a_feed_is_in_step_on_devices_of_two_nodes(two: Two, users: Users) -> None:
    phone, desk = users.connect(two[0], "u"), users.connect(two[1], "u")
    for device in (phone, desk):
        assert device.call("notifications")["unread"] == 0
    body = {"user_ids": [users.name("u")], "title": "T", "message": "M"}
    name = two[0].post("/notify", body).json()["notification_id"]
    for device in (phone, desk):
        assert device.await_push("notification")["notification"]["id"] == name
        assert until_unread(device, 1)["notification_ids"] == []
    assert desk.call("mark_notifications", up_to=name, read=True)["unread"] == 0
    for device in (phone, desk):
        push = until_unread(device, 0)
        assert (push["notification_ids"], push["read"]) == ([name], True)


def until_unread(device: Client, count: int) -> dict[str, Any]:
    """The first ``notifications_changed`` with this number."""

    def found() -> list[dict[str, Any]]:
        device.call("ping")
        return [push for push in device.feed_changes if push["unread"] == count]

    return poll(found, bool)[0]
