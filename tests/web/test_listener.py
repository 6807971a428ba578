"""Listener: running out of descriptors, and stopping in order."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from tornado.netutil import bind_sockets

from tests.support.waiting import PATIENCE_S
from tests.support.web_server import API, Server, token
from wsserver.fd_limits import KEPT_BACK
from wsserver.web.server.listener import Listener


async def second_listener(server: Server, limit: int) -> tuple[Listener, int, list[int]]:
    """Another door to the same application, with its own idea of the descriptor limit."""
    limits = [limit]
    listener = Listener(server.system.application, server.context.settings, limit=lambda: limits[0])
    sockets = bind_sockets(0, "127.0.0.1")
    listener.start(sockets)
    return listener, sockets[0].getsockname()[1], limits


@pytest.mark.gen_test
async def test_accepting_pauses_while_descriptors_run_out(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    existing = await server.connect("u1")
    listener, port, limits = await second_listener(server, limit=KEPT_BACK)
    clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    request = f"GET {API}/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    for _, writer in clients:
        writer.write(request)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(clients[0][0].read(1), 0.5)
    existing.send(type="ping", ref=1)
    assert (await existing.push("pong"))["ref"] == 1
    limits[0] = 2**20
    for reader, writer in clients:  # all are served
        assert (await asyncio.wait_for(reader.read(12), PATIENCE_S)) == b"HTTP/1.1 200"
        writer.close()
    await listener.stop(1.0)
    lines = [record for record in caplog.records if "accepting no connections" in record.message]
    assert len(lines) == 1


@pytest.mark.gen_test
async def test_the_process_out_of_descriptors_neither_spins_nor_floods_the_log(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    listener, port, _ = await second_listener(server, limit=2**20)
    (door,) = listener._sockets
    tries = 0

    class Exhausted:
        def accept(self) -> None:
            nonlocal tries
            tries += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        def __getattr__(self, name: str) -> object:
            return getattr(door, name)

    accept = listener._accept
    exhausted: Any = Exhausted()
    monkeypatch.setattr(listener, "_accept", lambda sock, events: accept(exhausted, events))
    listener._unwatch()
    listener._watch()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.9)
    assert 2 <= tries <= 5  # after 0, 0.1, 0.3, 0.7 s
    await listener.stop(0.1)
    writer.close()
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1


@pytest.mark.gen_test
async def test_stopping_waits_for_requests_under_way(server: Server) -> None:
    socket = await server.connect("u1")
    pinged = asyncio.ensure_future(server.post("/ping/u1", timeout_s=20))
    ping = await socket.push("ping")
    stopping = asyncio.ensure_future(server.listener.stop(5.0))
    await asyncio.sleep(0)
    with pytest.raises(ConnectionRefusedError):
        await server.open()
    socket.send(type="pong", id=ping["id"])
    assert (await pinged).status == 200
    await stopping


@pytest.mark.gen_test
async def test_stopping_cuts_requests_off_after_the_grace(server: Server) -> None:
    socket = await server.connect("u1")
    pinged = asyncio.ensure_future(server.post("/ping/u1", timeout_s=1))
    await socket.push("ping")
    await server.listener.stop(0.05)
    with pytest.raises((asyncio.IncompleteReadError, OSError)):
        await pinged
    assert await server.context.traffic.wait_idle(5)


@pytest.mark.gen_test
async def test_a_second_stop_is_harmless(server: Server, tmp_path: Path) -> None:
    assert (await server.get("/stats", bearer=token())).status == 200
    await server.listener.stop(0.1)
    await server.listener.stop(0.1)


@pytest.mark.parametrize("headers", [{}, {"X-Request-ID": "r1"}], ids=["fast path", "Tornado"])
@pytest.mark.gen_test
async def test_small_messages_are_sent_at_once(server: Server, headers: dict[str, str]) -> None:
    """Nagle's algorithm is off for an accepted connection, which inherits it."""
    client = await server.upgrade("/ws/chat", bearer=token("u1"), headers=headers)
    established = await client.push("connection_established")
    connection = server.system.manager.connections[established["connection_id"]]
    with socket.socket(fileno=os.dup(connection.websocket.fd)) as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
