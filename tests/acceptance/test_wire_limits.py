"""§3, §9: limits of size and rate, and the close codes of RFC 6455."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.conftest import Connect, OpenRaw
from tests.support.frames import CONTINUATION, PING, PONG, TEXT
from tests.support.running_server import RunningServer
from tests.support.tokens import token

SETTINGS = {"message_rate": 20, "message_burst": 10}
LIMIT = 65536


def ping_of(size: int) -> bytes:
    """A ``ping`` command of exactly so many bytes."""
    frame = '{"type":"ping","data":""}'
    return frame.replace('""', f'"{"x" * (size - len(frame))}"').encode()


def test_64_kib_are_taken_and_one_byte_more_is_not(raw: OpenRaw) -> None:
    client = raw()
    client.open(token())
    client.send_frame(TEXT, ping_of(LIMIT))
    assert len(client.message("pong")["data"]) == LIMIT - 25
    client.send_frame(TEXT, ping_of(LIMIT + 1))
    assert client.closed()[0] == 1009


@pytest.mark.parametrize("last", [1, 2])
def test_fragments_add_up(raw: OpenRaw, last: int) -> None:
    whole = ping_of(LIMIT - 1 + last)
    client = raw()
    client.open(token())
    client.send_frame(TEXT, whole[:40_000], final=False)
    client.send_frame(PING, b"between")
    client.send_frame(CONTINUATION, whole[40_000 : LIMIT - 1], final=False)
    client.send_frame(CONTINUATION, whole[LIMIT - 1 :])
    assert client.frame() == (PONG, b"between")
    if last == 1:
        assert client.message()["type"] == "pong"
    else:
        assert client.closed()[0] == 1009


def test_size_comes_before_everything_else(raw: OpenRaw) -> None:
    client = raw()
    client.open(token())
    client.send_frame(TEXT, b"[" * (LIMIT + 1))
    assert client.closed()[0] == 1009


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x02{}", 1002),  # unmasked
        (b"\xc1\x80\0\0\0\0", 1002),  # RSV1
        (b"\x83\x80\0\0\0\0", 1002),  # opcode 3
        (b"\x89\xfe\0\x7e\0\0\0\0", 1002),  # a control frame of 126 bytes
        (b"\x80\x80\0\0\0\0", 1002),  # a continuation of nothing
        (b"\x81\x82\0\0\0\0\xc3\x28", 1007),  # not UTF-8
        (b"\x82\x81\0\0\0\0x", 1003),  # binary
        (b"\x88\x82\0\0\0\0\x03\xed", 1002),  # close with 1005
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else None,
)
def test_violations_get_the_code_of_rfc_6455(raw: OpenRaw, frame: bytes, code: int) -> None:
    client = raw()
    client.open(token())
    client.socket.sendall(frame)
    assert client.closed()[0] == code


def test_a_goodbye_is_answered_in_kind(raw: OpenRaw) -> None:
    client = raw()
    client.open(token())
    client.send_frame(8, (1000).to_bytes(2, "big") + b"bye")
    opcode, payload = client.frame()
    assert (opcode, payload[:2]) == (8, (1000).to_bytes(2, "big"))
    with pytest.raises(EOFError):
        client.frame()


def test_binary_frames_of_v1_clients_too(connect: Connect) -> None:
    client = connect()
    client.socket.send(b"binary")
    assert client.closed()[0] == 1003


def test_the_rate_limit_error_says_when_to_retry(raw: OpenRaw) -> None:
    client = raw()
    client.open(token())
    for number in range(15):
        client.send("ping", ref=number)
    refused = []
    for number in range(15):
        reply = client.message()
        assert reply["ref"] == number
        if reply["type"] == "error":
            refused.append(reply["error"])
    assert 1 <= len(refused) <= 5  # a burst of 10, and one more each 50 ms
    for error in refused:
        assert error["code"] == "rate_limited"
        assert error["temporary"] is True
        assert 1 <= error["retry_after_ms"] <= 51


def test_who_never_stops_is_closed(raw: OpenRaw, server: RunningServer) -> None:
    client = raw()
    client.open(token("flooder"))
    neighbour = raw()
    neighbour.open(token("neighbour"))
    one = b'{"type":"ping"}'
    frame = bytes((0x81, 0x80 | len(one))) + b"\0\0\0\0" + one
    client.socket.sendall(frame * 130)
    code, reason = client.closed()
    assert code == 4029
    assert reason
    neighbour.send("ping")
    assert neighbour.message()["type"] == "pong"
    line = server.wait_for('"code": 4029').string
    assert json.loads(line)["level"] == "info"


def test_rfc_pings_are_answered_and_counted(raw: OpenRaw) -> None:
    client = raw()
    client.open(token())
    client.send_frame(PING, b"hello")
    assert client.frame() == (PONG, b"hello")
    client.socket.sendall(b"\x89\x80\0\0\0\0" * 150)
    assert client.closed()[0] == 4029


def test_who_reads_too_little_is_let_go(raw: OpenRaw, server: RunningServer) -> None:
    client = raw(receive_buffer=4096)
    client.open(token("slow"))
    neighbour = raw()
    neighbour.open(token("quick"))
    text = {"target": {"type": "user", "id": "slow"}, "type": "filler", "data": "x" * 500_000}
    answers = [server.post("/messages", text).ok]
    while answers[-1]["matched"]:
        assert len(answers) < 40
        answers.append(server.post("/messages", text).ok)
    server.wait_for('"code": 4002')
    assert server.get("/stats").ok["failed_sends"] >= 1
    neighbour.send("ping")
    assert neighbour.message()["type"] == "pong"
