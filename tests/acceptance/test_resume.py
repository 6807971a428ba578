"""§4, §11: resuming one stream or many from a position, also after a restart."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.running_server import RunningServer, Start
from tests.support.tokens import token
from tests.support.websocket_clients import Client

SETTINGS = {"message_rate": 100_000, "message_burst": 100_000, "stream_limit": 500}
Json = dict[str, Any]


def publish(server: RunningServer, room: str, count: int = 1, **fields: Any) -> None:
    target = {"type": "session", "id": room}
    body = {"type": "new_message", "content": "a", "target": target, **fields}
    results = server.post("/messages/batch", {"messages": [body] * count}).ok["results"]
    assert {each["status"] for each in results} == {200}


def since(document: Json, offset: int | None = None) -> Json:
    offset = document["offset"] if offset is None else offset
    return {"epoch": document["epoch"], "offset": offset}


def offsets(messages: list[Json]) -> list[int]:
    return [message["offset"] for message in messages if "offset" in message]


def rejoin(client: Client, room: str, position: Json) -> Json:
    return client.call("join_session", session_id=room, since=position)


def test_what_was_missed_comes_as_it_was_sent(server: RunningServer, connect: Connect) -> None:
    gone, there = connect("u1", sessions="*"), connect("u2", sessions="*")
    position = since(gone.join("missed"))
    assert position["offset"] == 0
    there.join("missed")
    publish(server, "missed", 2)
    seen = [gone.await_push("new_message") for _ in range(2)]
    gone.close()
    publish(server, "missed", 3)
    live = [push for push in there.rest() if push["type"] == "new_message"]
    back = connect("u1", sessions="*")
    joined = rejoin(back, "missed", since(seen[-1]))
    assert (joined["recovered"], joined["offset"]) == (True, 5)
    assert seen + joined["messages"] == live
    assert {user["user_id"] for user in joined["users"]} == {"u1", "u2"}
    publish(server, "missed")
    assert back.await_push("new_message")["offset"] == 6
    assert rejoin(back, "missed", position)["messages"][:5] == live


@pytest.mark.parametrize(
    ("epoch", "offset", "reason"),
    [(None, 561, "offset_ahead"), ("epoch_x", 560, "epoch_changed"), (None, 59, "too_far_behind")],
)
def test_what_cannot_be_recovered_says_why(
    server: RunningServer, connect: Connect, epoch: str | None, offset: int, reason: str
) -> None:
    client = connect("u1", sessions="*")
    missing = 560 - int(client.join("reasons")["offset"])
    if missing:
        publish(server, "reasons", missing)
    known = since(client.join("reasons"))
    joined = rejoin(client, "reasons", {"epoch": epoch or known["epoch"], "offset": offset})
    assert (joined["recovered"], joined["reason"], joined["messages"]) == (False, reason, [])
    assert since(joined) == known
    client.rest()
    assert rejoin(client, "reasons", since(known, 60))["recovered"]


def test_many_streams_in_one_command(server: RunningServer, connect: Connect) -> None:
    client = connect("u1", sessions="*")
    rooms = [f"many{number}" for number in range(30)]
    streams = {f"session:{room}": since(client.join(room)) for room in rooms}
    streams["user:u1"] = since(client.established["inbox"])
    streams["broadcast"] = {"epoch": streams["user:u1"]["epoch"], "offset": 0}
    for number, room in enumerate(rooms):
        if number:
            publish(server, room, number)
    server.post("/users/u1/messages", {"type": "news", "keep": True})
    server.post("/broadcast", {"type": "news", "keep": True})
    server.post("/broadcast", {"type": "news", "keep": True, "exclude_users": ["u1"]})
    client.close()
    back = connect("u1", sessions="*")
    answer = back.call("resume", streams=streams)
    assert answer["type"] == "resumed"
    assert set(answer["streams"]) == set(streams)
    for number, room in enumerate(rooms):
        part = answer["streams"][f"session:{room}"]
        assert (part["recovered"], part["offset"]) == (True, number)
        assert offsets(part["messages"]) == list(range(1, number + 1))
    assert offsets(answer["streams"]["user:u1"]["messages"]) == [1]
    assert offsets(answer["streams"]["broadcast"]["messages"]) == [1]
    assert answer["streams"]["broadcast"]["offset"] == 2
    back.rest()
    publish(server, rooms[7])  # joined again
    assert back.await_push("new_message")["stream"] == "session:many7"


def test_streams_of_others_stay_closed(server: RunningServer, connect: Connect) -> None:
    publish(server, "closed")
    client = connect("u1", sessions=["mine"])
    start = {"epoch": client.join("mine")["epoch"], "offset": 0}
    names = ("session:closed", "session:never-used", "user:u2", "session:mine")
    answer = client.call("resume", streams=dict.fromkeys(names, start))
    for name in names[:3]:
        assert answer["streams"][name] == {"recovered": False, "reason": "forbidden"}
    assert answer["streams"]["session:mine"]["recovered"]
    assert client.code("resume", streams=dict.fromkeys(names[:3], start)) == "forbidden"
    publish(server, "closed")
    assert "new_message" not in {push["type"] for push in client.rest()}


def test_a_former_member_gets_nothing_more(server: RunningServer, connect: Connect) -> None:
    server.put("/sessions/club/members", {"user_ids": ["u1", "u2"]})
    publish(server, "club", 2)
    leaver, stayer = connect("u1"), connect("u2")
    start = since(leaver.join("club"), 0)
    stayer.join("club")
    assert offsets(rejoin(leaver, "club", start)["messages"]) == [1, 2]
    server.put("/sessions/club/members", {"user_ids": ["u2"]})
    assert leaver.await_push("session_left")["session_id"] == "club"
    publish(server, "club")
    assert stayer.await_push("new_message")["offset"] == 3
    assert "new_message" not in {push["type"] for push in leaver.rest()}
    assert leaver.code("history", session_id="club") == "forbidden"
    assert leaver.code("join_session", session_id="club", since=start) == "forbidden"
    assert leaver.code("resume", streams={"session:club": start}) == "forbidden"
    assert offsets(rejoin(stayer, "club", start)["messages"]) == [1, 2, 3]


def test_a_bound_client_comes_back(server: RunningServer, connect: Connect) -> None:
    path = "/ws/chat/session/bound"
    client = connect("bound", path, sessions=["bound"])
    joined = client.push("session_joined")
    assert (joined["offset"], joined["recovered"], joined["messages"]) == (0, False, [])
    publish(server, "bound", 3)
    client.close()
    back = connect("bound", path, sessions=["bound"])
    assert back.push("session_joined")["offset"] == 3
    streams = {"session:bound": since(joined)}
    answer = back.call("resume", streams=streams)["streams"]["session:bound"]
    assert offsets(answer["messages"]) == [1, 2, 3]
    assert back.code("join_session", session_id="other") == "session_bound"


@pytest.mark.parametrize("offset", [-1, 1.5, "5", True, None, [], 2**64])
def test_offsets_that_are_none(connect: Connect, offset: Any) -> None:
    client = connect("u1", sessions="*")
    position = {"epoch": "e", "offset": offset}
    wanted: list[tuple[str, Json]] = [
        ("join_session", {"session_id": "s", "since": position}),
        ("resume", {"streams": {"session:s": position}}),
        ("history", {"session_id": "s", "before": offset}),
        ("history", {"session_id": "s", "after": offset}),
    ]
    for type_, members in wanted:
        assert client.code(type_, **members) == "bad_request"
    assert client.call("ping")["type"] == "pong"


@pytest.mark.parametrize(
    "since",
    ["", 5, [], {}, {"epoch": "e"}, {"offset": 0}, {"epoch": 5, "offset": 0},
     {"epoch": "x" * 129, "offset": 0}, {"epoch": "e", "offset": 0, "more": 1}],
)  # fmt: skip
def test_positions_that_are_none(connect: Connect, since: Any) -> None:
    client = connect("u1", sessions="*")
    codes = {"bad_request", "unknown_field"}
    assert client.code("join_session", session_id="s", since=since) in codes
    assert client.code("resume", streams={"session:s": since}) in codes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_a_position_outlives_a_restart(start: Start, connect: Connect, number: int) -> None:
    server = start(**SETTINGS)
    client = connect("u1", to=server, sessions="*")
    empty = since(client.join("quiet"))
    position = since(client.join("room"))
    publish(server, "room", 30)
    live = [client.await_push("new_message") for _ in range(30)]
    server.send_signal(number)
    server.wait()

    again = start(folder=server.folder, **SETTINGS)
    back = connect("u1", to=again, sessions="*")
    for offset in (30, 29, 0):
        joined = rejoin(back, "room", since(position, offset))
        assert (joined["recovered"], joined["offset"]) == (True, 30)
        assert joined["messages"] == live[offset:]
    publish(again, "room")
    assert back.await_push("new_message")["offset"] == 31
    quiet = rejoin(back, "quiet", empty)
    assert (quiet["recovered"], since(quiet)) == (True, empty)
    publish(again, "quiet")
    assert offsets(rejoin(back, "quiet", empty)["messages"]) == [1]
    again.stop()


@pytest.mark.long
def test_coming_and_going_under_load_misses_nothing(
    server: RunningServer, connect: Connect
) -> None:
    """Two publish without a pause; readers are cut off again and again, at any moment."""
    publishers = [connect(f"p{number}", sessions="*") for number in range(2)]
    for client in publishers:
        first = client.join("load")
    last = 400

    def publisher(client: Client) -> None:
        for _ in range(last // 2):
            client.call("send_message", session_id="load", content="x")

    def reader(name: str) -> list[int]:
        seen: list[int] = []
        while seen[-1:] != [last]:
            client = connect(name, sessions="*")
            joined = rejoin(client, "load", since(first, seen[-1] if seen else 0))
            assert joined["recovered"], joined
            seen += offsets(joined["messages"])
            for _ in range(3):
                if seen[-1:] != [last]:
                    seen.append(client.await_push("new_message")["offset"])
            client.close()
        return seen

    with ThreadPoolExecutor(5) as pool:
        reading = [pool.submit(reader, f"r{number}") for number in range(3)]
        publishing = [pool.submit(publisher, client) for client in publishers]
        for each in publishing:
            each.result()
        for found in reading:
            assert found.result() == list(range(1, last + 1))


def test_an_organizations_people_and_no_others_get_what_it_missed(
    start: Start, connect: Connect
) -> None:
    server = start(**SETTINGS)
    gone = connect("u1", to=server, organization_id="acme")
    stream, place = "organization:acme", gone.established["organization"]
    assert gone.established["organization_id"] == "acme"
    assert connect("free", to=server).established["organization"] is None
    gone.close()
    manager = token("boss", role="manager", organization_id="acme")
    news = {"type": "news", "keep": True}
    answers = [
        server.post("/broadcast", news, bearer=manager).ok,
        server.post("/broadcast", {**news, "organization_id": "acme"}).ok,
        server.post("/messages", {**news, "target": {"type": "organization", "id": "acme"}}).ok,
    ]
    assert [(each["stream"], each["offset"]) for each in answers] == [
        (stream, n) for n in (1, 2, 3)
    ]
    server.send_signal(signal.SIGKILL)
    server.wait()
    server = start(folder=server.folder, **SETTINGS)
    back = connect("u1", to=server, organization_id="acme")
    assert back.established["organization"] == {**place, "offset": 3}
    answer = back.call("resume", streams={stream: place, "broadcast": place})["streams"]
    assert [push["id"] for push in answer[stream]["messages"]] == [
        each["message_id"] for each in answers
    ]
    assert answer["broadcast"]["messages"] == []
    other = connect("u1", to=server, organization_id="other", sessions="*")
    answer = other.call("resume", streams={stream: place, "broadcast": place})["streams"]
    assert answer[stream] == {"recovered": False, "reason": "forbidden"}
    assert answer["broadcast"]["messages"] == []
    refused = other.call("resume", streams={stream: place})
    assert refused["error"]["code"] == "forbidden"
