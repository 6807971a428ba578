"""``/users/{user_id}/chaos``: disturbed connections of one user, and undisturbed ones of others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_response import Response
from tests.support.waiting import until
from tests.support.web_server import API, Server, Socket, StartServer, token


async def disturb(server: Server, user_id: str, **body: Any) -> Response:
    path = f"{API}/users/{user_id}/chaos"
    return await server.request("PUT", path, bearer=token(), **body)


async def calm(server: Server, user_id: str) -> Response:
    return await server.request("DELETE", f"{API}/users/{user_id}/chaos", bearer=token())


async def ping(socket: Socket, ref: str) -> str:
    socket.send(type="ping", ref=ref)
    answer = await socket.push("pong")
    return str(answer["ref"])


@pytest.mark.gen_test
async def test_messages_of_one_user_are_lost_and_those_of_others_are_not(server: Server) -> None:
    first, other = await server.connect("u1"), await server.connect("u2")
    answer = await disturb(server, "u1", drop=1)
    assert (answer.status, answer.json()["connected"], answer.json()["drop"]) == (200, 1, 1.0)
    late = await server.connect("u1")
    await server.post("/broadcast", type="hint", data=1)
    assert (await other.push("hint"))["data"] == 1
    assert await ping(other, "o") == "o"
    for socket in (first, late):
        socket.send(type="ping", ref="lost")
    (listed,) = (await server.get("/chaos")).json()["disturbed"]
    assert (listed["user_id"], listed["direction"]) == ("u1", "both")
    # Lost in this direction alone: the connection stays as it is.
    assert (await disturb(server, "u1", drop=1, direction="from_client")).status == 200
    await server.post("/users/u1/messages", type="heard", data=2)
    assert (await first.push("heard"))["data"] == 2
    assert (await calm(server, "u1")).json() == {"user_id": "u1", "ended": True}
    for socket in (first, late):
        assert await ping(socket, "found") == "found"
    assert (await calm(server, "u1")).code == "not_found"
    for connection in server.system.manager.connections.values():
        assert server.context.poller.tap_of(connection.websocket) is None


@pytest.mark.gen_test
async def test_what_is_delayed_comes_in_its_order(server: Server) -> None:
    socket = await server.connect("u1")
    await disturb(server, "u1", delay_ms=20, jitter_ms=20)
    for number in range(5):
        socket.send(type="ping", ref=number)
    assert [(await socket.push("pong"))["ref"] for _ in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.gen_test
async def test_connections_are_cut_once_or_again_and_again(server: Server) -> None:
    socket, other = await server.connect("u1"), await server.connect("u2")
    answer = (await disturb(server, "u1", cut_now=True)).json()
    assert (answer["connected"], answer["cut_now"]) == (1, True)
    connections = server.system.manager.connections
    await until(lambda: len(connections) == 1)
    assert await socket.reader.read() == b""
    assert (await server.get("/chaos")).json()["disturbed"] == []
    await disturb(server, "u1", cut_every_s=0.05)
    for _ in range(2):
        again = await server.connect("u1")
        assert await again.reader.read() == b""
    assert await ping(other, "o") == "o"


@pytest.mark.gen_test
async def test_a_disturbance_ends_by_itself(server: Server) -> None:
    socket = await server.connect("u1")
    await disturb(server, "u1", delay_ms=60_000, duration_s=1)
    socket.send(type="ping", ref=1)
    assert (await socket.push("pong"))["ref"] == 1


@pytest.mark.gen_test
async def test_what_disturbs_nothing_is_refused(server: Server) -> None:
    for body in ({"duration_s": 60}, {"drop": 1.5}, {"delay_ms": -1}, {"direction": "up"}):
        assert (await disturb(server, "u1", **body)).code == "validation_failed", body


@pytest.mark.gen_test
async def test_it_is_off_unless_it_is_switched_on(start_server: StartServer) -> None:
    server = await start_server(chaos=False)
    assert (await disturb(server, "u1", drop=1)).code == "chaos_disabled"
    assert (await calm(server, "u1")).code == "chaos_disabled"
    assert (await server.get("/chaos")).code == "chaos_disabled"


@pytest.mark.gen_test
async def test_a_confined_role_does_not_touch_what_is_not_confined(
    start_server: StartServer,
) -> None:
    server = await start_server(permissions={"manager": ("connections:disconnect",)}, chaos=True)
    manager = token("boss", "manager", organization_id="o1")
    path = "/api/v1/websocket/users/u1/chaos"
    await server.connect("u1", organization_id="o1")
    await disturb(server, "u1", delay_ms=1)
    for method, body in ("PUT", b'{"drop":0.5}'), ("DELETE", b""):
        refused = await server.request(method, path, body or None, bearer=manager)
        assert (refused.status, refused.code) == (403, "forbidden")
    (running,) = (await server.get("/chaos")).json()["disturbed"]
    assert (running["delay_ms"], running["drop"]) == (1, 0)
    assert (await calm(server, "u1")).status == 200
    own = await server.request("PUT", path, b'{"drop":0.5}', bearer=manager)
    assert own.status == 200
    assert (await server.request("DELETE", path, bearer=manager)).status == 200


@pytest.mark.gen_test
async def test_it_is_in_the_audit_trail(server: Server) -> None:
    await disturb(server, "u1", drop=0.5)
    await calm(server, "u1")
    entries = (await server.get("/audit")).json()["entries"]
    assert [(each["action"], each["target"]) for each in entries] == [
        ("chaos_end", "user:u1"),
        ("chaos", "user:u1"),
    ]
    assert entries[1]["detail"]["drop"] == 0.5


@pytest.mark.gen_test
async def test_a_recording_has_what_came_through(server: Server) -> None:
    await server.connect("u1")
    recording_id = (await server.post("/recordings", user_id="u1")).json()["recording_id"]
    await disturb(server, "u1", drop=1, direction="to_client")
    await server.post("/users/u1/messages", type="lost", data=1)
    await calm(server, "u1")
    await server.post("/users/u1/messages", type="came", data=1)
    found = (await server.get(f"/recordings/{recording_id}")).json()
    assert [event["type"] for event in found["events"]] == ["came"]
