"""Compression end to end: handshake and messages, with and without an offer."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.support.waiting import PATIENCE_S
from tests.support.web_server import KEY, Server, StartServer, token
from wsserver.wire import deflate

OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
TEXT = "A message that says the same thing again and again. " * 20


async def client(server: Server, user: str = "u1", **options: Any) -> ClientConnection:
    """A client in session ``s1``."""
    bearer = token(user, "user", sessions="*")
    socket = await connect(
        f"ws://127.0.0.1:{server.port}/ws/chat/session/s1?token={bearer}", max_queue=None, **options
    )
    await until(socket, "session_joined")
    return socket


async def until(socket: ClientConnection, type_: str) -> dict[str, Any]:
    while True:
        async with asyncio.timeout(PATIENCE_S):
            message = json.loads(await socket.recv())
        if message["type"] == type_:
            return dict(message)


@pytest.fixture
def compressed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the messages that were compressed."""
    sizes: list[int] = []

    def counting(payload: bytes, window_bits: int) -> bytes:
        sizes.append(len(payload))
        return original(payload, window_bits)

    original = deflate.deflate
    monkeypatch.setattr(deflate, "deflate", counting)
    return sizes


# -- the handshake


@pytest.mark.gen_test
async def test_without_compression_an_offer_changes_nothing(server: Server) -> None:
    answers = []
    for headers in ({}, OFFER, {"Sec-WebSocket-Extensions": "no; list of="}):
        reader, writer = await server.open()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(
            f"GET /ws/chat HTTP/1.1\r\nHost: localhost:{server.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nX-Request-ID: r1\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\n"
            f"Authorization: Bearer {token('u1', 'user')}\r\n{lines}\r\n".encode()
        )
        head, end, _ = (await reader.readuntil(b"\r\n\r\n")).partition(b"X-Request-ID: ")
        assert end
        answers.append(head)
        writer.close()
        await writer.wait_closed()
    assert (
        answers
        == [
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: Bz3qJYTGdOe8gUSpLosEdiLKDrk=\r\n"
        ]
        * 3
    )


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate; client_max_window_bits", ANSWER),
        ("permessage-deflate; server_max_window_bits=9", ANSWER + "; server_max_window_bits=9"),
        ("permessage-deflate; mystery", None),
        ("", None),
    ],
)
@pytest.mark.gen_test
async def test_both_ways_in_answer_an_offer_alike(
    start_server: StartServer, offer: str, answer: str | None
) -> None:
    server = await start_server(compression=True)
    for extra in ({}, {"X-Request-ID": "r1"}):  # with its own id it is the full server's
        socket = await server.upgrade(
            bearer=token("u1", "user"), headers={"Sec-WebSocket-Extensions": offer, **extra}
        )
        assert socket.response.status == 101
        assert socket.response.headers.get("sec-websocket-extensions") == answer
        established = await socket.push("connection_established")
        connection = server.system.manager.connections[established["connection_id"]]
        bits = 0 if answer is None else 9 if "=9" in answer else 15
        assert connection.websocket.deflate_bits == bits


@pytest.mark.gen_test
async def test_a_malformed_offer_is_a_bad_request(start_server: StartServer) -> None:
    server = await start_server(compression=True)
    headers = {"Sec-WebSocket-Extensions": "permessage-deflate; a="}
    socket = await server.upgrade(bearer=token("u1", "user"), headers=headers)
    assert socket.response.code == "bad_request"
    # Refusals come first, and a request without an upgrade has no offer.
    assert (await server.upgrade(headers=headers)).response.status == 401
    answer = await server.request("GET", "/ws/chat", bearer=token("u1", "user"), headers=headers)
    assert answer.status == 426


@pytest.mark.gen_test
async def test_a_handshake_accepted_to_be_closed_gets_no_compression(
    start_server: StartServer,
) -> None:
    server = await start_server(compression=True)
    socket = await server.upgrade(bearer="nonsense", headers=OFFER)
    assert "sec-websocket-extensions" not in socket.response.headers
    assert (await socket.closed())[0] == 4500


# -- the messages


@pytest.mark.pure
@pytest.mark.gen_test
async def test_a_broadcast_to_all_sorts_of_clients_is_compressed_once(
    start_server: StartServer, compressed: list[int]
) -> None:
    server = await start_server(compression=True, coalesce_ms=0)
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(20):  # more than get it at once
            compression = "deflate" if number % 2 else None
            socket = await client(server, f"u{number}", compression=compression)
            clients.append(await stack.enter_async_context(socket))
        compressed.clear()
        before = server.context.poller.counters.bytes_out
        sent = await server.system.manager.broadcast("news", text=TEXT)
        assert (sent.receipt.matched, sent.receipt.sent) == (20, 20)
        for socket in clients:
            assert (await until(socket, "news"))["text"] == TEXT
        assert len(compressed) == 1
        written = server.context.poller.counters.bytes_out - before
        assert 10 * len(TEXT) < written < 13 * len(TEXT)
        # To a few of them, too; what is small goes to all as it is.
        await server.system.manager.send_to_user("u1", "news", text=TEXT)
        assert (await until(clients[1], "news"))["text"] == TEXT
        assert len(compressed) == 2
        await server.system.manager.broadcast("news", text="short")
        for socket in clients:
            assert (await until(socket, "news"))["text"] == "short"
        assert len(compressed) == 2


@pytest.mark.pure
@pytest.mark.gen_test
async def test_the_size_from_which_is_compressed_can_be_chosen(
    start_server: StartServer, compressed: list[int]
) -> None:
    server = await start_server(compression=True, compression_min_bytes=1000)
    async with await client(server) as socket:
        await server.system.manager.broadcast("news", text=TEXT[:500])
        await server.system.manager.broadcast("news", text=TEXT)
        await until(socket, "news")
        await until(socket, "news")
    assert len(compressed) == 1


@pytest.mark.gen_test
async def test_a_bomb_closes_its_connection_and_no_other(start_server: StartServer) -> None:
    server = await start_server(compression=True)
    async with await client(server) as socket, await client(server, "u2") as other:
        assert socket.protocol.extensions
        await socket.send(" " * 10_000_000)
        async with asyncio.timeout(PATIENCE_S):
            await socket.wait_closed()
        assert socket.close_code == 1009
        await other.send(json.dumps({"type": "ping", "pad": " " * 1000}))
        await until(other, "error")


texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3000),
    st.builds(lambda unit, times: unit * times, st.sampled_from("aé中😀"), st.integers(0, 3000)),
)


@pytest.mark.slow
@given(texts=st.lists(texts, min_size=1, max_size=8), window_bits=st.integers(9, 15))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_sent_arrives(
    io_loop: Any, start_server: StartServer, texts: list[str], window_bits: int
) -> None:
    async def round_trip() -> None:
        server = await start_server(compression=True, message_rate=1e6, message_burst=1000)
        extension = ClientPerMessageDeflateFactory(
            server_max_window_bits=window_bits, client_max_window_bits=window_bits
        )
        async with await client(server, compression=None, extensions=[extension]) as socket:
            assert socket.protocol.extensions
            for number, text in enumerate(texts):
                await server.system.manager.broadcast("news", text=text)
                assert (await until(socket, "news"))["text"] == text
                await socket.send(json.dumps({"type": "ping", "ref": number, "pad": text}))
                assert (await until(socket, "error"))["ref"] == number
        await server.stop()

    io_loop.run_sync(round_trip)
