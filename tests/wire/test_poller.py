"""Poller with real sockets: messages, backlog, compression."""

from __future__ import annotations

import pytest
from tornado.ioloop import IOLoop

from tests.support.frames import client_frame
from tests.support.wire_peers import Connect, MakePoller, Recorder
from wsserver.wire import IS_COMPILED
from wsserver.wire import poller as poller_module
from wsserver.wire.deflate import deflate, inflate
from wsserver.wire.frames import build_frame
from wsserver.wire.parser import FRAMES_AT_ONCE, Event, FrameParser
from wsserver.wire.transport import Transport

# -- messages


@pytest.mark.gen_test
async def test_messages_go_both_ways(make_poller: MakePoller, connect: Connect) -> None:
    poller = make_poller()
    transport, peer, owner = connect(poller)
    assert transport.is_open
    await peer.send(client_frame(b"hello"))
    assert await owner.until(1) == [("text", b"hello")]
    assert transport.send(build_frame(b"world"))
    assert await peer.frame() == (1, b"world")
    assert poller.counters.frames_in == 1
    assert poller.counters.bytes_in == 11
    assert poller.counters.bytes_out == 7
    assert [transport.parser, transport.outbox, transport.backlog] == [None] * 3


@pytest.mark.gen_test
async def test_greeting_goes_first_in_one_write_and_first_bytes_count_first(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller()
    message = client_frame(b"second")
    _, peer, owner = connect(
        poller, greeting=b"HTTP/1.1 101\r\n\r\n", first=client_frame(b"first") + message[:3]
    )
    assert owner.heard == []
    await peer.send(message[3:] + client_frame(b"third"))
    assert [payload for _, payload in await owner.until(3)] == [b"first", b"second", b"third"]
    assert await peer.recv() == b"HTTP/1.1 101\r\n\r\n"
    assert poller.counters.writes == 1


@pytest.mark.gen_test
async def test_pings_are_answered_and_reported(make_poller: MakePoller, connect: Connect) -> None:
    _, peer, owner = connect(make_poller())
    await peer.send(client_frame(b"", 9) + client_frame(b"abc", 9) + client_frame(b"x", 10))
    assert await peer.frame() == (10, b"")
    assert await peer.frame() == (10, b"abc")
    assert await owner.until(3) == [("ping", b""), ("ping", b"abc"), ("pong", b"x")]


@pytest.mark.gen_test
async def test_last_heard_follows_the_clock(make_poller: MakePoller, connect: Connect) -> None:
    transport, peer, owner = connect(make_poller())
    before = transport.last_heard
    await peer.send(client_frame(b"x"))
    await owner.until(1)
    assert transport.last_heard > before


@pytest.mark.gen_test
async def test_binary_is_refused_unless_wanted(make_poller: MakePoller, connect: Connect) -> None:
    _, peer, owner = connect(make_poller())
    await peer.send(client_frame(b"x", 2))
    assert (await peer.close_frame())[0] == 1003
    assert (await owner.end())[0] == 1003
    _, peer, owner = connect(make_poller(accept_binary=True))
    await peer.send(client_frame(b"x", 2))
    assert await owner.until(1) == [("binary", b"x")]


@pytest.mark.gen_test
async def test_one_turn_delivers_a_bounded_share(
    make_poller: MakePoller, connect: Connect, io_loop: IOLoop
) -> None:
    poller = make_poller(frames_per_turn=3)
    turns: list[int] = []

    class Counting(Recorder):
        def on_text(self, transport: Transport, payload: bytes) -> None:
            super().on_text(transport, payload)
            turns.append(turn)

    turn = 0

    def tick() -> None:
        nonlocal turn
        turn += 1
        io_loop.add_callback(tick)

    _, peer, owner = connect(poller, Counting())
    tick()
    await peer.send(b"".join(client_frame(b"%d" % n) for n in range(20)))
    await owner.until(20)
    assert [payload for _, payload in owner.heard] == [b"%d" % n for n in range(20)]
    assert max(turns.count(each) for each in turns) <= 3
    await peer.send(client_frame(b"and on"))
    await owner.until(21)


@pytest.mark.pure
@pytest.mark.gen_test
async def test_one_turn_parses_a_bounded_share(
    make_poller: MakePoller,
    connect: Connect,
    io_loop: IOLoop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poller = make_poller()
    parsed: list[int] = []
    feed = FrameParser.feed

    def counting(parser: FrameParser, data: bytes) -> list[Event]:
        parsed.append(turn)
        return feed(parser, data)

    turn = 0

    def tick() -> None:
        nonlocal turn
        turn += 1
        io_loop.add_callback(tick)

    monkeypatch.setattr(FrameParser, "feed", counting)
    _, peer, owner = connect(poller)
    tick()
    parts = 3 * FRAMES_AT_ONCE
    message = client_frame(b"x", 1, fin=False) + client_frame(b"x", 0, fin=False) * (parts - 2)
    await peer.send(message + client_frame(b"x", 0))
    assert await owner.until(1) == [("text", b"x" * parts)]
    assert len(parsed) >= 3
    assert len(set(parsed)) == len(parsed)
    await peer.send(client_frame(b"and on"))
    await owner.until(2)


@pytest.mark.gen_test
async def test_what_is_not_parsed_yet_waits_while_paused_and_outlives_a_close(
    make_poller: MakePoller, connect: Connect
) -> None:
    class Pausing(Recorder):
        def on_text(self, transport: Transport, payload: bytes) -> None:
            super().on_text(transport, payload)
            if payload == b"pause":
                transport.pause_reading()

    many = b"".join([client_frame(b"", 10)] * (FRAMES_AT_ONCE - 1))
    poller = make_poller(frames_per_turn=2 * FRAMES_AT_ONCE)
    transport, peer, owner = connect(poller, Pausing())
    # The pause comes with the last of those that are parsed together: what is left is raw.
    await peer.send(many + client_frame(b"pause") + client_frame(b"on"))
    await owner.until(FRAMES_AT_ONCE)
    transport.resume_reading()
    assert (await owner.until(FRAMES_AT_ONCE + 1))[-1] == ("text", b"on")
    await peer.send(many + client_frame(b"pause") + many + client_frame(b"", 8))
    await owner.until(2 * FRAMES_AT_ONCE + 1)
    transport.close(4502, "out")
    assert await owner.end() == (4502, "out", True)
    assert len(owner.heard) == 2 * FRAMES_AT_ONCE + 1


@pytest.mark.gen_test
async def test_a_paused_connection_delivers_nothing(
    make_poller: MakePoller, connect: Connect
) -> None:
    class Pausing(Recorder):
        def on_text(self, transport: Transport, payload: bytes) -> None:
            super().on_text(transport, payload)
            transport.pause_reading()

    poller = make_poller()
    transport, peer, owner = connect(poller, Pausing())
    _, other_peer, other_owner = connect(poller)
    await peer.send(client_frame(b"1") + client_frame(b"2"))
    await owner.until(1)
    await peer.send(client_frame(b"3"))
    await other_peer.send(client_frame(b"x"))
    await other_owner.until(1)
    assert len(owner.heard) == 1
    transport.resume_reading()
    await owner.until(2)
    transport.resume_reading()
    assert [payload for _, payload in await owner.until(3)] == [b"1", b"2", b"3"]
    transport.close(1000)
    assert await peer.close_frame() == (1000, "")
    await peer.send(client_frame(b"", 8))
    assert await owner.end() == (1000, "", True)


@pytest.mark.gen_test
async def test_closing_a_paused_connection_finds_the_close_frame_in_its_backlog(
    make_poller: MakePoller, connect: Connect
) -> None:
    class Pausing(Recorder):
        def on_text(self, transport: Transport, payload: bytes) -> None:
            super().on_text(transport, payload)
            transport.pause_reading()

    transport, peer, owner = connect(make_poller(), Pausing())
    await peer.send(client_frame(b"1") + client_frame(b"2") + client_frame(b"", 8))
    await owner.until(1)
    transport.close(4502, "out")
    assert await owner.end() == (4502, "out", True)
    assert owner.heard == [("text", b"1")]


# -- compressed messages


@pytest.mark.gen_test
async def test_compressed_messages_are_delivered_among_the_others(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller(accept_binary=True)
    _, peer, owner = connect(poller, deflate_bits=15)
    text = "{}é".encode() * 100
    data = deflate(text, 15)
    await peer.send(
        client_frame(b"plain")
        + client_frame(data, rsv1=True)
        + client_frame(data[:5], 2, rsv1=True, fin=False)
        + client_frame(b"", 9)
        + client_frame(data[5:], 0)
    )
    await peer.send(client_frame(b"more") + client_frame(deflate(b"", 15), rsv1=True))
    assert await owner.until(6) == [
        ("text", b"plain"),
        ("text", text),
        ("ping", b""),
        ("binary", text),
        ("text", b"more"),
        ("text", b""),
    ]


@pytest.mark.gen_test
async def test_who_has_not_agreed_on_compression_may_not_use_it(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller()
    connect(poller, deflate_bits=15)
    _, peer, owner = connect(poller)
    await peer.send(client_frame(deflate(b"x", 15), rsv1=True))
    assert await peer.close_frame() == (1002, "reserved bits set")
    assert (await owner.end())[0] == 1002


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (deflate(b"a" * 1001, 15), 1009, "message over 1000 bytes"),
        (deflate(bytes(1_000_000), 15), 1009, "message over 1000 bytes"),
        (deflate(b"\xff\xfe" * 99, 15), 1007, "text is not UTF-8"),
        (deflate("é".encode()[:1], 15), 1007, "text is not UTF-8"),
        (b"\xff\xff", 1007, "compressed data is broken"),
    ],
)
@pytest.mark.gen_test
async def test_bad_compressed_messages(
    make_poller: MakePoller, connect: Connect, data: bytes, code: int, reason: str
) -> None:
    poller = make_poller(max_message_bytes=1000)
    _, peer, owner = connect(poller, deflate_bits=15)
    good = client_frame(deflate(b"a" * 1000, 15), rsv1=True)
    await peer.send(good + client_frame(data, rsv1=True) + good)
    assert await peer.close_frame() == (code, reason)
    assert await owner.end() == (code, reason, False)
    assert owner.heard == [("text", b"a" * 1000)]


@pytest.mark.pure
@pytest.mark.gen_test
async def test_what_grows_when_it_is_inflated_is_inflated_little_by_little(
    make_poller: MakePoller,
    connect: Connect,
    io_loop: IOLoop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poller = make_poller()
    turns: list[int] = []

    def counting(data: bytes, max_bytes: int) -> bytes:
        turns.append(turn)
        return inflate(data, max_bytes)

    monkeypatch.setattr(poller_module, "inflate", counting)
    turn = 0

    def tick() -> None:
        nonlocal turn
        turn += 1
        io_loop.add_callback(tick)

    _, peer, owner = connect(poller, deflate_bits=15)
    tick()
    await peer.send(client_frame(deflate(bytes(40_000), 15), rsv1=True) * 20)
    await owner.until(20)
    assert max(turns.count(each) for each in turns) <= 2


@pytest.mark.gen_test
async def test_nothing_is_inflated_for_a_connection_that_is_closing(
    make_poller: MakePoller, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller_module, "inflate", None)
    transport, peer, owner = connect(make_poller(), deflate_bits=15)
    transport.close(1000)
    assert await peer.close_frame() == (1000, "")
    await peer.send(client_frame(b"\xff", rsv1=True) + client_frame(b"\x03\xe8", 8))
    assert await owner.end() == (1000, "", True)


@pytest.mark.gen_test
async def test_whether_anybody_takes_compressed_messages(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller(deflate_min_bytes=300)
    connect(poller)
    assert not poller.is_encoded(1000)
    transport, peer, owner = connect(poller, deflate_bits=12)
    assert transport.deflate_bits == 12
    assert poller.is_encoded(300)
    assert not poller.is_encoded(299)
    peer.sock.close()
    await owner.end()
    assert not poller.is_encoded(1000)


def test_the_window_costs_no_memory() -> None:
    # The allocator rounds up to 16 bytes, the 16 of the garbage collector included. A compiled
    # class has a pointer to its table of methods, too.
    assert Transport.__basicsize__ + 16 <= (144 if IS_COMPILED else 128)
