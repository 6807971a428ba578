"""Poller with real sockets, with each kind of readiness (epoll, event loop)."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.frames import client_frame
from tests.support.wire_peers import Peer, Recorder, cut
from wsserver.clock import Clock
from wsserver.wire import carrier
from wsserver.wire import poller as poller_module
from wsserver.wire.deflate import deflate, inflate
from wsserver.wire.frames import build_frame
from wsserver.wire.parser import FRAMES_AT_ONCE, Event, FrameParser
from wsserver.wire.poller import Poller
from wsserver.wire.readiness import EpollReadiness, LoopReadiness
from wsserver.wire.transport import Owner, State, Transport

Connect = Callable[..., tuple[Transport, Peer, Recorder]]
MakePoller = Callable[..., Poller]


@pytest.fixture(params=[EpollReadiness, LoopReadiness], ids=["epoll", "loop"])
def make_poller(request: pytest.FixtureRequest, io_loop: IOLoop) -> Iterator[MakePoller]:
    made: list[Poller] = []

    def make(**settings: object) -> Poller:
        poller = Poller(io_loop, Clock(), readiness=request.param, **settings)  # type: ignore
        made.append(poller)
        return poller

    yield make
    for poller in made:
        poller.close()
        assert poller.connections == 0


@pytest.fixture
def connect() -> Iterator[Callable[..., tuple[Transport, Peer, Recorder]]]:
    """Open a TCP connection whose server side belongs to a poller."""
    peers: list[socket.socket] = []

    def connect(
        poller: Poller, owner: Recorder | None = None, *, buffer: int = 0, **adopt: Any
    ) -> tuple[Transport, Peer, Recorder]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.socket()
            peers.append(far)
            if buffer:
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            far.connect(listener.getsockname())
            near, _ = listener.accept()
        near.setblocking(False)
        if buffer:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        owner = owner or Recorder()
        transport = poller.adopt(near.detach(), owner, **adopt)
        return transport, Peer(far), owner

    yield connect
    for far in peers:
        far.close()


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
    assert transport.parser is transport.outbox is transport.backlog is None


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
    assert not poller.deflates(1000)
    transport, peer, owner = connect(poller, deflate_bits=12)
    assert transport.deflate_bits == 12
    assert poller.deflates(300)
    assert not poller.deflates(299)
    peer.sock.close()
    await owner.end()
    assert not poller.deflates(1000)


def test_the_window_costs_no_memory() -> None:
    # The allocator rounds up to 16 bytes, the 16 of the garbage collector included.
    assert Transport.__basicsize__ + 16 <= 128


# -- closing


@pytest.mark.gen_test
async def test_the_server_closes(make_poller: MakePoller, connect: Connect) -> None:
    poller = make_poller()
    transport, peer, owner = connect(poller)
    transport.send(build_frame(b"last words"))
    transport.close(4001, "heartbeat timeout")
    assert transport.state is State.CLOSING
    assert not transport.is_open
    assert not transport.send(build_frame(b"late"))
    assert await peer.frame() == (1, b"last words")
    assert await peer.close_frame() == (4001, "heartbeat timeout")
    await peer.send(
        client_frame(b"in flight") + client_frame(b"", 9) + client_frame(b"\x0f\xa1", 8)
    )
    assert await owner.end() == (4001, "heartbeat timeout", True)
    assert await peer.end() == b""  # the server ends the TCP connection first
    peer.sock.close()
    assert await poller.wait_closed(5)
    assert transport.state is State.CLOSED
    assert owner.heard == []


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [(b"", 1005, ""), (b"\x03\xe8bye", 1000, "bye"), (b"\x0f\xa0", 4000, "")],
)
@pytest.mark.gen_test
async def test_the_client_closes(
    make_poller: MakePoller, connect: Connect, body: bytes, code: int, reason: str
) -> None:
    poller = make_poller()
    _, peer, owner = connect(poller)
    await peer.send(client_frame(b"x") + client_frame(body, 8) + client_frame(b"late"))
    assert await owner.end() == (code, reason, True)
    assert await peer.frame() == (8, body[:2])
    assert await peer.end() == b""
    peer.sock.close()
    assert await poller.wait_closed(5)
    assert owner.heard == [("text", b"x")]


@pytest.mark.gen_test
async def test_a_peer_that_never_answers_the_close_frame(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller(close_timeout_s=0.05)
    pairs = [connect(poller) for _ in range(3)]
    for transport, _, _ in pairs:
        transport.close(1012, "restart")
    for _, peer, owner in pairs:
        assert await owner.end() == (1012, "restart", False)
        assert await peer.close_frame() == (1012, "restart")
    assert await poller.wait_closed(5)


@pytest.mark.gen_test
async def test_a_lost_connection(make_poller: MakePoller, connect: Connect) -> None:
    poller = make_poller()
    transport, peer, owner = connect(poller)
    peer.sock.close()
    assert await owner.end() == (1006, "connection lost", False)
    assert poller.connections == 0
    assert not transport.send(build_frame(b"x"))
    assert poller.send_many([transport], build_frame(b"x")) == 0
    transport.close(1000)
    transport.pause_reading()


@pytest.mark.gen_test
async def test_a_reset_connection(
    make_poller: MakePoller, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    poller = make_poller()
    transport, peer, owner = connect(poller)
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    peer.sock.close()
    # Found by a write or by the poller; the owner is never called from inside a send.
    transport.send(build_frame(b"x"))
    transport.send(build_frame(b"x"))
    assert not owner.closed.done()
    assert await owner.end() == (1006, "connection lost", False)
    assert caplog.records == []


@pytest.mark.gen_test
async def test_when_very_many_are_lost_at_once_others_have_a_turn(
    make_poller: MakePoller, connect: Connect, io_loop: IOLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrier, "ENDS_PER_TURN", 3)
    turns: list[int] = []

    class Counting(Recorder):
        def on_close(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
            super().on_close(transport, code, reason, clean)
            turns.append(turn)

    turn = 0

    def tick() -> None:
        nonlocal turn
        turn += 1
        io_loop.add_callback(tick)

    poller = make_poller()
    lost = [connect(poller, Counting()) for _ in range(10)]
    tick()
    for transport, _, _ in lost:
        cut(transport)
    assert poller.unreported_ends == 10
    for _, _, owner in lost:
        assert (await owner.end())[0] == 1006
    assert poller.unreported_ends == 0
    assert max(turns.count(each) for each in turns) == 3


@pytest.mark.gen_test
async def test_closing_the_poller_closes_everything(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller()
    _, peer, owner = connect(poller)
    leaving, _, other_owner = connect(poller)
    leaving.close(1012)
    late, _, late_owner = connect(poller, first=client_frame(b"never delivered"))
    poller.close()
    poller.close()
    assert await owner.end() == (1001, "server gone", False)
    assert await other_owner.end() == (1012, "", False)
    assert await late_owner.end() == (1001, "server gone", False)
    assert late.state is State.CLOSED
    assert await peer.end() == b""
    near, far = socket.socketpair()
    far.close()
    fd = near.detach()
    with pytest.raises(ValueError, match="closed"):
        poller.adopt(fd, Recorder())
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)


# -- violations


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x05Hello", 1002),
        (client_frame(b"\xff"), 1007),
        (client_frame(b"", 1, fin=False) + client_frame(b"", 0, fin=False) * 1024, 1008),
        (client_frame(b"x" * 3_000_000), 1009),
    ],
    ids=["unmasked", "no UTF-8", "fragments", "too large"],
)
@pytest.mark.gen_test
async def test_a_violation_is_answered_with_its_code_which_the_client_sees(
    make_poller: MakePoller, connect: Connect, data: bytes, code: int
) -> None:
    poller = make_poller()
    _, peer, owner = connect(poller)
    # All of it is sent before anything is read: closing with unread input would reset the
    # connection, and the close frame would be lost.
    await peer.send(client_frame(b"before") + data + client_frame(b"after"))
    assert (await peer.close_frame())[0] == code
    assert await peer.end() == b""
    assert (await owner.end())[::2] == (code, False)
    assert owner.heard == [("text", b"before")]
    peer.sock.close()
    assert await poller.wait_closed(5)


@pytest.mark.gen_test
async def test_a_failing_owner_harms_only_its_connection(
    make_poller: MakePoller, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Recorder):
        def on_text(self, transport: Transport, payload: bytes) -> None:
            raise RuntimeError("boom")

        def on_close(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
            super().on_close(transport, code, reason, clean)
            raise RuntimeError("boom again")

    poller = make_poller()
    _, peer, owner = connect(poller, Failing())
    _, other_peer, other_owner = connect(poller)
    with caplog.at_level(logging.ERROR):
        await peer.send(client_frame(b"x"))
        await other_peer.send(client_frame(b"y"))
        assert await peer.close_frame() == (1011, "internal error")
        assert await owner.end() == (1011, "internal error", False)
        assert await other_owner.until(1) == [("text", b"y")]
    assert [record.exc_info is not None for record in caplog.records] == [True, True]


@pytest.mark.gen_test
async def test_an_owner_needs_only_two_methods(make_poller: MakePoller, connect: Connect) -> None:
    class Small(Owner):
        def on_text(self, transport: Transport, payload: bytes) -> None:
            transport.send(build_frame(payload))

        def on_close(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
            pass

    _, peer, _ = connect(make_poller(), Small())
    await peer.send(client_frame(b"", 9) + client_frame(b"", 10) + client_frame(b"x"))
    assert await peer.frame() == (10, b"")
    assert await peer.frame() == (1, b"x")


# -- queues


@pytest.mark.gen_test
async def test_partial_writes_keep_their_rest_in_order(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller(queue_limit_bytes=1 << 24)
    transport, peer, _ = connect(poller, buffer=4096)
    frames = [build_frame(bytes([65 + n % 26]) * (n * 97 % 5000)) for n in range(400)]
    for frame in frames:
        assert transport.send(frame)
    assert transport.queued_bytes == poller.queued_bytes > 0
    assert await peer.exactly(sum(map(len, frames))) == b"".join(frames)
    assert transport.queued_bytes == poller.queued_bytes == 0
    assert transport.outbox is None
    assert poller.counters.bytes_out == sum(map(len, frames))
    assert transport.send(build_frame(b"x"))
    assert await peer.frame() == (1, b"x")


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.gen_test
async def test_a_slow_consumer_is_ended_and_its_queue_let_go(
    make_poller: MakePoller, connect: Connect, many: bool
) -> None:
    poller = make_poller(queue_limit_bytes=100_000, coalesce_s=0)
    transport, peer, owner = connect(poller, buffer=4096)
    frame = build_frame(b"x" * 10_000)
    while poller.send_many([transport], frame) if many else transport.send(frame):
        assert transport.queued_bytes <= 100_000
    assert not owner.closed.done()
    assert transport.queued_bytes < 20_000
    assert await owner.end() == (4002, "slow consumer", False)
    assert poller.counters.slow_consumers == 1
    # If it reads on after all, it finds whole frames and the reason.
    while (received := await peer.frame()) == (1, b"x" * 10_000):
        pass
    assert received == (8, b"\x0f\xa2slow consumer")
    assert await peer.end() == b""


@pytest.mark.gen_test
async def test_a_slow_consumer_that_stays_slow_is_gone_in_time(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller(queue_limit_bytes=10_000, close_timeout_s=0.05)
    transport, _, owner = connect(poller, buffer=4096)
    while transport.send(build_frame(b"x" * 5000)):
        pass
    assert await owner.end() == (4002, "slow consumer", False)
    assert await poller.wait_closed(5)
    assert poller.queued_bytes == 0


@pytest.mark.gen_test
async def test_endless_pings_without_reading_the_pongs(
    make_poller: MakePoller, connect: Connect
) -> None:
    _, peer, owner = connect(
        make_poller(queue_limit_bytes=10_000, close_timeout_s=0.05), buffer=4096
    )
    flood = asyncio.ensure_future(peer.send(client_frame(b"x" * 125, 9) * 100_000))
    assert (await owner.end())[0] == 4002
    flood.cancel()
    await asyncio.gather(flood, return_exceptions=True)


# -- descriptors


@pytest.mark.gen_test
async def test_a_descriptor_closed_in_a_batch_is_not_reused_in_it(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller()
    replacements: list[tuple[Transport, Peer, Recorder]] = []
    held: list[bool] = []

    class Replacing(Recorder):
        """Ends the other connection and opens a new one, which would get its descriptor."""

        def on_text(self, transport: Transport, payload: bytes) -> None:
            super().on_text(transport, payload)
            for victim in (first, second):
                if victim is not transport and victim.state is State.OPEN:
                    cut(victim)
                    held.append(os.path.exists(f"/proc/self/fd/{victim.fd}"))
                    replacements.append(connect(poller))

    first, first_peer, first_owner = connect(poller, Replacing())
    second, second_peer, second_owner = connect(poller, Replacing())
    await first_peer.send(client_frame(b"1"))
    await second_peer.send(client_frame(b"2"))
    while not replacements:
        await asyncio.sleep(0)
    assert held == [True]
    ended = second_owner if first_owner.heard else first_owner
    assert await ended.end() == (1006, "connection lost", False)
    _, peer, owner = replacements[0]
    await peer.send(client_frame(b"to the new one"))
    assert await owner.until(1) == [("text", b"to the new one")]


@pytest.mark.gen_test
async def test_no_descriptor_is_left_behind(make_poller: MakePoller, connect: Connect) -> None:
    poller = make_poller()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        pairs = [connect(poller) for _ in range(10)]
        for index, (transport, peer, _) in enumerate(pairs):
            if index % 2:
                cut(transport)
            peer.sock.close()
        assert await poller.wait_closed(5)
    assert len(os.listdir("/proc/self/fd")) == before
    assert poller.counters.adopted == 50


@pytest.mark.gen_test
async def test_a_descriptor_that_cannot_be_watched_is_closed(
    make_poller: MakePoller, tmp_path: Path
) -> None:
    poller = make_poller()
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    with pytest.raises(OSError, match="socket"):
        poller.adopt(fd, Recorder())
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)
    assert poller.connections == 0
