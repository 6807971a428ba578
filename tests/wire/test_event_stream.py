"""Event streams: events, cursors, their end, and what counts as life."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.fake_clock import FakeClock
from tests.support.frames import client_frame
from tests.support.waiting import PATIENCE_S, until
from tests.support.wire_peers import Connect, MakePoller, Peer, Recorder, read_all
from wsserver.wire.event_stream import EventStream
from wsserver.wire.events import build_event
from wsserver.wire.fanout import encode_for
from wsserver.wire.frames import build_frame
from wsserver.wire.pings import build_ping
from wsserver.wire.poller import Poller
from wsserver.wire.transport import State

EVENTS: dict[str, Any] = {"silence_s": 60.0, "greeting": b"HTTP/1.1 200 OK\r\n\r\n"}


def open_stream(
    connect: Connect, poller: Poller, **options: Any
) -> tuple[EventStream, Peer, Recorder]:
    transport, peer, owner = connect(poller, **{**EVENTS, **options})
    assert isinstance(transport, EventStream)
    return transport, peer, owner


def test_an_event() -> None:
    assert build_event(b"{}") == b"event: message\ndata: {}\n\n"
    assert build_event(b"{}", b"ping", b"s~1") == b"event: ping\nid: s~1\ndata: {}\n\n"


@pytest.mark.gen_test
async def test_what_is_sent_to_an_event_stream(make_poller: MakePoller, connect: Connect) -> None:
    transport, peer, _ = open_stream(connect, make_poller())
    transport.cursor = b"c~1"
    transport.send_text(b'{"a":1}')
    transport.send_ping(build_ping(b'{"type":"ping"}', b"ping_1"))
    transport.send_cursor()
    transport.send_retry(1500)
    expected = (
        b"HTTP/1.1 200 OK\r\n\r\n"
        b'event: message\nid: c~1\ndata: {"a":1}\n\n'
        b'event: ping\ndata: {"type":"ping"}\n\n'
        b"id: c~1\n\n"
        b"retry: 1500\n\n"
    )
    assert await peer.exactly(len(expected)) == expected


@pytest.mark.gen_test
async def test_a_message_to_both_kinds_is_encoded_once_for_each_cursor(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller()
    assert not poller.is_encoded(1000)
    socket_, *_ = connect(poller)
    first, second, third = (open_stream(connect, poller)[0] for _ in range(3))
    assert poller.is_encoded(1)
    first.cursor = third.cursor = b"1"
    second.cursor = b"2"
    encodings = encode_for(b"x", [socket_, first, second, third], lambda cursor: cursor + b"+")
    assert encodings == [
        ([socket_], build_frame(b"x")),
        ([first, third], build_event(b"x", event_id=b"1+")),
        ([second], build_event(b"x", event_id=b"2+")),
    ]
    assert [first.cursor, second.cursor, third.cursor] == [b"1+", b"2+", b"1+"]
    # Without a position: one event, and no id.
    live = encode_for(b"y", [first, second, third])
    assert live == [([first, second, third], build_event(b"y"))]
    assert first.cursor == b"1+"


@pytest.mark.gen_test
async def test_short_texts_are_not_compressed_beside_event_streams(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller(deflate_min_bytes=300)
    deflating, *_ = connect(poller, deflate_bits=15)
    events, *_ = open_stream(connect, poller)
    text = b"a" * 299
    assert poller.encode(text, [deflating, events], None)[0] == ([deflating], build_frame(text))
    assert poller.encode(text + b"a", [deflating], None)[0][1][0] & 0x40


@pytest.mark.gen_test
async def test_fan_out_to_both_kinds(make_poller: MakePoller, connect: Connect) -> None:
    poller = make_poller()
    made = [connect(poller, **(EVENTS if number % 2 else {})) for number in range(40)]
    transports = [transport for transport, *_ in made]
    assert poller.send_encoded(poller.encode(b"hello", transports, None)) == 40
    head = len(EVENTS["greeting"])
    for number, (_, peer, _) in enumerate(made):
        if number % 2:
            event = build_event(b"hello")
            assert (await peer.exactly(head + len(event)))[head:] == event
        else:
            assert await peer.frame() == (1, b"hello")


@pytest.mark.gen_test
async def test_fan_out_with_cursors_of_their_own(make_poller: MakePoller, connect: Connect) -> None:
    poller = make_poller(coalesce_s=0.001)
    made = [open_stream(connect, poller) for _ in range(30)]
    transports = [transport for transport, *_ in made]
    for number, transport in enumerate(transports):
        transport.cursor = b"%d" % number
    made[3][1].sock.close()
    for _ in range(3):  # the second and third are collected
        sent = poller.send_encoded(poller.encode(b"x", transports, lambda cursor: cursor + b"+"))
    assert sent >= 29
    for number, (_, peer, _) in enumerate(made):
        if number == 3:
            continue
        expected = EVENTS["greeting"] + b"".join(
            build_event(b"x", event_id=b"%d" % number + b"+" * count) for count in (1, 2, 3)
        )
        assert await peer.exactly(len(expected)) == expected


@pytest.mark.gen_test
async def test_the_server_ends_it_with_the_code(make_poller: MakePoller, connect: Connect) -> None:
    poller = make_poller()
    transport, peer, owner = open_stream(connect, poller)
    transport.send_text(b"last")
    transport.close(4502, "reason \u00e4\n")
    assert transport.state is State.LEAVING
    assert not transport.send_text(b"late")
    assert await owner.end() == (4502, "reason \u00e4\n", True)
    received = await peer.end()
    close = received.partition(b"event: close\ndata: ")[2]
    assert json.loads(close) == {"code": 4502, "reason": "reason \u00e4\n"}
    assert received.index(b"last") < received.index(b"event: close")
    peer.sock.close()
    assert await poller.wait_closed(PATIENCE_S)
    assert not poller.is_encoded(1)


@pytest.mark.gen_test
async def test_the_client_leaves(make_poller: MakePoller, connect: Connect) -> None:
    poller = make_poller()
    _, peer, owner = open_stream(connect, poller)
    peer.sock.close()
    assert await owner.end() == (1006, "connection lost", False)
    assert not poller.is_encoded(1)


@pytest.mark.gen_test
async def test_bytes_behind_the_request_end_it(make_poller: MakePoller, connect: Connect) -> None:
    _, peer, owner = open_stream(connect, make_poller())
    await peer.send(client_frame(b"text"))
    assert await owner.end() == (1002, "bytes behind the request", False)
    assert b'"code": 1002' in await peer.end()
    assert owner.heard == []


@pytest.mark.gen_test
async def test_a_slow_consumer_is_told_so(make_poller: MakePoller, connect: Connect) -> None:
    poller = make_poller(queue_limit_bytes=100_000)
    transport, peer, owner = open_stream(connect, poller, buffer=4096)
    while transport.send_text(b"x" * 20_000):
        pass
    assert await owner.end() == (4002, "slow consumer", False)
    received = await peer.end()
    assert received.count(b"event: close") == 1
    assert received.endswith(b"\n\n")


@pytest.mark.gen_test
async def test_tcp_gives_up_on_a_silent_peer(make_poller: MakePoller, connect: Connect) -> None:
    transport, *_ = connect(make_poller(), silence_s=7.5, greeting=b"x")
    with socket.socket(fileno=transport.fd) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7500
        sock.detach()


@pytest.mark.gen_test
async def test_what_the_peer_has_confirmed(make_poller: MakePoller, connect: Connect) -> None:
    transport, peer, _ = open_stream(connect, make_poller(), buffer=4096)
    await until(lambda: transport.is_confirmed)
    while not transport.queued_bytes:
        transport.send_text(b"x" * 4000)
    assert not transport.is_confirmed
    while not transport.is_confirmed:
        await peer.recv()


@pytest.mark.gen_test
async def test_life_is_what_can_be_written(io_loop: IOLoop, clock: FakeClock) -> None:
    poller = Poller(io_loop, clock)
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    transport = poller.adopt_event_stream(near.detach(), Recorder(), greeting=b"x", silence_s=1)
    clock.advance(1000)
    assert transport.last_heard == clock.monotonic()
    while not transport.queued_bytes:
        transport.send_text(b"x" * 20_000)
    blocked_at = clock.monotonic()
    clock.advance(10)
    assert transport.last_heard == blocked_at
    transport.send_text(b"y" * 500_000)
    clock.advance(10)

    def some_is_written() -> bool:
        read_all(far)
        return transport.last_heard > blocked_at

    await until(some_is_written)
    written_at = clock.monotonic()
    clock.advance(10)
    assert transport.last_heard == (written_at if transport.queued_bytes else clock.monotonic())
    poller.close()
    far.close()


@pytest.mark.pure
def test_an_idle_one_is_small() -> None:
    assert EventStream.__basicsize__ + 16 <= 160
