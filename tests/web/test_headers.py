"""The fast parser of heads: accepts common ones as Tornado does, and none that Tornado refuses."""

from __future__ import annotations

import asyncio
import re
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders, parse_request_start_line

from tests.support.web_server import API, KEY, Server, token
from wsserver.web.http.headers import HEAD_LIMIT_BYTES, parse_head
from wsserver.web.server import fast_path

PATH = f"{API}/broadcast".encode()
NEWS = b'{"type":"news","data":{"id":1}}'
LENGTH = b"Content-Length: %d\r\n" % len(NEWS)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
AUTHORIZED = f"Authorization: Bearer {token()}\r\n".encode()
JSON = b"Content-Type: application/json\r\n"
SECOND = b"GET %s/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % API.encode()
"""A request that is answered with 200 if the server takes it for one."""


def post(extra: bytes = b"", start: bytes = b"POST %s HTTP/1.1\r\n", host: bytes = b"") -> bytes:
    """The head of a publication, with a Host unless ``host`` has one."""
    if b"%s" in start:
        start %= PATH
    return start + (host or b"Host: 127.0.0.1\r\n") + AUTHORIZED + JSON + extra + b"\r\n"


UNCOMMON = {
    "HTTP/1.0": post(LENGTH, b"POST %s HTTP/1.0\r\n"),
    "HTTP/2.0": post(LENGTH, b"POST %s HTTP/2.0\r\n"),
    "HTTP/1.10": post(LENGTH, b"POST %s HTTP/1.10\r\n"),
    "HTTP/9": post(LENGTH, b"POST %s HTTP/9\r\n"),
    "no version": post(LENGTH, b"POST %s\r\n"),
    "lower-case version": post(LENGTH, b"POST %s http/1.1\r\n"),
    "other protocol": post(LENGTH, b"POST %s ICE/1.1\r\n"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower-case method": post(LENGTH, b"post %s HTTP/1.1\r\n"),
    "unknown method": post(LENGTH, b"FROB %s HTTP/1.1\r\n"),
    "two spaces": post(LENGTH, b"POST  %s HTTP/1.1\r\n"),
    "tab between": post(LENGTH, b"POST\t%s HTTP/1.1\r\n"),
    "space behind the version": post(LENGTH, b"POST %s HTTP/1.1 \r\n"),
    "space before the method": post(LENGTH, b" POST %s HTTP/1.1\r\n"),
    "empty line first": post(LENGTH, b"\r\nPOST %s HTTP/1.1\r\n"),
    "bare LF first": post(LENGTH, b"\nPOST %s HTTP/1.1\r\n"),
    "absolute form": post(LENGTH, b"POST http://127.0.0.1%s HTTP/1.1\r\n"),
    "authority form": b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "space in the target": post(LENGTH, b"POST %s/a b HTTP/1.1\r\n"),
    "NUL in the target": post(LENGTH, b"POST %s\0 HTTP/1.1\r\n"),
    "target beyond ASCII": post(LENGTH, b"POST %s\xc3\xa9 HTTP/1.1\r\n"),
    "bare LF behind the request line": post(LENGTH, b"POST %s HTTP/1.1\n"),
    "bare LF behind a header": post(b"X: y\n" + LENGTH),
    "bare LF at the end": post(LENGTH)[:-2] + b"\n",
    "bare CR behind a header": post(b"X: y\r" + LENGTH),
    "bare CR in a value": post(b"X: y\rz\r\n" + LENGTH),
    "CR CR LF": post(b"X: y\r\r\n" + LENGTH),
    "folded by a space": post(b"X: y\r\n z\r\n" + LENGTH),
    "folded by a tab": post(b"X: y\r\n\tz\r\n" + LENGTH),
    "folded length": post(b"Content-Length:\r\n %d\r\n" % len(NEWS)),
    "folded first header": post(LENGTH, b"POST %s HTTP/1.1\r\n X: y\r\n"),
    "space before a colon": post(b"Content-Length : %d\r\n" % len(NEWS)),
    "tab before a colon": post(b"Content-Length\t: %d\r\n" % len(NEWS)),
    "header without a colon": post(b"X\r\n" + LENGTH),
    "header without a name": post(b": y\r\n" + LENGTH),
    "underscore in a name": post(b"Content_Length: 3\r\n" + LENGTH),
    "name beyond ASCII": post(b"Caf\xc3\xa9: y\r\n" + LENGTH),
    "NUL in a name": post(b"X\0: y\r\n" + LENGTH),
    "NUL in a value": post(b"X: \0\r\n" + LENGTH),
    "vertical tab in a value": post(b"X: a\x0bb\r\n" + LENGTH),
    "form feed before a length": post(b"Content-Length: \x0c%d\r\n" % len(NEWS)),
    "DEL in a value": post(b"X: \x7f\r\n" + LENGTH),
    "no Host": post(LENGTH, host=b"X: y\r\n"),
    "two Hosts": post(LENGTH, host=b"Host: 127.0.0.1\r\nHost: 127.0.0.1\r\n"),
    "two different Hosts": post(LENGTH, host=b"Host: 127.0.0.1\r\nhost: evil.example\r\n"),
    "repeated header": post(b"X: y\r\nX: y\r\n" + LENGTH),
    "repeated type in another case": post(b"content-type: application/json\r\n" + LENGTH),
    "two different types": post(b"Content-Type: text/plain\r\n" + LENGTH),
    "two different types, one twice": post(b"Content-Type: text/plain\r\n" + JSON + LENGTH),
    "folded type, and once more": post(b" ; charset=utf-8\r\n" + JSON + LENGTH),
    "type and a repeated header": post(JSON + b"X: y\r\nX: y\r\n" + LENGTH),
    "folded header that looks like the type": post(b"X: y\r\n " + JSON + LENGTH),
    "repeated in another case": post(b"X: y\r\nx: z\r\n" + LENGTH),
    "two lengths": post(LENGTH + LENGTH),
    "two different lengths": post(LENGTH + b"Content-Length: 3\r\n"),
    "list of lengths": post(b"Content-Length: %d, %d\r\n" % (len(NEWS), len(NEWS))),
    "signed length": post(b"Content-Length: +%d\r\n" % len(NEWS)),
    "negative length": post(b"Content-Length: -1\r\n"),
    "hexadecimal length": post(b"Content-Length: 0x1f\r\n"),
    "length with an underscore": post(b"Content-Length: 3_1\r\n"),
    "length with a space": post(b"Content-Length: 3 1\r\n"),
    "length beyond 64 bits": post(b"Content-Length: 99999999999999999999\r\n"),
    "empty length": post(b"Content-Length:\r\n"),
    "chunked": post(CHUNKED),
    "chunked and a length": post(LENGTH + CHUNKED),
    "length and chunked": post(CHUNKED + LENGTH),
    "chunked twice": post(CHUNKED + CHUNKED),
    "chunked in capitals": post(b"TRANSFER-ENCODING: CHUNKED\r\n" + LENGTH),
    "not quite chunked": post(b"Transfer-Encoding: xchunked\r\n" + LENGTH),
    "chunked and identity": post(b"Transfer-Encoding: chunked, identity\r\n" + LENGTH),
    "chunked behind a vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\n" + LENGTH),
    "folded chunked": post(b"Transfer-Encoding:\r\n chunked\r\n" + LENGTH),
    "expectation": post(b"Expect: 100-continue\r\n" + LENGTH),
    "trailer": post(b"Trailer: X\r\n" + LENGTH),
    "too long": post(b"X: %s\r\n" % (b"y" * HEAD_LIMIT_BYTES) + LENGTH),
}
"""Heads that Tornado has to decide about. Several are known from request smuggling."""
COMMON = {
    "usual": post(LENGTH),
    "the same type twice": post(JSON + LENGTH),
    "the same type three times": post(b"X: y\r\n" + JSON + JSON + LENGTH),
    "with a query": post(LENGTH, b"POST %s?a=b HTTP/1.1\r\n"),
    "values beyond ASCII": post(b"X: \xe9\r\n" + LENGTH),
    "spaces around a value": post(b"X:\t y \t\r\n" + LENGTH),
    "too large a length": post(b"Content-Length: 70000\r\n"),
    "leading zeros": post(b"Content-Length: 00%d\r\n" % len(NEWS)),
    "upgrade to something else": post(b"Upgrade: h2c\r\nConnection: Upgrade\r\n" + LENGTH),
    "handshake with a body": post(
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: %s\r\n" % KEY.encode() + LENGTH,
        b"GET /ws/chat HTTP/1.1\r\n",
    ),
}


@pytest.mark.parametrize("name", UNCOMMON)
def test_an_uncommon_head_is_left_to_tornado(name: str) -> None:
    assert parse_head(UNCOMMON[name] + NEWS) is None


@pytest.mark.parametrize("name", COMMON)
def test_a_common_head_is_parsed(name: str) -> None:
    head = parse_head(COMMON[name] + NEWS)
    assert head is not None
    assert head.size == len(COMMON[name])


@pytest.mark.parametrize("size", range(len(SECOND)))
def test_an_incomplete_head_is_left_to_tornado(size: int) -> None:
    assert parse_head(SECOND[:size]) is None


def test_the_parts_of_a_head() -> None:
    received = (
        b"GET /ws/chat?token=a.b HTTP/1.1\r\nHost: h:1\r\nX-A:\t1 , 2 \r\nEmpty:\r\n"
        b"L: \xe9\r\n\r\nrest"
    )
    head = parse_head(bytearray(received))
    assert head is not None
    assert (head.method, head.path, head.query) == ("GET", "/ws/chat", "token=a.b")
    assert received[head.size :] == b"rest"
    assert (head.get("HOST"), head.get_list("X-A"), head.get("x-a")) == ("h:1", ("1 , 2",), "1 , 2")
    assert (head.get("empty", "-"), head.get("none", "-"), head.get("L")) == ("", "-", "é")
    assert head.get_list("none") == ()
    assert "x-A" in head
    assert "X" not in head


PIECES = st.sampled_from(
    (
        *(b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"\0", b"\x0b", b"\x7f", b"\xff", b"\r\n "),
        *(b"Content-Length: 0\r\n", CHUNKED, b"Host: b\r\n", b"X: y\r\n", b"X : y\r\n", b"?"),
        *(b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"HTTP/1.0", b"\r\n\r\n", b"http://a"),
        *(b"*", b"#", b"%00", JSON, b"\r\n" + JSON),
    )
) | st.binary(min_size=1, max_size=2)


@given(
    st.sampled_from([post(LENGTH), SECOND, b"POST /x?y HTTP/1.1\r\nHost: a\r\n\r\n"]),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3), PIECES), max_size=3),
)
def test_what_is_parsed_is_what_tornado_parses(
    received: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    for at, removed, piece in changes:
        received = received[:at] + piece + received[at + removed :]
    head = parse_head(received)
    if head is None:
        return
    assert received.find(b"\r\n\r\n") + 4 == head.size
    text = received[: head.size - 2].decode("latin-1")
    line, _, lines = text.partition("\r\n")
    start = parse_request_start_line(line)
    headers = HTTPHeaders.parse(lines)
    target = f"{head.path}?{head.query}" if "?" in start.path else head.path
    assert (start.method, start.path, start.version) == (head.method, target, "HTTP/1.1")
    assert len([*headers.get_all()]) == len(head.fields)
    assert {name.lower(): value for name, value in headers.get_all()} == head.fields


class Outcome(NamedTuple):
    """What a server does with some bytes."""

    statuses: list[bytes]
    """Of its responses, in order."""
    is_closed: bool


async def outcome(server: Server, raw: bytes) -> Outcome:
    reader, writer = await server.open()
    writer.write(raw)
    received, is_closed = b"", False
    try:
        while data := await asyncio.wait_for(reader.read(1 << 16), 1):
            received += data
        is_closed = True
    except ConnectionResetError:
        is_closed = True
    except TimeoutError:
        pass
    writer.close()
    return Outcome(re.findall(rb"HTTP/1\.1 (\d+) ", received), is_closed)


async def outcomes(server: Server) -> dict[str, Outcome]:
    """Of every head, with a body and a second request behind it."""
    heads = UNCOMMON | COMMON
    found = await asyncio.gather(*[outcome(server, raw + NEWS + SECOND) for raw in heads.values()])
    return dict(zip(heads, found, strict=True))


@pytest.mark.gen_test
async def test_the_fast_path_changes_no_outcome(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_it = await outcomes(server)
    monkeypatch.setattr(fast_path, "parse_head", lambda received: None)
    without = await outcomes(server)
    assert with_it == without
    assert with_it["usual"].statuses == [b"200", b"200"]
    for name in ("chunked and a length", "two different lengths", "folded chunked"):
        assert b"200" not in with_it[name].statuses, name
