"""§9: clients that send their requests slowly, and their effect on others."""

from __future__ import annotations

import time

import pytest

from tests.acceptance.conftest import Connect, OpenRaw
from tests.support.running_server import API, RunningServer
from tests.support.tokens import token

SETTINGS = {"handshake_timeout_s": 0.5}


@pytest.mark.parametrize(
    "beginning",
    [b"", b"GET", b"GET /ws/chat HTTP/1.1\r\nHost: 127.0.0.1\r\n"],
    ids=["nothing", "a-word", "half-a-header"],
)
def test_who_sends_no_whole_header_is_cut_off(
    raw: OpenRaw, connect: Connect, beginning: bytes
) -> None:
    neighbour = connect("neighbour")
    client = raw()
    started = time.monotonic()
    client.socket.sendall(beginning)
    assert client.socket.recv(1000)[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 408")
    assert time.monotonic() - started < 3
    assert neighbour.call("ping")["type"] == "pong"


def test_a_slow_body_is_answered_with_a_timeout(raw: OpenRaw) -> None:
    client = raw()
    bearer = token("admin", role="admin")
    client.socket.sendall(
        f"POST {API}/broadcast HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {bearer}\r\nContent-Length: 100\r\n\r\n{{".encode()
    )
    assert client.response().problem == (408, "request_timeout")


def test_two_authorizations_are_one_too_many(raw: OpenRaw) -> None:
    client = raw()
    line = f"Authorization: Bearer {token()}\r\n"
    client.socket.sendall(
        f"GET {API}/stats HTTP/1.1\r\nHost: 127.0.0.1\r\n{line}{line}\r\n".encode()
    )
    assert client.response().problem == (400, "auth_ambiguous")


def test_an_open_socket_is_not_hurried(raw: OpenRaw, server: RunningServer) -> None:
    client = raw()
    client.open(token("calm"))
    other = raw()
    other.socket.sendall(b"GET")
    other.socket.recv(1000)  # is cut off meanwhile
    client.send("ping")
    assert client.message()["type"] == "pong"
    assert server.get("/users/calm/connections").ok["total"] == 1
