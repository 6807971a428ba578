"""Client addresses behind proxies, spoofed headers included."""

from __future__ import annotations

import pytest

from tests.support.web_server import Server, StartServer, token
from wsserver.web.http.proxies import Proxies, parse_address

TRUSTED = Proxies(["10.0.0.0/8", "::1/128"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["1.2.3.4"], "192.0.2.1"),  # spoofed: the peer is not trusted
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),  # the left one came from the client
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4, 10.0.0.2"], "1.2.3.4"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["6.6.6.6, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["nonsense, 10.0.0.9"], "10.0.0.9"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4:5678"], "1.2.3.4"),
        ("::1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
    ],
)
def test_the_rightmost_untrusted_address_counts(
    peer: str, forwarded: list[str], client: str
) -> None:
    assert TRUSTED.client_address(peer, forwarded) == client


@pytest.mark.parametrize(
    ("peer", "forwarded", "scheme"),
    [
        ("10.0.0.1", ["https"], "https"),
        ("10.0.0.1", ["http, https"], "https"),
        ("10.0.0.1", ["gopher"], "http"),
        ("10.0.0.1", ["https", "http"], "http"),
        ("192.0.2.1", ["https"], "http"),
    ],
)
def test_the_scheme_is_believed_from_trusted_proxies(
    peer: str, forwarded: list[str], scheme: str
) -> None:
    assert TRUSTED.scheme(peer, "http", forwarded) == scheme


def test_addresses() -> None:
    assert parse_address("2001:db8::1") is not None
    assert parse_address("1.2.3") is None


@pytest.mark.gen_test
async def test_a_spoofed_header_changes_nothing(server: Server) -> None:
    headers = {"X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6"}
    socket = await server.upgrade(bearer=token("u1", "user"), headers=headers)
    shown = (await server.get("/connections")).json()["connections"]
    assert [each["remote_ip"] for each in shown] == ["127.0.0.1"]
    del socket


@pytest.mark.gen_test
async def test_a_trusted_proxy_is_believed(start_server: StartServer) -> None:
    server = await start_server(trusted_proxies=("127.0.0.1/32",))
    headers = {"X-Forwarded-For": "6.6.6.6, 192.0.2.9"}
    await server.upgrade(bearer=token("u1", "user"), headers=headers)
    shown = (await server.get("/connections")).json()["connections"]
    assert [each["remote_ip"] for each in shown] == ["192.0.2.9"]
