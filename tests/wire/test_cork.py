"""Cork: frames are held back, and each connection gets them in one write, in order."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from tornado.ioloop import IOLoop

from tests.support.fake_clock import FakeClock
from tests.support.frames import client_frame
from tests.support.wire_peers import Recorder, Room, cut, read_all, rooms
from wsserver.wire.carrier import CORK_LIMIT_BYTES
from wsserver.wire.frames import build_frame
from wsserver.wire.transport import Transport

A, B, C = (build_frame(each) for each in (b"a", b"bb", b"ccc"))


class Echo(Recorder):
    """Answers each message with itself."""

    answer: Callable[[bytes], None] | None = None

    def on_text(self, transport: Transport, payload: bytes) -> None:
        super().on_text(transport, payload)
        if self.answer is not None:
            self.answer(payload)
        else:
            transport.send(build_frame(payload))


@pytest.fixture
def room(io_loop: IOLoop, clock: FakeClock) -> Iterator[Callable[..., Room]]:
    """A poller with some connections."""
    with rooms(io_loop, clock, Echo) as make:
        yield make


@pytest.mark.gen_test
async def test_each_connection_gets_one_write_in_the_next_turn(room: Callable[..., Room]) -> None:
    poller, (first, second, idle), peers = room(3)
    poller.cork()
    for frame in (A, B, C):
        assert first.send(frame)
        assert second.send(frame)
    assert poller.counters.writes == 0
    assert (first.queued_bytes, idle.queued_bytes) == (len(A + B + C), 0)
    await asyncio.sleep(0)
    assert poller.counters.writes == 2
    assert [read_all(peer.sock) for peer in peers] == [A + B + C, A + B + C, b""]
    first.send(A)
    assert read_all(peers[0].sock) == A, "the cork is out again"


@pytest.mark.gen_test
async def test_the_answers_to_what_came_in_one_read_go_out_in_one_write(
    room: Callable[..., Room],
) -> None:
    poller, (transport,), (peer,) = room(1)
    await peer.send(b"".join([client_frame(str(number).encode()) for number in range(20)]))
    expected = b"".join([build_frame(str(number).encode()) for number in range(20)])
    assert await peer.exactly(len(expected)) == expected
    assert (poller.counters.writes, transport.queued_bytes) == (1, 0)


@pytest.mark.gen_test
async def test_order_is_kept_against_broadcasts(
    room: Callable[..., Room], clock: FakeClock
) -> None:
    poller, transports, peers = room(3)
    chance = random.Random(7)
    expected = [b""] * 3
    for number in range(300):
        frame = build_frame(b"%d" % number)
        match chance.randrange(5):
            case 0:
                poller.cork()
            case 1:
                await asyncio.sleep(0)
                clock.advance(chance.choice((0.0, 0.01)))
            case 2:
                assert poller.send_many(transports, frame) == 3
                expected = [text + frame for text in expected]
            case _:
                chosen = chance.randrange(3)
                assert transports[chosen].send(frame)
                expected[chosen] += frame
    for peer, text in zip(peers, expected, strict=True):
        assert await peer.exactly(len(text)) == text


@pytest.mark.gen_test
async def test_a_reply_does_not_wait_for_a_broadcasts_window(room: Callable[..., Room]) -> None:
    poller, transports, peers = room(2)
    poller.send_many(transports, A)
    poller.send_many(transports, B)  # collected: the window has not passed
    poller.cork()
    transports[0].send(C)
    assert [read_all(peer.sock) for peer in peers] == [A + B + C, A]


@pytest.mark.gen_test
async def test_data_over_the_limit_is_written_immediately(room: Callable[..., Room]) -> None:
    poller, (transport,), (peer,) = room(1)
    poller.cork()
    frame = build_frame(b"x" * (CORK_LIMIT_BYTES // 4))
    for _ in range(3):
        transport.send(frame)
    assert poller.counters.writes == 0
    transport.send(frame)
    assert poller.counters.writes > 0
    assert await peer.exactly(4 * len(frame)) == 4 * frame


@pytest.mark.gen_test
async def test_a_close_goes_after_what_is_held(room: Callable[..., Room]) -> None:
    poller, (transport,), (peer,) = room(1)
    poller.cork()
    transport.send(A)
    transport.close(1000, "bye")
    assert not transport.send(B)
    assert await peer.exactly(len(A)) == A
    assert await peer.close_frame() == (1000, "bye")


@pytest.mark.gen_test
async def test_a_connection_that_breaks_meanwhile_does_not_affect_others(
    room: Callable[..., Room],
) -> None:
    poller, transports, peers = room(3)
    poller.cork()
    for transport in transports:
        transport.send(A)
    cut(transports[0])
    peers[1].sock.close()
    await asyncio.sleep(0)
    assert read_all(peers[2].sock) == A
    assert [transport.is_open for transport in transports] == [False, False, True]


@pytest.mark.gen_test
async def test_what_the_socket_does_not_take_waits_as_ever(room: Callable[..., Room]) -> None:
    poller, (transport,), (peer,) = room(1)
    frame = build_frame(b"x" * 60_000)
    for _ in range(10):
        poller.cork()
        transport.send(frame)
        transport.send(A)
        await asyncio.sleep(0)
    assert transport.queued_bytes > 0
    assert await peer.exactly(10 * len(frame + A)) == 10 * (frame + A)


class Crowd:
    """Connections that are sent things in every way there is; what each is to get is noted."""

    def __init__(self, room: Room, seed: int) -> None:
        self.poller, self.transports, self.peers = room
        self.chance = random.Random(seed)
        self.expected: list[list[bytes]] = [[] for _ in self.transports]
        self.received = [bytearray() for _ in self.transports]
        self.cut: set[int] = set()
        for index, transport in enumerate(self.transports):
            owner = transport.owner
            assert isinstance(owner, Echo)
            owner.answer = partial(self.send, index)

    def send(self, index: int, text: bytes) -> None:
        if self.transports[index].send(build_frame(text)):
            self.expected[index].append(text)

    def send_to_some(self, text: bytes) -> None:
        some = sorted(self.chance.sample(range(len(self.transports)), 14))
        was_open = [index for index in some if self.transports[index].is_open]
        chosen = [self.transports[index] for index in some]
        frame = build_frame(text)
        if self.chance.random() < 0.5:
            self.poller.send_many(chosen, frame)
        else:
            self.poller.send_encoded([(chosen[:5], frame), (chosen[5:], frame)])
        for index in was_open:  # who has exceeded the limit with it gets a part of all, in order
            self.expected[index].append(text)

    async def step(self, number: int, clock: FakeClock) -> None:
        text = b"%d " % number + b"x" * self.chance.choice((1, 50, 300, 12_000))
        index = self.chance.randrange(len(self.transports))
        match self.chance.randrange(12):
            case 0 | 1 | 2:
                self.poller.cork()
            case 3 | 4:
                clock.advance(self.chance.choice((0.0, 0.002, 0.02)))
                await asyncio.sleep(0)
            case 5 | 6 | 7:
                self.send_to_some(text)
            case 8:  # commands, answered as they are read
                frames = [client_frame(text[:40] + b" %d" % each) for each in range(5)]
                with contextlib.suppress(OSError):
                    self.peers[index].sock.send(b"".join(frames))
            case 9 if number % 5 == 0:
                if self.chance.random() < 0.5:
                    self.transports[index].close(1000)
                else:
                    self.cut.add(index)
                    cut(self.transports[index])
            case 10:  # a client reads
                for each in self.chance.sample(range(len(self.peers)), 8):
                    self.read(each)
            case _:
                self.send(index, text)

    async def read_to_the_end(self, clock: FakeClock) -> None:
        for _ in range(300):
            clock.advance(0.02)
            await asyncio.sleep(0)
            for each in range(len(self.peers)):
                self.read(each)

    def read(self, index: int) -> None:
        with contextlib.suppress(ConnectionResetError):  # cut while something of it was unread
            self.received[index] += read_all(self.peers[index].sock)


def texts_of(data: bytes) -> list[bytes]:
    """The texts of whole frames, before a close frame."""
    texts = []
    while len(data) >= 2 and data[0] != 0x88:
        size, begin = data[1], 2
        if size == 126:
            size, begin = int.from_bytes(data[2:4], "big"), 4
        if len(data) < begin + size:
            break
        texts.append(bytes(data[begin : begin + size]))
        data = data[begin + size :]
    return texts


@pytest.mark.gen_test
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("coalesce_s", [0.005, 0])
async def test_every_connection_gets_every_message_once_and_in_order(
    room: Callable[..., Room], clock: FakeClock, seed: int, coalesce_s: float
) -> None:
    crowd = Crowd(room(20, coalesce_s=coalesce_s, queue_limit_bytes=150_000), seed)
    for number in range(600):
        await crowd.step(number, clock)
    await crowd.read_to_the_end(clock)
    slow = 0
    for index, expected in enumerate(crowd.expected):
        got = texts_of(bytes(crowd.received[index]))
        assert got == expected[: len(got)]
        ended = crowd.transports[index].owner is None
        if index not in crowd.cut and (crowd.transports[index].is_open or not ended):
            assert len(got) == len(expected)
        slow += len(got) < len(expected)
    assert slow < 15
