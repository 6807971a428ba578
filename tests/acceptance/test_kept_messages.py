"""§3-§6, §11: kept messages are stored once, in one order, with their position."""

from __future__ import annotations

import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.acceptance.conftest import Connect
from tests.support.kill_after_append import MARK
from tests.support.running_server import RunningServer, Start
from tests.support.waiting import poll
from tests.support.websocket_clients import Client

SETTINGS = {"message_rate": 100_000, "message_burst": 100_000}
TO_ROOM = {"type": "session", "id": "room"}
TO_ACME = {"type": "organization", "id": "acme"}
Json = dict[str, Any]


def stored(server: RunningServer) -> list[tuple[str, int]]:
    """The messages in the file: stream and offset."""
    with closing(sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)) as db:
        return list(
            db.execute(
                "SELECT s.name, m.key & ((1 << 38) - 1) FROM messages m"
                " JOIN streams s ON s.id = m.key >> 38 ORDER BY m.key"
            )
        )


def position(document: Json) -> tuple[str, str, int]:
    return document["stream"], document["epoch"], document["offset"]


def in_room(connect: Connect, sub: str, room: str = "room", **options: Any) -> Client:
    client = connect(sub, sessions="*", **options)
    client.join(room)
    return client


def test_a_message_is_acknowledged_with_its_place(connect: Connect) -> None:
    sender, reader = in_room(connect, "u1", "place"), in_room(connect, "u2", "place")
    ack = sender.call("send_message", session_id="place", content={"text": "嗨"})
    assert ack["type"] == "ack"
    assert ack["message_id"].startswith("msg_")
    assert (ack["stream"], ack["offset"]) == ("session:place", 1)
    assert ack["epoch"]
    for client in (sender, reader):
        push = client.await_push("new_message")
        assert push["id"] == push["message"]["id"] == ack["message_id"]
        assert position(push) == position(ack)
        assert push["timestamp"].endswith("Z")
        assert push["message"]["content"] == {"text": "嗨"}
    second = sender.call("send_message", session_id="place", content="b")
    assert (second["epoch"], second["offset"]) == (ack["epoch"], 2)


@pytest.mark.parametrize(
    ("path", "body", "stream"),
    [
        ("/messages", {"type": "new_message", "content": "a", "target": TO_ROOM}, "session:room"),
        ("/sessions/room/messages", {"type": "new_message", "content": "a"}, "session:room"),
        ("/sessions/room/messages", {"type": "news", "keep": True}, "session:room"),
        ("/users/u1/messages", {"type": "news", "data": 1, "keep": True}, "user:u1"),
        ("/users/u1/messages", {"type": "news", "keep": True, "ttl_s": 0.5}, "user:u1"),
        ("/broadcast", {"type": "news", "keep": True}, "broadcast"),
        ("/messages", {"type": "news", "keep": True, "target": {"type": "broadcast"}}, "broadcast"),
        ("/messages", {"type": "news", "keep": True, "target": TO_ACME}, "organization:acme"),
        (
            "/broadcast",
            {"type": "news", "keep": True, "organization_id": "acme"},
            "organization:acme",
        ),
    ],
)
def test_a_kept_publish_says_where_it_is(
    server: RunningServer, connect: Connect, path: str, body: Json, stream: str
) -> None:
    # Plain: for it a message is delivered once it is written.
    reader = in_room(connect, "u1", v1=False, organization_id="acme")
    before = len(stored(server))
    answer = server.post(path, body).ok
    assert answer["stream"] == stream
    assert (answer["matched"], answer["sent"], answer["failed"]) == (1, 1, 0)
    push = reader.await_push(body["type"])
    assert push["id"] == answer["message_id"]
    assert position(push) == position(answer)
    assert stored(server).count((stream, answer["offset"])) == 1
    assert len(stored(server)) == before + 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/broadcast", {"type": "news", "data": 1}),
        ("/broadcast", {"type": "new_message", "content": "a", "session_id": "room"}),
        ("/sessions/room/messages", {"type": "new_message", "content": "a", "keep": False}),
        ("/users/live/messages", {"type": "news"}),
        ("/messages", {"type": "news", "target": {"type": "organization", "id": "acme"}}),
    ],
)
def test_a_live_publish_is_nowhere(
    server: RunningServer, connect: Connect, path: str, body: Json
) -> None:
    reader = in_room(connect, "live", organization_id="acme")
    before = stored(server)
    answer = server.post(path, body).ok
    assert not {"stream", "epoch", "offset"} & set(answer)
    push = reader.await_push(body["type"])
    assert not {"stream", "epoch", "offset"} & set(push)
    assert stored(server) == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "news", "keep": True, "target": {"type": "role", "id": "user"}}, "keep"),
        ({"type": "news", "keep": True, "target": {"type": "connection", "id": "c"}}, "keep"),
        ({"type": "news", "keep": "yes", "target": TO_ROOM}, "keep"),
        ({"type": "news", "ttl_s": 5, "target": TO_ROOM}, "ttl_s"),
        ({"type": "news", "keep": True, "ttl_s": 0, "target": TO_ROOM}, "ttl_s"),
        ({"type": "news", "keep": True, "ttl_s": -1, "target": TO_ROOM}, "ttl_s"),
        ({"type": "news", "keep": True, "ttl_s": "5", "target": TO_ROOM}, "ttl_s"),
        (
            {
                "type": "typing",
                "keep": True,
                "target": TO_ROOM,
                "user_id": "u1",
                "is_typing": True,
            },
            "keep",
        ),
    ],
)
def test_what_cannot_be_kept_is_named(server: RunningServer, body: Json, field: str) -> None:
    before = stored(server)
    answer = server.post("/messages", body)
    assert answer.problem == (422, "validation_failed")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert stored(server) == before


def test_messages_of_eight_publishers_arrive_in_the_same_order_everywhere(
    server: RunningServer, connect: Connect
) -> None:
    readers = [in_room(connect, f"reader{n}", "busy", v1=n % 2 == 0) for n in range(4)]
    senders = [in_room(connect, f"sender{n}", "busy") for n in range(4)]

    def over_rest(number: int) -> list[int]:
        path = "/sessions/busy/messages"
        body = {"type": "new_message", "content": f"r{number}"}
        return [server.post(path, body).ok["offset"] for _ in range(25)]

    def over_socket(client: Client) -> list[int]:
        acks = [client.call("send_message", session_id="busy", content="s") for _ in range(25)]
        return [ack["offset"] for ack in acks]

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(over_rest, number) for number in range(4)]
        running += [pool.submit(over_socket, client) for client in senders]
        published = [each.result() for each in running]
    assert all(offsets == sorted(offsets) for offsets in published)
    everything = list(range(1, 201))
    assert sorted(offset for offsets in published for offset in offsets) == everything
    for client in (*readers, *senders):
        pushes = [push for push in client.rest() if push["type"] == "new_message"]
        assert [push["offset"] for push in pushes] == everything
        assert len({push["id"] for push in pushes}) == 200
    assert [offset for name, offset in stored(server) if name == "session:busy"] == everything


def test_a_batch_is_answered_in_order_and_stored_together(
    server: RunningServer, connect: Connect
) -> None:
    reader = in_room(connect, "u1", "batch")
    target = {"type": "session", "id": "batch"}
    kept = {"type": "new_message", "target": target}
    batch: list[Json] = [{**kept, "content": str(number)} for number in range(5)]
    batch.insert(2, {"type": "news", "target": target, "data": "live"})
    batch.insert(4, {"type": "nonsense!", "target": target})
    commits = server.health()["checks"]["database"]["commits"]
    results = server.post("/messages/batch", {"messages": batch}).ok["results"]
    assert [each["status"] for each in results] == [200, 200, 200, 200, 422, 200, 200]
    assert [each.get("offset") for each in results] == [1, 2, None, 3, None, 4, 5]
    pushes = [reader.await_push("new_message") for _ in range(5)]
    assert [push["message"]["content"] for push in pushes] == list("01234")
    many = [{**kept, "content": "x"} for _ in range(1000)]
    results = server.post("/messages/batch", {"messages": many}).ok["results"]
    assert [each["offset"] for each in results] == list(range(6, 1006))
    # 1000 messages in one transaction; the rest are the audit trail's and the periodic work's.
    assert server.health()["checks"]["database"]["commits"] - commits < 20


def test_a_batch_that_is_sent_again_is_the_same_batch(server: RunningServer) -> None:
    target = {"type": "session", "id": "again"}
    batch = [{"type": "new_message", "target": target, "content": str(n)} for n in range(3)]
    key = {"Idempotency-Key": "batch-1"}
    first = server.post("/messages/batch", {"messages": batch}, headers=key)
    second = server.post("/messages/batch", {"messages": batch}, headers=key)
    assert first.ok == second.ok
    other = server.post("/messages/batch", {"messages": batch[:2]}, headers=key)
    assert other.problem == (409, "idempotency_conflict")
    assert stored(server).count(("session:again", 4)) == 0


def test_a_ttl_runs_out(server: RunningServer, connect: Connect) -> None:
    body = {"type": "new_message", "content": "a"}
    brief = server.post("/sessions/ttl/messages", {**body, "ttl_s": 0.001}).ok
    lasting = server.post("/sessions/ttl/messages", {**body, "ttl_s": 1000}).ok
    assert (brief["offset"], lasting["offset"]) == (1, 2)

    def history() -> list[int]:
        messages = server.get("/sessions/ttl/history").ok["messages"]
        return [message["offset"] for message in messages]

    poll(history, lambda offsets: offsets == [2])
    reader = connect("u1", sessions="*")
    since = {"epoch": lasting["epoch"], "offset": 0}
    joined = reader.call("join_session", session_id="ttl", since=since)
    assert joined["recovered"] is True
    assert [message["offset"] for message in joined["messages"]] == [2]


def test_the_same_client_message_id_is_the_same_message(
    server: RunningServer, connect: Connect
) -> None:
    one, phone = in_room(connect, "u1", "twice"), in_room(connect, "u1", "twice")
    other = in_room(connect, "u2", "twice")
    message = {"session_id": "twice", "content": "a", "client_message_id": "c-1"}
    first = one.call("send_message", **message)
    for client in (one, phone):
        again = client.call("send_message", **message)
        assert {**again, "ref": 0} == {**first, "ref": 0}
    assert other.call("send_message", **message)["offset"] == 2
    for client in (one, phone, other):
        pushes = [push for push in client.rest() if push["type"] == "new_message"]
        assert [push["offset"] for push in pushes] == [1, 2]
        assert {push["message"]["client_message_id"] for push in pushes} == {"c-1"}
    assert [offset for name, offset in stored(server) if name == "session:twice"] == [1, 2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_a_repetition_after_a_restart_adds_nothing(
    start: Start, connect: Connect, number: int
) -> None:
    server = start()
    key = {"Idempotency-Key": "k-1"}
    body = {"type": "new_message", "content": "b"}
    message = {"session_id": "room", "content": "a", "client_message_id": "c-1"}
    first = in_room(connect, "u1", to=server).call("send_message", **message)
    posted = server.post("/sessions/room/messages", body, headers=key).ok
    server.send_signal(number)
    server.wait()

    again = start(folder=server.folder)
    client = in_room(connect, "u1", to=again)
    assert position(client.call("send_message", **message)) == position(first)
    assert again.post("/sessions/room/messages", body, headers=key).ok == posted
    assert [push["type"] for push in client.rest()] == []
    assert stored(again) == [("session:room", 1), ("session:room", 2)]
    assert client.call("send_message", session_id="room", content="c")["offset"] == 3
    again.stop()


def test_who_dies_between_storing_and_answering_stores_nothing_twice(
    start: Start, connect: Connect
) -> None:
    deadly: Json = {"plugins": "tests.support.kill_after_append:install"}
    server = start(**deadly)
    folder = server.folder
    message = {"session_id": "room", "content": MARK, "client_message_id": "c-1"}
    sender = in_room(connect, "u1", to=server)
    with pytest.raises(ConnectionClosed):
        sender.call("send_message", **message)
    assert server.wait() == -signal.SIGKILL

    server = start(folder=folder, **deadly)
    key = {"Idempotency-Key": "k-1"}
    body = {"type": "new_message", "content": MARK}
    with pytest.raises(ConnectionError):
        server.post("/sessions/room/messages", body, headers=key)
    assert server.wait() == -signal.SIGKILL

    server = start(folder=folder, **deadly)
    batch = [{"type": "new_message", "content": MARK, "target": TO_ROOM} for _ in range(2)]
    with pytest.raises(ConnectionError):
        server.post("/messages/batch", {"messages": batch}, headers=key)
    assert server.wait() == -signal.SIGKILL

    server = start(folder=folder)
    expected = [("session:room", offset) for offset in (1, 2, 3, 4)]
    assert stored(server) == expected
    reader = connect("reader", to=server, sessions="*")
    assert reader.join("room")["offset"] == 4
    sender = in_room(connect, "u1", to=server)
    assert sender.call("send_message", **message)["offset"] == 1
    posted = server.post("/sessions/room/messages", body, headers=key).ok
    assert (posted["offset"], posted["sent"]) == (2, 0)
    assert server.post("/sessions/room/messages", body, headers=key).ok == posted
    results = server.post("/messages/batch", {"messages": batch}, headers=key).ok["results"]
    assert [each["offset"] for each in results] == [3, 4]
    assert stored(server) == expected
    assert "new_message" not in {push["type"] for push in reader.rest()}
    server.stop()
