"""The fast path accepts the handshakes that Tornado would, and leaves all others to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.waiting import PATIENCE_S, until
from tests.support.web_server import KEY, Server, Socket, token
from wsserver.web.sockets.fast_handshake import WouldWaitError, run_without_waiting
from wsserver.web.sockets.sockets import SocketHandler


@pytest.fixture
def by_tornado(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the handshakes that the full HTTP server has seen."""
    seen: list[str] = []
    respond = SocketHandler.respond

    async def watched(self: SocketHandler) -> None:
        seen.append(self.request.path)
        await respond(self)

    monkeypatch.setattr(SocketHandler, "respond", watched)
    return seen


async def greeted(socket: Socket) -> dict[str, Any]:
    return await socket.push("connection_established")


@pytest.mark.parametrize("protocols", ["", "wsserver.v1", "other, wsserver.v1"])
@pytest.mark.parametrize("path", ["/ws/chat", "/ws/chat/session/s1", "/ws/admin/monitor"])
@pytest.mark.gen_test
async def test_the_fast_path_and_tornado_connect_alike(
    server: Server, by_tornado: list[str], path: str, protocols: str
) -> None:
    ends = []
    for extra in ({}, {"X-Request-ID": "r1"}):
        socket = await server.upgrade(
            path,
            bearer=token("u1", "admin", username="张三"),
            protocols=protocols,
            headers={"User-Agent": "test/1", **extra},
        )
        established = await greeted(socket)
        connection = server.system.manager.connections[established["connection_id"]]
        view = connection.view()
        for own in ("connection_id", "connected_at", "last_ping", "last_pong"):
            del view[own]
        headers = {**socket.response.headers}
        assert headers.pop("x-request-id")
        ends.append((socket.response.status, headers, view, established["protocol"]))
    assert ends[0] == ends[1]
    assert by_tornado == [path]


@pytest.mark.parametrize(
    "place", ["header", "subprotocol", "query", "ticket"], ids=lambda place: place
)
@pytest.mark.gen_test
async def test_every_place_of_a_token_passes(
    server: Server, by_tornado: list[str], place: str
) -> None:
    given = token("u1", "user")
    if place == "header":
        socket = await server.upgrade(bearer=given)
    elif place == "subprotocol":
        socket = await server.upgrade(protocols=f"wsserver.v1, bearer.{given}")
    elif place == "query":
        socket = await server.upgrade(f"/ws/chat?token={given}")
    else:
        claims = await server.system.verifier.verify(given)
        ticket, _ = server.system.tickets.issue(claims)
        socket = await server.upgrade(f"/ws/chat?ticket={ticket}")
        again = await server.upgrade(f"/ws/chat?ticket={ticket}")
        assert (await again.closed())[0] == 4500
        by_tornado.clear()
    assert (await greeted(socket))["user_id"] == "u1"
    assert by_tornado == []


@pytest.mark.gen_test
async def test_a_ticket_is_not_used_up_if_tornado_decides(
    server: Server, by_tornado: list[str]
) -> None:
    claims = await server.system.verifier.verify(token("u1", "user"))
    ticket, _ = server.system.tickets.issue(claims)
    socket = await server.upgrade(f"/ws/chat?ticket={ticket}", headers={"X-Request-ID": "r1"})
    assert (await greeted(socket))["user_id"] == "u1"
    assert by_tornado == ["/ws/chat"]


@pytest.mark.gen_test
async def test_refusals_are_left_to_tornado(server: Server, by_tornado: list[str]) -> None:
    for bearer, path, code in (
        ("nonsense", "/ws/chat", 4500),
        (token("u1", "user"), "/ws/admin/monitor", 4503),
        (token("u1", "user"), "/ws/chat/session/s1", 4503),
        (token("u1", "user"), "/ws/chat?token=x", 4501),
    ):
        socket = await server.upgrade(path, bearer=bearer)
        assert (await socket.closed())[0] == code
    assert len(by_tornado) == 4


@pytest.mark.gen_test
async def test_a_handshake_with_a_body_is_left_to_tornado(
    server: Server, by_tornado: list[str]
) -> None:
    await server.upgrade(bearer=token("u1", "user"), headers={"Content-Length": "0"})
    assert by_tornado == ["/ws/chat"]
    posted = await server.upgrade(bearer=token("u1", "user"), method="POST")
    assert posted.response.code == "method_not_allowed"


@pytest.mark.gen_test
async def test_a_handshake_in_two_pieces_is_left_to_tornado(
    server: Server, by_tornado: list[str]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = (
        f"GET /ws/chat HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
        f"Authorization: Bearer {token('u1', 'user')}\r\n\r\n"
    ).encode()
    writer.write(head[:40])
    await writer.drain()
    await until(lambda: server.listener._server._connections)
    writer.write(head[40:])
    assert b"101 Switching Protocols" in await reader.readuntil(b"\r\n\r\n")
    assert by_tornado == ["/ws/chat"]
    writer.close()
    await writer.wait_closed()


@pytest.mark.gen_test
async def test_frames_behind_the_handshake_are_not_lost(server: Server) -> None:
    ping = b'{"type":"ping","ref":7}'
    masked = bytes((0x81, 0x80 | len(ping), 0, 0, 0, 0)) + ping
    socket = await server.upgrade(bearer=token("u1", "user"), after=masked)
    assert (await socket.push("pong"))["ref"] == 7


@pytest.mark.gen_test
async def test_silent_clients_are_closed(start_server: Callable[..., Any]) -> None:
    server = await start_server(handshake_timeout_s=0.2)
    silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
    await server.connect("u1")
    for reader, writer in silent:
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.close()
    assert not server.listener._fast_path._clients


@pytest.mark.gen_test
async def test_stopping_closes_silent_clients(start_server: Callable[..., Any]) -> None:
    server = await start_server()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await until(lambda: server.listener._fast_path._clients)
    await server.listener.stop(1.0)
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    writer.close()


def test_a_coroutine_that_would_wait_is_stopped() -> None:
    async def at_once() -> int:
        return 1

    async def later() -> None:
        await asyncio.Future(loop=loop)

    loop = asyncio.new_event_loop()
    assert run_without_waiting(at_once()) == 1
    with pytest.raises(WouldWaitError):
        run_without_waiting(later())
    loop.close()
