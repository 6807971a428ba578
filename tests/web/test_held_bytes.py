"""Limit on unsent responses: connections of the client with the most bytes are closed."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from tests.support.waiting import PATIENCE_S, until
from tests.support.web_server import API, Server, StartServer, always, token
from wsserver.web.http.held_bytes import HeldBytes, patience_s


class Clients:
    """Connections by name, and what was closed."""

    def __init__(self, limit_bytes: int) -> None:
        self.unsent = HeldBytes(limit_bytes)
        self.closed: list[str] = []

    def add(self, name: str, size: int, source: str = "ip1") -> None:
        self.unsent.add(name, size, source, partial(self.closed.append, name))


def test_the_address_with_the_most_bytes_loses_its_oldest() -> None:
    clients = Clients(100)
    clients.add("honest", 30, "ip2")
    clients.add("a", 20)
    clients.add("b", 40)
    assert clients.closed == []
    clients.add("c", 20)
    assert clients.closed == ["a"]
    clients.add("d", 30)
    assert clients.closed == ["a", "b"]
    assert (clients.unsent.bytes, len(clients.unsent), clients.unsent.closed) == (80, 3, 2)


def test_the_newest_stays_whatever_its_size() -> None:
    clients = Clients(100)
    clients.add("a", 60, "ip2")
    clients.add("huge", 500)
    assert clients.closed == ["a"]
    assert clients.unsent.bytes == 500


def test_what_is_fetched_or_replaced_counts_no_more() -> None:
    clients = Clients(100)
    clients.add("a", 60)
    clients.add("a", 90)
    clients.unsent.remove("a")
    clients.unsent.remove("a")
    clients.add("b", 100)
    assert clients.closed == []
    assert clients.unsent.bytes == 100


def test_a_long_answer_may_take_longer() -> None:
    assert patience_s(0) == 30
    assert patience_s(4 * 1024 * 1024) == 94


@pytest.mark.gen_test
@pytest.mark.parametrize("origin", ["", "http://127.0.0.1"], ids=["plain", "full server"])
async def test_clients_that_do_not_read_pin_a_limited_number_of_bytes(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    server: Server = await start_server(allowed_origins=["http://127.0.0.1"])
    context = server.context
    context.unsent._limit_bytes = 50_000_000
    monkeypatch.setattr(context.admin_queries, "stats", always("x" * 20_000_000))
    head = f"GET {API}/stats HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token()}\r\n"
    head += f"Origin: {origin}\r\n\r\n" if origin else "\r\n"
    clients = []
    for number in range(5):
        reader, writer = await server.open()
        writer.write(head.encode())
        clients.append((reader, writer))
        async with asyncio.timeout(PATIENCE_S):
            while len(context.unsent) + context.unsent.closed <= number:
                await asyncio.sleep(0.001)
    assert 40_000_000 <= context.unsent.bytes <= 50_000_000
    assert (len(context.unsent), context.unsent.closed) == (2, 3)
    for number, (reader, writer) in enumerate(clients):
        count = 0
        try:
            async with asyncio.timeout(PATIENCE_S):
                while count < 20_000_000 and (data := await reader.read(1 << 20)):
                    count += len(data)
        except ConnectionError:
            pass
        assert (count >= 20_000_000) == (number >= 3)  # those who fetch it now get it whole
        writer.close()
    await until(lambda: not len(context.unsent))
    assert context.unsent.bytes == 0


@pytest.mark.gen_test
@pytest.mark.parametrize("origin", ["", "http://127.0.0.1"], ids=["plain", "full server"])
async def test_a_client_that_goes_away_pins_nothing(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    server: Server = await start_server(allowed_origins=["http://127.0.0.1"])
    unsent = server.context.unsent
    monkeypatch.setattr(server.context.admin_queries, "stats", always("x" * 20_000_000))
    _, writer = await server.open()
    head = f"GET {API}/stats HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token()}\r\n"
    writer.write((head + (f"Origin: {origin}\r\n\r\n" if origin else "\r\n")).encode())
    async with asyncio.timeout(PATIENCE_S):
        while not len(unsent):
            await asyncio.sleep(0.001)
        writer.transport.abort()
        while len(unsent):
            await asyncio.sleep(0.001)


@pytest.mark.gen_test
@pytest.mark.parametrize("origin", ["", "http://127.0.0.1"], ids=["plain", "full server"])
async def test_a_response_that_is_being_read_is_sent_whole_at_a_stop(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    server: Server = await start_server(allowed_origins=["http://127.0.0.1"])
    unsent = server.context.unsent
    monkeypatch.setattr(server.context.admin_queries, "stats", always("x" * 20_000_000))
    reader, writer = await server.open()
    head = f"GET {API}/stats HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token()}\r\n"
    writer.write((head + (f"Origin: {origin}\r\n\r\n" if origin else "\r\n")).encode())
    async with asyncio.timeout(10):
        while not len(unsent):
            await asyncio.sleep(0.001)
        stopping = asyncio.ensure_future(server.listener.stop(5.0))
        await asyncio.sleep(0.05)
        assert len(await reader.read()) > 20_000_000
        await stopping
    assert not len(unsent)
    writer.close()


@pytest.mark.gen_test
@pytest.mark.parametrize("size", [40_000, 1_000_000], ids=["plain", "full server"])
async def test_bodies_that_do_not_come_whole_pin_a_limited_number_of_bytes(
    start_server: StartServer, size: int
) -> None:
    server: Server = await start_server()
    incoming = server.context.incoming
    incoming._limit_bytes = size * 5 // 2
    head = f"POST {API}/tickets HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token()}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    clients = []
    for number in range(4):
        reader, writer = await server.open()
        writer.write(head.encode() + b"{" + b" " * (size - 2))
        clients.append((reader, writer))
        async with asyncio.timeout(PATIENCE_S):
            while incoming.bytes < min(number + 1, 2) * (size - 1):
                await asyncio.sleep(0.001)
            while number >= 2 and incoming.closed < number - 1:
                await asyncio.sleep(0.001)
    for number, (reader, writer) in enumerate(clients):
        async with asyncio.timeout(PATIENCE_S):
            try:
                writer.write(b"}")
                answer = await reader.readuntil(b"\r\n")
            except (ConnectionError, asyncio.IncompleteReadError):
                answer = b""
        assert answer.startswith(b"HTTP/1.1 200") == (number >= 2)  # the oldest have had to go
        writer.close()
    assert (incoming.bytes, len(incoming)) == (0, 0)
