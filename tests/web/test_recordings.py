"""``/recordings``: what goes over the wires of a user or a session."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.event_stream_client import connect_events, send_commands
from tests.support.waiting import until
from tests.support.web_server import API, Server, StartServer, token
from wsserver.realtime.observability.events import RECORDING_ENDED
from wsserver.realtime.operations import recording_buffer, recordings


async def start(server: Server, **body: Any) -> str:
    answer = await server.post("/recordings", **body)
    assert answer.status == 200, answer
    found: str = answer.json()["recording_id"]
    return found


async def read(server: Server, recording_id: str) -> dict[str, Any]:
    answer = await server.get(f"/recordings/{recording_id}?limit=1000")
    assert answer.status == 200
    found: dict[str, Any] = answer.json()
    return found


def story(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(event["dir"], event["type"]) for event in found["events"]]


@pytest.mark.gen_test
async def test_a_user_is_recorded_on_present_and_new_connections(server: Server) -> None:
    present = await server.connect("u1", sessions=["s1"])
    other = await server.connect("u2")
    recording_id = await start(server, user_id="u1")
    present.send(type="join_session", session_id="s1", ref=1)
    await present.push("session_joined")
    present.send(
        type="send_message", session_id="s1", content="Hello", client_message_id="c1", ref=2
    )
    await present.push("ack")
    other.send(type="ping", ref=1)
    await other.push("pong")
    late = await server.connect("u1")
    await late.close()
    connections = server.system.manager.connections
    await until(lambda: len(connections) == 2)
    found = await read(server, recording_id)
    first, second = (each["connection_id"] for each in found["connections"])
    assert first == present.greeting["connection_id"]
    of_first = [event for event in found["events"] if event["connection"] == first]
    assert [(each["dir"], each["type"]) for each in of_first[:2]] == [
        ("out", "join_session"),
        ("in", "session_joined"),
    ]
    (said,) = [each["frame"] for each in of_first if each["type"] == "send_message"]
    assert (said["content"], said["client_message_id"]) == ("Xxxxx", "c1")
    (got,) = [each["frame"] for each in of_first if each["type"] == "new_message"]
    assert got["message"]["content"] == "Xxxxx"
    assert got["offset"] == 1
    of_second = [event for event in found["events"] if event["connection"] == second]
    assert [each["type"] for each in of_second[:2]] == ["connect", "connection_established"]
    assert of_second[-1]["type"] == "close"
    assert "Hello" not in str(found)
    assert (found["is_running"], found["is_full"]) == (True, False)


@pytest.mark.gen_test
async def test_contents_are_recorded_where_they_are_wanted(server: Server) -> None:
    recording_id = await start(server, user_id="u1", contents=True)
    await server.connect("u1")
    await server.post("/users/u1/messages", type="hint", data={"text": "Hello"})
    found = await read(server, recording_id)
    assert found["events"][-1]["frame"]["data"] == {"text": "Hello"}


@pytest.mark.gen_test
async def test_a_session_is_recorded_without_what_its_members_do_elsewhere(
    server: Server,
) -> None:
    member = await server.connect("u1", sessions=["s1", "s2"])
    for number, session_id in enumerate(("s1", "s2")):
        member.send(type="join_session", session_id=session_id, ref=number)
        await member.push("session_joined")
    recording_id = await start(server, session_id="s1")
    for number, session_id in enumerate(("s2", "s1")):
        member.send(type="typing", session_id=session_id, is_typing=True, ref=f"t{number}")
        await member.push("ack")
    joining = await server.connect("u2", sessions=["s1"])
    joining.send(type="join_session", session_id="s1", ref=1)
    await joining.push("session_joined")
    found = await read(server, recording_id)
    assert {each["user_id"] for each in found["connections"]} == {"u1", "u2"}
    typing = [each for each in found["events"] if each["type"] in ("typing", "ack")]
    assert [(each["dir"], each["frame"]["ref"]) for each in typing] == [("out", "t1"), ("in", "t1")]


@pytest.mark.gen_test
async def test_an_event_stream_is_recorded_with_its_commands(server: Server) -> None:
    recording_id = await start(server, user_id="u1")
    client = await connect_events(server, "u1", sessions=["s1"])
    await send_commands(
        server,
        {"type": "ping", "ref": 1},
        channel=client.established["channel"],
        bearer=token("u1", "user", sessions=["s1"]),
    )
    found = await read(server, recording_id)
    assert found["connections"][0]["transport"] == "sse"
    assert story(found)[:2] == [("client", "connect"), ("in", "connection_established")]
    assert ("out", "ping") in story(found)
    assert ("in", "pong") in story(found)
    assert client.established["channel"] not in str(found)


@pytest.mark.gen_test
async def test_events_are_read_from_a_cursor_on(server: Server) -> None:
    recording_id = await start(server, user_id="u1")
    await server.connect("u1")
    whole = await read(server, recording_id)
    first = (await server.get(f"/recordings/{recording_id}?limit=1")).json()
    assert (first["events"], first["has_more"]) == (whole["events"][:1], True)
    path = f"/recordings/{recording_id}?limit=1000&cursor={first['next_cursor']}"
    rest = (await server.get(path)).json()
    assert rest["events"] == whole["events"][1:]
    assert not rest["has_more"]
    assert (await server.get(f"/recordings/{recording_id}?cursor=x")).status == 400


@pytest.mark.gen_test
async def test_a_recording_ends_and_leaves_nothing_behind(server: Server) -> None:
    client = await server.connect("u1")
    started = [await start(server, user_id="u1"), await start(server, user_id="u1")]
    listed = (await server.get("/recordings")).json()["recordings"]
    assert [each["recording_id"] for each in listed] == started
    transport = server.system.manager.connections[client.greeting["connection_id"]].websocket
    poller = server.context.poller
    for number, recording_id in enumerate(started):
        assert poller.tap_of(transport) is not None, number
        answer = await server.request("DELETE", f"/api/v1/websocket/recordings/{recording_id}",
                                      bearer=token())  # fmt: skip
        assert answer.json() == {"recording_id": recording_id, "stopped": True}
    assert poller.tap_of(transport) is None
    assert (await server.get(f"/recordings/{started[0]}")).code == "not_found"
    assert (await server.get("/recordings")).json()["recordings"] == []
    client.send(type="ping", ref=1)
    await client.push("pong")
    entries = (await server.get("/audit")).json()["entries"]
    assert [each["action"] for each in entries] == ["record_stop"] * 2 + ["record"] * 2
    assert entries[-1]["target"] == "user:u1"


@pytest.mark.gen_test
async def test_a_recording_that_has_ended_by_itself_can_be_read_and_followed(
    server: Server,
) -> None:
    ended: list[str] = []
    server.context.manager.events.add_event_handler(
        RECORDING_ENDED, lambda event: ended.append(event["recording_id"])
    )
    first = await start(server, user_id="u1", duration_s=1)
    await server.connect("u1")
    poller = server.context.poller
    (connection,) = server.system.manager.connections.values()
    await until(lambda: poller.tap_of(connection.websocket) is None)
    found = await read(server, first)
    assert not found["is_running"]
    assert story(found)[0] == ("client", "connect")
    second = await start(server, user_id="u1")
    await server.connect("u1")
    assert len((await read(server, second))["connections"]) == 2
    for recording_id in first, second:
        path = f"{API}/recordings/{recording_id}"
        assert (await server.request("DELETE", path, bearer=token())).status == 200
    assert ended == [first, second], "each once, by itself or by request"


@pytest.mark.gen_test
@pytest.mark.parametrize("limit", ["HELD_LIMIT", "HELD_LIMIT_BYTES"])
async def test_what_a_node_holds_is_bounded(
    server: Server, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    most = {"HELD_LIMIT": 1, "HELD_LIMIT_BYTES": recording_buffer.BYTES_LIMIT}[limit]
    monkeypatch.setattr(recordings, limit, most)
    first = await start(server, user_id="u1")
    refused = await server.post("/recordings", user_id="u1")
    assert (refused.status, refused.code) == (429, "recording_limit")
    path = f"{API}/recordings/{first}"
    assert (await server.request("DELETE", path, bearer=token())).status == 200
    await start(server, user_id="u1")


@pytest.mark.gen_test
async def test_what_cannot_be_recorded_is_refused(server: Server) -> None:
    for body in (
        {"duration_s": 60},
        {"user_id": "u1", "session_id": "s1"},
        {"user_id": "u1", "duration_s": 0.5},
        {"user_id": "u1", "duration_s": 3601},
    ):
        assert (await server.post("/recordings", **body)).code == "validation_failed", body
    blind = token(permissions=["connections:record"])
    wanted = {"user_id": "u1", "contents": True}
    assert (await server.post("/recordings", bearer=blind, **wanted)).code == "forbidden"
    with_contents = await start(server, **wanted)
    path = f"/recordings/{with_contents}"
    assert (await server.get(path, bearer=blind)).code == "forbidden"
    assert (await server.get(path)).status == 200
    for _ in range(19):
        await start(server, user_id="u1")
    assert (await server.post("/recordings", user_id="u1")).code == "recording_limit"


@pytest.mark.gen_test
async def test_a_confined_role_records_its_organization_alone(start_server: StartServer) -> None:
    server = await start_server(permissions={"manager": ("connections:record",)})
    manager = token("boss", "manager", organization_id="o1")
    await server.connect("mine", organization_id="o1", sessions=["s1"])
    mine = await server.post("/recordings", bearer=manager, user_id="mine")
    assert (mine.status, mine.json()["connected"]) == (200, 1)
    theirs = await start(server, user_id="theirs")
    for path in (f"/recordings/{theirs}", "/recordings/rec_unknown"):
        assert (await server.get(path, bearer=manager)).code == "not_found"
    listed = (await server.get("/recordings", bearer=manager)).json()["recordings"]
    assert [each["user_id"] for each in listed] == ["mine"]
