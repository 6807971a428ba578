"""Event streams: a connection like others, its refusals, its commands, its end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.event_stream_client import (
    EventClient,
    connect_events,
    open_events,
    send_commands,
)
from tests.support.waiting import PATIENCE_S, until
from tests.support.web_server import API, Server, StartServer, token
from wsserver.realtime.connections.channel import Channel

BOUND = "/sse/chat/session/s1"


def info_of(server: Server, client: EventClient) -> Any:
    return server.system.manager.connections[client.established["connection_id"]]


@pytest.mark.gen_test
async def test_the_response_begins_at_once_and_is_not_held_back(server: Server) -> None:
    client = await connect_events(server, "u1", username="U")
    headers = client.response.headers
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-store, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert headers["connection"] == "close"
    assert "content-length" not in headers
    assert "transfer-encoding" not in headers
    assert headers["x-request-id"].startswith("req_")
    first = client.established
    assert (first["user_id"], first["session_id"], first["protocol"]) == ("u1", None, "plain")
    assert first["channel"].startswith(first["connection_id"] + ".")
    assert client.last_id  # a cursor from the first event on


@pytest.mark.gen_test
async def test_it_counts_as_a_connection_everywhere(server: Server) -> None:
    client = await connect_events(server, "u1", query={"protocol": "wsserver.v1"})
    listed = (await server.get("/connections")).json()["connections"]
    assert [(each["transport"], each["protocol"], each["endpoint"]) for each in listed] == [
        ("sse", "wsserver.v1", "chat")
    ]
    assert client.established["protocol"] == "wsserver.v1"
    stats = (await server.get("/stats")).json()
    assert (stats["total_connections"], stats["active_connections"]) == (1, 1)
    assert (await server.get("/online-users")).json()["users"][0]["user_id"] == "u1"
    ping = (await server.post("/ping/u1", timeout_s=5)).json()
    assert (ping["online"], ping["connections"][0]["alive"]) == (True, True)
    assert ping["connections"][0]["rtt_ms"] >= 0
    gone = await server.request(
        "DELETE", f"{API}/connections/{client.established['connection_id']}", bearer=token()
    )
    assert gone.json() == {"disconnected": 1}
    assert (await client.closed())[0] == 4502
    assert not server.system.manager.connections


@pytest.mark.gen_test
async def test_a_bound_one_is_joined_from_the_start(server: Server) -> None:
    client = await connect_events(server, "u1", path=BOUND, sessions=["s1"])
    joined = await client.push()
    assert (joined["type"], joined["session_id"], joined["messages"]) == (
        "session_joined",
        "s1",
        [],
    )
    assert joined["recovered"] is False
    assert "session:s1~" in client.last_id
    refused = await client.command("join_session", session_id="s2", ref=1)
    assert refused["error"]["code"] == "session_bound"


@pytest.mark.parametrize(
    ("path", "options", "status", "code"),
    [
        ("/sse/chat", {}, 401, "token_missing"),
        ("/sse/chat", {"bearer": "x.y.z"}, 401, "token_invalid"),
        ("/sse/chat", {"bearer": token("u1", exp=1)}, 401, "token_expired"),
        ("/sse/chat", {"bearer": token("u1"), "token": token("u1")}, 400, "auth_ambiguous"),
        ("/sse/chat", {"ticket": "tkt_unknown"}, 401, "token_invalid"),
        ("/sse/chat", {"bearer": token("u1"), "tickets": "x"}, 400, "bad_request"),
        ("/sse/chat", {"bearer": token("u1"), "protocol": "wsserver.v2"}, 400, "bad_request"),
        (BOUND, {"bearer": token("u1", "user")}, 403, "forbidden"),
        ("/sse/chat/session/a%20b", {"bearer": token("u1")}, 400, "bad_request"),
        ("/sse/admin/monitor", {"bearer": token("u1")}, 404, "not_found"),
        (
            "/sse/chat",
            {"bearer": token("u1"), "headers": {"Origin": "https://evil.example"}},
            403,
            "origin_forbidden",
        ),
        (
            "/sse/chat",
            {"bearer": token("u1"), "headers": {"Host": "evil.example"}},
            403,
            "host_forbidden",
        ),
    ],
)
@pytest.mark.gen_test
async def test_refusals(
    server: Server, path: str, options: dict[str, Any], status: int, code: str
) -> None:
    client = await open_events(server, path, **options)
    answer = client.response
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.gen_test
async def test_the_same_limits(start_server: StartServer) -> None:
    server = await start_server(max_connections_per_user=2, max_connections=3)
    await server.connect("u1")
    await connect_events(server, "u1")
    over = await open_events(server, bearer=token("u1"))
    assert (over.response.status, over.response.json()["code"]) == (429, "connection_limit")
    await connect_events(server, "u2")
    full = await open_events(server, bearer=token("u3"))
    assert (full.response.status, full.response.json()["code"]) == (503, "server_full")
    assert "retry-after" in full.response.headers


@pytest.mark.gen_test
async def test_a_ticket_opens_one(server: Server) -> None:
    made = await server.post("/tickets", bearer=token("u1", "user"))
    ticket = made.json()["ticket"]
    assert (await open_events(server, ticket=ticket)).response.status == 200
    assert (await open_events(server, ticket=ticket)).response.status == 401


@pytest.mark.gen_test
async def test_who_came_with_a_ticket_needs_no_token_for_commands(server: Server) -> None:
    ping = {"type": "ping"}
    made = await server.post("/tickets", bearer=token("u1", "user"))
    client = await open_events(server, ticket=made.json()["ticket"])
    channel = (await client.push("connection_established"))["channel"]
    assert (await send_commands(server, ping, channel=channel, bearer=None)).status == 200
    assert (await send_commands(server, ping, channel=channel, bearer=token("u1"))).status == 200
    for bearer, code in ((token("u2"), "not_found"), ("x", "token_invalid")):
        answer = await send_commands(server, ping, channel=channel, bearer=bearer)
        assert answer.json()["code"] == code
    wrong = channel.replace(".", ".x", 1)
    answer = await send_commands(server, ping, channel=wrong, bearer=None)
    assert (answer.status, answer.json()["code"]) == (401, "token_missing")
    key = {"Idempotency-Key": "k"}
    answer = await send_commands(server, ping, channel=channel, bearer=None, headers=key)
    assert answer.json()["code"] == "token_missing"


@pytest.mark.gen_test
async def test_head_and_options(server: Server) -> None:
    probe = await server.request("HEAD", "/sse/chat", bearer=token("u1"))
    assert (probe.status, probe.headers["content-type"]) == (200, "text/event-stream")
    assert (await server.request("HEAD", "/sse/chat")).status == 401
    preflight = {
        "Origin": f"http://127.0.0.1:{server.port}",
        "Access-Control-Request-Method": "GET",
    }
    answer = await server.request("OPTIONS", "/sse/chat", headers=preflight)
    assert answer.status == 204
    assert "X-Wsserver-Channel" in answer.headers["access-control-allow-headers"]
    assert (await server.post("/../../../sse/chat")).status in (404, 405)
    assert (await server.request("POST", "/sse/chat", bearer=token("u1"))).status == 405
    assert not server.system.manager.connections


@pytest.mark.gen_test
async def test_it_works_through_a_proxy_of_http_1_0(server: Server) -> None:
    reader, writer = await server.open()
    bearer = token("u1", "user")
    writer.write(
        f"GET /sse/chat HTTP/1.0\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Authorization: Bearer {bearer}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 OK\r\n" in head
    assert b"chunked" not in head
    assert await reader.readuntil(b"\n") == b"event: message\n"
    writer.close()


# Commands


@pytest.mark.gen_test
async def test_a_chat_by_requests(server: Server) -> None:
    sender = await connect_events(server, "u1", sessions=["s1"])
    reader = await server.connect("u2", sessions=["s1"])
    joined = await sender.command("join_session", session_id="s1", ref="j")
    assert (joined["type"], joined["ref"]) == ("session_joined", "j")
    reader.send(type="join_session", session_id="s1")
    await reader.push("session_joined")
    sent = await sender.command("send_message", session_id="s1", content="hello", ref=2)
    assert (sent["type"], sent["offset"]) == ("ack", 1)
    assert (await reader.push("new_message"))["message"]["content"] == "hello"
    mine = await sender.push("new_message")
    assert mine["message"]["content"] == "hello"
    assert f"session:s1~{mine['epoch']}~1" in sender.last_id
    answer = await sender.run([{"type": "ping", "data": 1, "ref": 1}, {"type": "pong"}, 3])
    pong, nothing, bad = answer.json()
    assert (pong["type"], pong["data"], nothing) == ("pong", 1, None)
    assert bad["error"]["code"] == "bad_request"
    assert (await sender.run({"type": "pong"})).json() is None


@pytest.mark.gen_test
async def test_replies_keep_the_order_of_the_commands(server: Server) -> None:
    client = await connect_events(server, "u1", sessions=["s1"])
    answer = await client.run(
        [
            {"type": "join_session", "session_id": "s1"},
            {"type": "send_message", "session_id": "s1", "content": "a"},
            {"type": "history", "session_id": "s1"},
            {"type": "resume", "streams": {"session:s1": {"epoch": "e", "offset": 0}}},
            {"type": "nonsense"},
            {"type": "leave_session", "session_id": "s1"},
        ]
    )
    types = [each["type"] for each in answer.json()]
    assert types == ["session_joined", "ack", "history", "resumed", "error", "session_left"]


@pytest.mark.gen_test
async def test_a_session_that_was_joined_or_left_is_in_the_cursor(server: Server) -> None:
    client = await connect_events(server, "u1", sessions=["s1"])
    await client.run({"type": "join_session", "session_id": "s1"})
    assert "session:s1~" in (await client.block())["id"]
    await client.run({"type": "leave_session", "session_id": "s1"})
    assert "session:s1~" not in (await client.block())["id"]


@pytest.mark.parametrize(
    ("commands", "status", "code"),
    [
        (b"", 400, "bad_json"),
        (b"{", 400, "bad_json"),
        (b'[{"type":"ping"}', 400, "bad_json"),
        (b"[" * 100_000, 400, "too_deep"),
        (b'{"type":"ping","data":"\\ud800"}', 400, "bad_unicode"),
        (b"3", 422, "validation_failed"),
        (b'"x"', 422, "validation_failed"),
        ([], 422, "validation_failed"),
        ([{"type": "ping"}] * 101, 422, "validation_failed"),
        ({"type": "ping", "data": "x" * 70_000}, 413, "body_too_large"),
        ([{"type": "ping"}, {"type": "ping", "data": "x" * 70_000}], 413, "body_too_large"),
        (b" " * 1_100_000, 413, "body_too_large"),
    ],
)
@pytest.mark.gen_test
async def test_bodies_that_are_refused(
    server: Server, commands: Any, status: int, code: str
) -> None:
    client = await connect_events(server)
    answer = await client.run(commands)
    assert (answer.status, answer.json()["code"]) == (status, code)


@pytest.mark.gen_test
async def test_faults_of_a_command_are_in_its_reply(server: Server) -> None:
    client = await connect_events(server)
    answer = await client.run(b'[{"type":"ping","type":"ping"},{"type":"ping","x":1},{"type":"y"}]')
    codes = [each["error"]["code"] for each in answer.json()]
    assert codes == ["bad_json", "unknown_field", "unknown_type"]
    deep = '{"type":"ping","data":' + "[" * 40 + "]" * 40 + "}"
    assert (await client.run(deep.encode())).json()["error"]["code"] == "too_deep"


@pytest.mark.gen_test
async def test_forged_channels(server: Server) -> None:
    client = await connect_events(server, "u1")
    other = await connect_events(server, "u2")
    socket = await server.connect("u1")
    ping = {"type": "ping"}
    id_ = client.established["connection_id"]
    mine = client.established["channel"]
    foreign = other.established["channel"]
    secret = mine.split(".")[1]
    cases = [
        (None, 400, "bad_request"),
        ("", 400, "bad_request"),
        ("x", 400, "bad_request"),
        ("a.b.c.d", 400, "bad_request"),
        ("a.b.!", 400, "bad_request"),
        ("a.b." + "A" * 600, 400, "bad_request"),
        ("a.b._w", 400, "bad_request"),  # not UTF-8
        (foreign, 404, "not_found"),
        (str(Channel("test", id_, "wrong")), 404, "not_found"),
        (str(Channel("elsewhere", id_, secret)), 404, "not_found"),
        (str(Channel("test", other.established["connection_id"], secret)), 404, "not_found"),
        (str(Channel("test", socket.greeting["connection_id"], "")), 400, "bad_request"),
        (str(Channel("test", socket.greeting["connection_id"], "x")), 404, "not_found"),
    ]
    for channel, status, code in cases:
        answer = await send_commands(server, ping, channel=channel, bearer=client.bearer)
        assert (answer.status, answer.json()["code"]) == (status, code), channel
        assert secret not in answer.body.decode()
    twice = await send_commands(
        server, ping, channel=f"{mine}\r\nX-Wsserver-Channel: {mine}", bearer=client.bearer
    )
    assert twice.status == 400
    assert (await send_commands(server, ping, channel=mine, bearer=None)).status == 401
    assert (await client.run(ping)).status == 200
    await client.close()
    await until(lambda: id_ not in server.system.manager.connections)
    assert (await client.run(ping)).json()["code"] == "not_found"


@pytest.mark.gen_test
async def test_the_rate_limit_is_that_of_the_connection(start_server: StartServer) -> None:
    server = await start_server(message_rate=1, message_burst=3)
    client = await connect_events(server)
    answer = await client.run([{"type": "ping", "ref": ref} for ref in range(5)])
    codes = [each.get("error", {}).get("code") for each in answer.json()]
    assert codes == [None, None, None, "rate_limited", "rate_limited"]
    assert answer.json()[4]["ref"] == 4
    flood = await client.run([{"type": "ping"}] * 100)
    assert flood.json()[-1] is None or flood.json()[-1]["error"]["code"] == "rate_limited"
    assert (await client.closed())[0] == 4029


@pytest.mark.gen_test
async def test_an_idempotency_key_runs_commands_once(server: Server) -> None:
    client = await connect_events(server, "u1", sessions=["s1"])
    await client.command("join_session", session_id="s1")
    send = {"type": "send_message", "session_id": "s1", "content": "once"}
    answers = [await client.run(send, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    other = await client.run({**send, "content": "twice"}, headers={"Idempotency-Key": "k1"})
    assert other.json()["code"] == "idempotency_conflict"


@pytest.mark.gen_test
async def test_secrets_are_not_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    bearer = token("u1", "user")
    client = await open_events(server, token=bearer)
    established = await client.push("connection_established")
    secret = established["channel"].split(".")[1]
    await send_commands(
        server, {"type": "ping"}, channel=established["channel"] + "x", bearer=bearer
    )
    assert bearer not in caplog.text
    assert secret not in caplog.text


# Its life


@pytest.mark.gen_test
async def test_pings_are_events_and_writing_is_life(start_server: StartServer) -> None:
    server = await start_server(heartbeat_interval_s=0.05, heartbeat_timeout_s=0.1)
    client = await connect_events(server)
    pings: list[Any] = []
    while len(pings) < 8:  # several times the timeout
        event = await client.event()
        if event.name == "ping":
            pings.append(event.data)
    assert pings[0]["type"] == "ping"
    assert pings[0]["id"] != pings[1]["id"]
    view = info_of(server, client).view()
    assert view["last_pong"] == view["last_ping"] > view["connected_at"]


@pytest.mark.gen_test
async def test_a_full_user_can_still_come_back(start_server: StartServer) -> None:
    # Whatever is pinged to make room answers by being writable.
    server = await start_server(max_connections_per_user=1)
    first = await connect_events(server)
    second = await open_events(server, bearer=token("u1", "user"))
    assert second.response.status == 429
    await first.close()
    await until(lambda: not server.system.manager.connections)
    await connect_events(server)


@pytest.mark.gen_test
async def test_revocation_and_draining_reach_it(server: Server) -> None:
    revoked = await connect_events(server, "u1")
    staying = await connect_events(server, "u2")
    await server.post("/tokens/revoke", user_id="u1")
    assert (await revoked.closed())[0] == 4505
    server.system.manager.drain()
    draining = await staying.push("server_draining")
    retry = await staying.block()
    assert int(retry["retry"]) == draining["reconnect_after_ms"]
    code, reason = await staying.closed()
    assert code == 1012
    assert str(draining["reconnect_after_ms"]) in reason


@pytest.mark.gen_test
async def test_a_plain_one_has_its_inbox_delivered_by_writing(server: Server) -> None:
    sent = await server.post("/users/u1/messages", type="hint", data=1, keep=True)
    plain = await connect_events(server, "u1")
    assert plain.established["inbox"]["pending"] == 1
    assert (await plain.push("hint"))["data"] == 1
    async with asyncio.timeout(PATIENCE_S):
        trace: dict[str, Any] = {}
        while trace.get("summary", {}).get("delivered") != 1:
            trace = (await server.get(f"/messages/{sent.json()['message_id']}")).json()
    await plain.close()
    again = await connect_events(server, "u1")
    assert again.established["inbox"]["pending"] == 0
    acknowledging = await connect_events(server, "u2", query={"protocol": "wsserver.v1"})
    await server.post("/users/u2/messages", type="hint", data=2, keep=True)
    push = await acknowledging.push("hint")
    assert (await acknowledging.command("ack", ids=[push["id"]]))["type"] == "ack"


@pytest.mark.gen_test
async def test_it_costs_little_memory(server: Server) -> None:
    """Without the socket: what the server keeps for one idle stream, its user included."""
    import gc
    import tracemalloc

    count = 200
    await connect_events(server, "warm")
    gc.collect()
    tracemalloc.start()
    try:
        clients = [await connect_events(server, f"u{number}") for number in range(count)]
        for client in clients:  # what the test itself holds is not the server's
            client.response = client.established = None  # type: ignore[assignment]
        gc.collect()
        of_server = [
            trace
            for trace in tracemalloc.take_snapshot().statistics("filename")
            if "/wsserver/" in trace.traceback[0].filename
        ]
    finally:
        tracemalloc.stop()
    assert sum(each.size for each in of_server) / count < 4096


@pytest.mark.gen_test
async def test_the_address_is_documented(server: Server) -> None:
    document = json.loads((await server.request("GET", "/api/v1/openapi.json")).body)
    assert [each["path"] for each in document["x-event-streams"]] == [
        "/sse/chat",
        "/sse/chat/session/{session_id}",
    ]
    operation = document["paths"]["/sse/commands"]["post"]
    names = [each["name"] for each in operation["parameters"] if each["in"] == "header"]
    assert "X-Wsserver-Channel" in names
    page = (await server.request("GET", "/api/v1/docs")).body.decode()
    assert "/sse/chat" in page
