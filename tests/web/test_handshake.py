"""Handshakes of the WebSocket endpoints: accepted ones, and how refusals are reported."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import weakref

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.typing import Subprotocol

from tests.support.waiting import PATIENCE_S
from tests.support.web_server import API, KEY, Server, Socket, StartServer, token
from wsserver.errors import MEANINGS
from wsserver.realtime.connections import connection_limit
from wsserver.web.sockets.sockets import SocketHandler

S1 = "/ws/chat/session/s1"
V1 = Subprotocol("wsserver.v1")
MONITOR = "/ws/admin/monitor"


# Coming in


@pytest.mark.gen_test
async def test_all_three_endpoints_let_in(server: Server) -> None:
    for path, bearer, endpoint in (
        ("/ws/chat", token("u1", "user"), "chat"),
        (S1, token("u1", "user", sessions=["s1"]), "session"),
        (MONITOR, token("a1", "admin"), "monitor"),
    ):
        socket = await server.upgrade(path, bearer=bearer)
        assert socket.response.status == 101
        assert socket.response.headers["sec-websocket-protocol"] == "wsserver.v1"
        greeting = await socket.push("connection_established")
        view = (await server.get(f"/connections/{greeting['connection_id']}")).json()
        assert view["endpoint"] == endpoint
        assert view["protocol"] == greeting["protocol"] == "wsserver.v1"
        assert view["remote_ip"] == "127.0.0.1"


@pytest.mark.gen_test
async def test_the_four_ways_to_bring_a_token(server: Server) -> None:
    good = token("u1", "user")
    ticket = (await server.post("/tickets", bearer=good)).json()["ticket"]
    for options in (
        {"bearer": good},
        {"protocols": f"wsserver.v1, bearer.{good}"},
        {"path": f"/ws/chat?ticket={ticket}"},
        {"path": f"/ws/chat?token={good}"},
    ):
        socket = await server.upgrade(**options)  # type: ignore[arg-type]
        assert socket.response.status == 101, options
        assert socket.response.headers["sec-websocket-protocol"] == "wsserver.v1"
        assert (await socket.push())["user_id"] == "u1"


@pytest.mark.gen_test
async def test_the_token_is_never_echoed(server: Server) -> None:
    good = token("u1", "user")
    plain = await server.upgrade(protocols=f"bearer.{good}")
    assert plain.response.status == 101
    assert "sec-websocket-protocol" not in plain.response.headers
    assert (await plain.push())["protocol"] == "plain"
    assert good not in str(plain.response)


@pytest.mark.gen_test
async def test_a_client_without_the_subprotocol_is_plain(server: Server) -> None:
    for protocols in ("", "graphql-ws"):
        socket = await server.upgrade(bearer=token("u1", "user"), protocols=protocols)
        assert socket.response.status == 101
        assert "sec-websocket-protocol" not in socket.response.headers
        assert (await socket.push())["protocol"] == "plain"


@pytest.mark.gen_test
async def test_frames_sent_with_the_request_are_not_lost(server: Server) -> None:
    mask = bytes(4)
    text = b'{"type":"ping","ref":"early"}'
    frame = bytes((0x81, 0x80 | len(text))) + mask + text
    socket = await server.upgrade(bearer=token("u1", "user"), after=frame)
    assert (await socket.push("pong"))["ref"] == "early"


@pytest.mark.gen_test
async def test_a_real_client_library_comes_in_and_is_refused(server: Server) -> None:
    url = f"ws://127.0.0.1:{server.port}/ws/chat"
    headers = {"Authorization": f"Bearer {token('u1', 'user')}"}
    async with connect(url, additional_headers=headers, subprotocols=[V1]) as client:
        assert json.loads(await client.recv())["type"] == "connection_established"
    async with connect(url, subprotocols=[V1]) as client:
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4500, "Token missing")
    with pytest.raises(InvalidStatus) as refusal:
        await connect(url)
    assert refusal.value.response.status_code == 401


# Refusals


async def refuse_both_ways(
    server: Server, code: str, path: str = "/ws/chat", **options: object
) -> None:
    """The same refusal, as a v1 client, a plain client and a plain GET see it."""
    meaning = MEANINGS[code]
    v1 = await server.upgrade(path, **options)  # type: ignore[arg-type]
    assert v1.response.status == 101, (code, v1.response)
    assert v1.response.headers["sec-websocket-protocol"] == "wsserver.v1"
    closed, reason = await v1.closed()
    assert closed == meaning.close, (code, closed, reason)
    assert 0 < len(reason.encode()) <= 123
    assert await v1.reader.read() == b""
    plain = await server.upgrade(path, **{"protocols": "", **options})  # type: ignore[arg-type]
    assert (plain.response.status, plain.response.code) == (meaning.status, code)
    probe = await server.request("GET", path, **options)  # type: ignore[arg-type]
    assert (probe.status, probe.code) == (meaning.status, code)


@pytest.mark.gen_test
async def test_the_refusal_matrix(server: Server) -> None:
    user = token("u1", "user")
    await refuse_both_ways(server, "token_missing")
    await refuse_both_ways(server, "token_invalid", bearer="nonsense")
    await refuse_both_ways(server, "token_invalid", "/ws/chat?ticket=unknown")
    await refuse_both_ways(server, "token_expired", bearer=token(exp=1_000_000_000))
    await refuse_both_ways(server, "auth_ambiguous", f"/ws/chat?token={user}", bearer=user)
    await refuse_both_ways(server, "auth_ambiguous", f"/ws/chat?token={user}&ticket=x")
    await refuse_both_ways(server, "auth_ambiguous", f"/ws/chat?token={user}&token={user}")
    await refuse_both_ways(server, "bad_request", "/ws/chat?colour=red", bearer=user)
    await refuse_both_ways(server, "bad_request", "/ws/chat?ticket=%ff", bearer=user)
    await refuse_both_ways(server, "bad_request", "/ws/chat?ticket=%zz", bearer=user)
    await refuse_both_ways(server, "forbidden", S1, bearer=user)
    await refuse_both_ways(server, "forbidden", MONITOR, bearer=user)
    manager = token("m1", "manager", organization_id="o1")
    await refuse_both_ways(server, "forbidden", MONITOR, bearer=manager)
    await server.post("/tokens/revoke", user_id="u9")
    await refuse_both_ways(server, "token_revoked", bearer=token("u9", "user"))


@pytest.mark.parametrize(
    "id", ["%00", "..", "%2e", "..%2f", "x" * 300, "%D9%A1%D9%A2", "a%0d%0ab", "%ff", "a%20b", ""]
)
@pytest.mark.gen_test
async def test_a_malformed_session_id(server: Server, id: str) -> None:
    path = f"/ws/chat/session/{id}"
    bearer = token("u1", "user", sessions="*")
    probe = await server.request("GET", path, bearer=bearer)
    assert (probe.status, probe.code) == (400, "bad_request")
    if id != "%ff":  # not even a path: HTTP's own error
        await refuse_both_ways(server, "bad_request", path, bearer=bearer)


@pytest.mark.gen_test
async def test_a_session_that_exists_looks_like_one_that_does_not(server: Server) -> None:
    owner = await server.upgrade(S1, bearer=token("owner", "user", sessions=["s1"]))
    assert owner.response.status == 101
    answers = []
    for session in ("s1", "s2"):
        path = f"/ws/chat/session/{session}"
        probe = await server.request("GET", path, bearer=token("u1", "user"))
        answers.append((probe.status, probe.json()["detail"].replace(session, "ID")))
    assert answers[0] == answers[1]
    assert answers[0][0] == 403


@pytest.mark.gen_test
async def test_a_member_and_sessions_any_come_in(server: Server) -> None:
    members = f"{API}/sessions/s1/members"
    await server.request("PUT", members, bearer=token(), user_ids=["u1"])
    for bearer in (token("u1", "user"), token("a", "admin"), token("u2", "user", sessions="*")):
        socket = await server.upgrade(S1, bearer=bearer)
        assert (await socket.push("session_joined"))["session_id"] == "s1"


@pytest.mark.gen_test
async def test_the_sixth_connection_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # These do not answer pings; so that none is asked, however slow the test is.
    monkeypatch.setattr(connection_limit, "ANSWER_S", 1e6)
    bearer = token("u1", "user")
    for _ in range(5):
        assert (await server.upgrade(bearer=bearer)).response.status == 101
    await refuse_both_ways(server, "connection_limit", bearer=bearer)
    assert (await server.get("/connections")).json()["total"] == 5


@pytest.mark.parametrize("policy", ["reject", "evict_oldest"])
@pytest.mark.gen_test
async def test_a_connection_that_does_not_answer_gives_way_to_the_sixth(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    monkeypatch.setattr(connection_limit, "ANSWER_S", 0.0)  # ask even who was heard of just now
    monkeypatch.setattr(connection_limit, "SLICE_S", 0.3)
    server = await start_server(connection_limit_policy=policy, max_connections_per_user=2)
    bearer = token("u1", "user")
    url = f"ws://127.0.0.1:{server.port}/ws/chat"
    # A library answers pings by itself, whatever its program is busy with.
    async with connect(url, additional_headers={"Authorization": f"Bearer {bearer}"}) as alive:
        dead = await server.upgrade(bearer=bearer)
        ticket = (await server.post("/tickets", bearer=bearer)).json()["ticket"]
        new = await server.upgrade(f"/ws/chat?ticket={ticket}")
        assert new.response.status == 101
        assert (await new.push())["user_id"] == "u1"
        assert (await dead.closed())[0] == 4001
        await (await alive.ping())


@pytest.mark.gen_test
async def test_the_oldest_is_evicted_under_the_other_policy(start_server: StartServer) -> None:
    server = await start_server(connection_limit_policy="evict_oldest", max_connections_per_user=2)
    sockets = [await server.connect("u1") for _ in range(3)]
    assert (await sockets[0].closed())[0] == 4504


@pytest.mark.gen_test
async def test_a_full_and_a_draining_server_say_when_to_come_back(
    start_server: StartServer,
) -> None:
    server = await start_server(max_connections=1)
    await server.connect("u1")
    await refuse_both_ways(server, "server_full", bearer=token("u2", "user"))
    probe = await server.request("GET", "/ws/chat", bearer=token("u2", "user"))
    assert int(probe.headers["retry-after"]) > 0
    server.system.manager.drain()
    await refuse_both_ways(server, "draining", bearer=token("u2", "user"))
    probe = await server.request("GET", "/ws/chat", bearer=token("u2", "user"))
    assert int(probe.headers["retry-after"]) > 0
    health = await server.request("GET", f"{API}/health")
    assert (health.status, health.json()["status"]) == (503, "draining")
    refused = await server.request(
        "POST", f"{API}/broadcast", bearer=token("a", "admin"), type="too.late"
    )
    assert (refused.status, refused.json()["code"]) == (503, "draining")
    assert int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    "origin",
    ["null", "https://app.example.com.evil", "http://app.example.com", "https://evil.example"],
)
@pytest.mark.gen_test
async def test_a_foreign_page_gets_403_whatever_it_offers(
    start_server: StartServer, origin: str
) -> None:
    server = await start_server(allowed_origins=("https://app.example.com",))
    for extra in ({}, {"Sec-Fetch-Site": "same-origin"}):
        socket = await server.upgrade(
            bearer=token("u1", "user"), headers={"Origin": origin, **extra}
        )
        assert (socket.response.status, socket.response.code) == (403, "origin_forbidden")
    good = await server.upgrade(
        bearer=token("u1", "user"), headers={"Origin": "https://app.example.com"}
    )
    assert good.response.status == 101


@pytest.mark.gen_test
async def test_an_origin_equal_to_a_foreign_host_gains_nothing(server: Server) -> None:
    headers = {"Host": "evil.example", "Origin": "http://evil.example"}
    socket = await server.upgrade(bearer=token("u1", "user"), headers=headers)
    assert (socket.response.status, socket.response.code) == (403, "host_forbidden")


@pytest.mark.gen_test
async def test_our_own_page_comes_in(server: Server) -> None:
    headers = {"Origin": f"http://127.0.0.1:{server.port}"}
    assert (await server.upgrade(bearer=token("u1"), headers=headers)).response.status == 101


@pytest.mark.gen_test
async def test_the_query_token_can_be_switched_off(start_server: StartServer) -> None:
    server = await start_server(allow_query_token=False)
    good = token("u1", "user")
    await refuse_both_ways(server, "token_missing", f"/ws/chat?token={good}")
    other = await server.upgrade(f"/ws/chat?token={good}", bearer=good)
    assert other.response.status == 101


# Bad handshakes


@pytest.mark.gen_test
async def test_a_probe_that_would_come_in_gets_426(server: Server) -> None:
    for method in ("GET", "HEAD"):
        probe = await server.request(method, "/ws/chat", bearer=token("u1", "user"))
        assert probe.status == 426
        assert probe.headers["upgrade"] == "websocket"
        assert probe.headers["sec-websocket-version"] == "13"
    assert (await server.get("/connections")).json()["total"] == 0


@pytest.mark.gen_test
async def test_a_probe_uses_no_ticket_up(server: Server) -> None:
    ticket = (await server.post("/tickets", bearer=token("u1", "user"))).json()["ticket"]
    path = f"/ws/chat?ticket={ticket}"
    assert (await server.request("GET", path)).code == "upgrade_required"
    assert (await server.upgrade(path)).response.status == 101
    await refuse_both_ways(server, "token_invalid", path)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-WebSocket-Key": ""}, 400),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Key": f"{KEY}, {KEY}"}, 400),
        ({"Sec-WebSocket-Version": ""}, 426),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Version": "13, 8"}, 426),
        ({"Connection": "keep-alive"}, 400),
        ({"Upgrade": "h2c"}, 426),
        ({"Upgrade": ""}, 426),
    ],
    ids=str,
)
@pytest.mark.gen_test
async def test_a_bad_handshake(server: Server, headers: dict[str, str], status: int) -> None:
    socket = await server.upgrade(bearer=token("u1", "user"), headers=headers)
    assert socket.response.status == status
    assert socket.response.code == {400: "bad_request", 426: "upgrade_required"}[status]
    if status == 426:
        assert socket.response.headers["sec-websocket-version"] == "13"
        assert socket.response.headers["upgrade"] == "websocket"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.gen_test
async def test_only_get_opens_a_websocket(server: Server, method: str) -> None:
    socket = await server.upgrade(bearer=token("u1", "user"), method=method)
    assert (socket.response.status, socket.response.code) == (405, "method_not_allowed")
    assert socket.response.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.gen_test
async def test_http_1_0_opens_no_websocket(server: Server) -> None:
    head = (
        "GET /ws/chat HTTP/1.0\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
        f"Authorization: Bearer {token('u1', 'user')}\r\n\r\n"
    )
    assert (await server.raw(head.encode())).status == 400


# What is left behind


@pytest.mark.gen_test
async def test_no_http_object_outlives_the_handshake(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers: list[weakref.ref[object]] = []
    requests: list[weakref.ref[object]] = []
    respond = SocketHandler.respond

    async def watched(self: SocketHandler) -> None:
        handlers.append(weakref.ref(self))
        requests.append(weakref.ref(self.request.connection))
        await respond(self)

    monkeypatch.setattr(SocketHandler, "respond", watched)
    unusual = {"X-Request-ID": "r1"}  # left to Tornado by the fast path
    sockets = [
        await server.upgrade(bearer=token(f"u{number}", "user"), headers=unusual)
        for number in range(3)
    ]
    refused = await server.upgrade(bearer="nonsense")
    await refused.closed()
    for socket in sockets:
        socket.send(type="ping", ref=1)
        await socket.push("pong")
    gc.collect()
    assert len(handlers) == 4
    assert [ref() for ref in handlers + requests] == [None] * 8
    assert server.context.traffic.under_way == 0
    assert not server.listener._server._connections


def _open_sockets() -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            continue
    return count


@pytest.mark.gen_test
async def test_handshakes_and_refusals_leave_no_descriptor(server: Server) -> None:
    before = _open_sockets()
    for number in range(30):
        for options in (
            {"bearer": token(f"u{number}", "user")},
            {"bearer": "nonsense"},
            {"bearer": "nonsense", "protocols": ""},
        ):
            socket = await server.upgrade(**options)  # type: ignore[arg-type]
            await socket.close()
            server.sockets.remove(socket)
    assert await server.context.poller.wait_closed(PATIENCE_S)
    await _settle(lambda: _open_sockets() <= before)


@pytest.mark.gen_test
async def test_a_client_that_disconnects_immediately_is_no_error(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        _reader, writer = await server.open()
        writer.write(
            (
                "GET /ws/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
                f"Authorization: Bearer {token('u1', 'user')}\r\n\r\n"
            ).encode()
        )
        await writer.drain()
        writer.transport.abort()
    assert (await server.get("/stats")).status == 200
    await _settle(lambda: not server.system.manager.connections)
    assert not [record for record in caplog.records if record.exc_info], caplog.text


@pytest.mark.gen_test
async def test_a_limit_reached_during_the_handshake_closes_with_its_code(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = server.system.manager
    connect = manager.connect

    async def late(*args: object, **options: object) -> object:
        manager.is_draining = True
        return await connect(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(manager, "connect", late)
    headers = {"X-Request-ID": "r1"}  # not by the fast path, which decides and connects in one turn
    socket: Socket = await server.upgrade(bearer=token("u1", "user"), headers=headers)
    assert (await socket.closed())[0] == 1013
    assert await socket.reader.read() == b""


async def _settle(condition: object) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)
