"""Checks and response of the opening handshake (RFC 6455 §4.2)."""

from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders

from wsserver.wire.handshake import (
    HandshakeError,
    accept_key,
    check_upgrade,
    list_items,
    response_bytes,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def request(**changes: str | None) -> HTTPHeaders:
    """A good request's headers, with some replaced or (None) left out."""
    values: dict[str, str | None] = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    values.update({name.replace("_", "-"): value for name, value in changes.items()})
    return HTTPHeaders({name: value for name, value in values.items() if value is not None})


def test_accept_key_of_the_rfc() -> None:
    assert accept_key(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "headers",
    [
        request(),
        request(Upgrade="WebSocket", Connection="keep-alive, Upgrade"),
        request(Upgrade="h2c, websocket", Connection="upgrade,keep-alive"),
        request(Sec_WebSocket_Key=f" {KEY} "),
    ],
)
def test_valid_upgrades_give_the_key(headers: HTTPHeaders) -> None:
    assert check_upgrade("GET", headers) == KEY


@pytest.mark.parametrize("headers", [HTTPHeaders(), request(Upgrade=None), request(Upgrade="h2c")])
def test_other_requests_are_no_upgrade(headers: HTTPHeaders) -> None:
    assert check_upgrade("GET", headers) is None


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", request(), 400),
        ("GET", request(Connection=None), 400),
        ("GET", request(Connection="keep-alive"), 400),
        ("GET", request(Sec_WebSocket_Key=None), 400),
        ("GET", request(Sec_WebSocket_Key="short"), 400),
        ("GET", request(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZ"), 400),
        ("GET", request(Sec_WebSocket_Key="ключ" * 6), 400),
        ("GET", request(Sec_WebSocket_Key=f"{KEY},{KEY}"), 400),
        ("GET", request(Sec_WebSocket_Version=None), 426),
        ("GET", request(Sec_WebSocket_Version="8"), 426),
        ("GET", request(Sec_WebSocket_Version="13, 8"), 426),
    ],
)
def test_wrong_upgrades(method: str, headers: HTTPHeaders, status: int) -> None:
    with pytest.raises(HandshakeError) as caught:
        check_upgrade(method, headers)
    assert caught.value.status == status
    assert str(status) in str(caught.value)
    assert caught.value.headers.get("Sec-WebSocket-Version") == ("13" if status == 426 else None)


def test_response() -> None:
    response = response_bytes("abc=", "wsserver.v1", [("X-Request-ID", "r1")])
    assert response == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: abc=\r\nSec-WebSocket-Protocol: wsserver.v1\r\n"
        b"X-Request-ID: r1\r\n\r\n"
    )
    assert b"Protocol:" not in response_bytes("abc=")


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x", "a\n", "a\0"])
def test_a_header_cannot_start_another(value: str) -> None:
    with pytest.raises(ValueError, match="X-Request-ID"):
        response_bytes("abc=", extra=[("X-Request-ID", value)])


def test_list_items() -> None:
    assert list_items(" wsserver.v1,, bearer.T ") == ["wsserver.v1", "bearer.T"]
    assert list_items("") == []
