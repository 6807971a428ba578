"""Keep-alive: time limits of HTTP connections, and no closing while a request arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.waiting import PATIENCE_S
from tests.support.web_server import API, Server, read_response, token
from wsserver.web.server.tornado_server import PrefilledStream

PLAIN: dict[str, str] = {}
FULL = {"Upgrade": "x"}
"""A header that makes a request one for the full HTTP server."""


def request(extra: dict[str, str], path: str = "/stats", role: str = "admin") -> bytes:
    lines = [
        f"GET {API}{path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token(role=role)}",
        *(f"{name}: {value}" for name, value in extra.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def ended(reader: asyncio.StreamReader) -> bool:
    return await asyncio.wait_for(reader.read(), PATIENCE_S) == b""


def streams(server: Server) -> list[PrefilledStream]:
    connections = server.listener._server._connections
    return [each.stream for each in connections if isinstance(each.stream, PrefilledStream)]


@pytest.mark.parametrize("extra", [PLAIN, FULL], ids=["plain", "full"])
@pytest.mark.gen_test
async def test_an_idle_connection_is_kept_for_keepalive_timeout_s(
    start_server: Callable[..., Any], extra: dict[str, str]
) -> None:
    server = await start_server(handshake_timeout_s=0.1, keepalive_timeout_s=300.0)
    reader, writer = await server.open()
    for _ in range(2):
        writer.write(request(extra))
        assert (await read_response(reader)).status == 200
        with pytest.raises(TimeoutError):  # longer than a head may take
            await asyncio.wait_for(reader.read(1), 0.4)
    writer.close()
    server = await start_server(handshake_timeout_s=300.0, keepalive_timeout_s=0.1)
    reader, writer = await server.open()
    writer.write(request(extra))
    assert (await read_response(reader)).status == 200
    assert await ended(reader)
    writer.close()


@pytest.mark.parametrize("extra", [PLAIN, FULL], ids=["plain", "full"])
@pytest.mark.gen_test
async def test_a_head_that_has_begun_has_handshake_timeout_s(
    start_server: Callable[..., Any], extra: dict[str, str]
) -> None:
    server = await start_server(handshake_timeout_s=0.2, keepalive_timeout_s=300.0)
    for before in (0, 1):
        reader, writer = await server.open()
        for _ in range(before):
            writer.write(request(extra))
            assert (await read_response(reader)).status == 200
        writer.write(b"GET /")
        assert await ended(reader)
        writer.close()
    # Also one that came behind a whole request.
    reader, writer = await server.open()
    writer.write(request(extra) + b"GET /")
    assert (await read_response(reader)).status == 200
    assert await ended(reader)
    writer.close()


@pytest.mark.gen_test
async def test_a_request_that_comes_when_the_time_is_up_is_answered(
    start_server: Callable[..., Any],
) -> None:
    server = await start_server()
    plain = server.listener._fast_path
    for is_stopping in (False, True):
        reader, writer = await server.open()
        writer.write(request(PLAIN))
        assert (await read_response(reader)).status == 200
        (kept,) = plain._clients.values()
        kept.deadline = 0.0
        writer.write(request(PLAIN))  # in the server's socket at once, and not read yet
        plain.close() if is_stopping else plain._sweep()
        assert (await read_response(reader)).status == 200
        writer.close()
        while plain._clients:
            await asyncio.sleep(0)


@pytest.mark.gen_test
async def test_so_is_one_for_the_full_server(start_server: Callable[..., Any]) -> None:
    server = await start_server()
    reader, writer = await server.open()
    writer.write(request(FULL))
    assert (await read_response(reader)).status == 200
    (stream,) = streams(server)
    writer.write(request(FULL))
    stream._end_wait()
    assert (await read_response(reader)).status == 200
    stream._end_wait()
    assert await ended(reader)
    writer.close()


@pytest.mark.parametrize("path", ["/unknown", "/users/u1/data"])
@pytest.mark.gen_test
async def test_a_refusal_does_not_end_a_connection(server: Server, path: str) -> None:
    reader, writer = await server.open()
    for _ in range(2):
        writer.write(request(PLAIN, path, "manager"))
        assert (await read_response(reader)).status in (403, 404)
    writer.write(request(PLAIN))
    assert (await read_response(reader)).status == 200
    writer.close()
