"""Recipients that are the same for one message after the other: kept descriptors, and their end."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator

import pytest
from tornado.ioloop import IOLoop

from tests.support.fake_clock import FakeClock
from tests.support.wire_peers import Recorder, Room, cut, read_all, rooms
from wsserver.wire.frames import build_frame
from wsserver.wire.recipients import Recipients
from wsserver.wire.writers import Writer

A, B, C, D = (build_frame(each) for each in (b"a", b"bb", b"ccc", b"dddd"))


@pytest.fixture
def room(
    io_loop: IOLoop, clock: FakeClock, writer: Callable[[], Writer]
) -> Iterator[Callable[..., Room]]:
    """A poller with some connections, and no window."""
    with rooms(io_loop, clock, writer=writer, coalesce_s=0) as make:
        yield make


@pytest.mark.gen_test
async def test_descriptors_are_kept_until_a_connection_cannot_be_written_to(
    room: Callable[..., Room],
) -> None:
    poller, transports, _ = room(3)
    recipients = Recipients(transports)
    kept = recipients.descriptors(poller.counters.changes)
    assert kept is not None
    assert list(kept) == [each.fd for each in transports]
    assert poller.send_many(recipients, A) == 3
    assert recipients.descriptors(poller.counters.changes) is kept
    transports[1].send(b"x" * (1 << 20))  # more than its socket accepts
    assert recipients.descriptors(poller.counters.changes) is None


@pytest.mark.gen_test
async def test_a_slow_reader_gets_everything_in_order(room: Callable[..., Room]) -> None:
    poller, transports, peers = room(3)
    recipients = Recipients(transports)
    large = build_frame(b"x" * 400_000)
    frames = [A, large, B, large, C]
    for frame in frames:
        assert poller.send_many(recipients, frame) == 3
    assert poller.queued_bytes > 0
    for peer in peers:
        assert await peer.exactly(sum(map(len, frames))) == b"".join(frames)
    assert poller.queued_bytes == 0
    assert poller.send_many(recipients, D) == 3
    assert [await peer.exactly(len(D)) for peer in peers] == [D] * 3


@pytest.mark.gen_test
async def test_a_reused_descriptor_gets_nothing_of_the_connection_before(
    room: Callable[..., Room],
) -> None:
    poller, transports, peers = room(3)
    recipients = Recipients(transports)
    assert poller.send_many(recipients, A) == 3
    fd = transports[1].fd
    cut(transports[1])
    near, far = socket.socketpair()
    with far:
        for sock in (near, far):
            sock.setblocking(False)
        stranger = poller.adopt(near.detach(), Recorder())
        assert stranger.fd == fd
        assert poller.send_many(recipients, B) == 2
        assert read_all(far) == b""
    assert await peers[0].exactly(len(A + B)) == A + B


@pytest.mark.gen_test
async def test_one_that_closes_gets_nothing_behind_its_close_frame(
    room: Callable[..., Room],
) -> None:
    poller, transports, peers = room(2)
    recipients = Recipients(transports)
    assert poller.send_many(recipients, A) == 2
    transports[0].close(1000)
    assert poller.send_many(recipients, B) == 1
    assert await peers[0].exactly(len(A)) == A
    assert await peers[0].close_frame() == (1000, "")


@pytest.mark.gen_test
async def test_a_connection_found_broken_is_left_out(room: Callable[..., Room]) -> None:
    poller, transports, peers = room(3)
    recipients = Recipients(transports)
    assert poller.send_many(recipients, A) == 3
    peers[1].sock.close()
    assert poller.send_many(recipients, B) == 2
    assert poller.send_many(recipients, C) == 2
    assert await peers[2].exactly(len(A + B + C)) == A + B + C


@pytest.mark.gen_test
async def test_within_the_window_messages_are_collected(room: Callable[..., Room]) -> None:
    poller, transports, peers = room(2, coalesce_s=0.005)
    recipients = Recipients(transports)
    for frame in (A, B, C):
        assert poller.send_many(recipients, frame) == 2
    assert poller.counters.writes == 2
    assert transports[0].send(D)
    assert await peers[0].exactly(len(A + B + C + D)) == A + B + C + D
    assert await peers[1].exactly(len(A + B + C)) == A + B + C


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.gen_test
async def test_order_holds_among_messages_to_all_and_to_one(
    room: Callable[..., Room], seed: int
) -> None:
    choose = random.Random(seed)
    poller, transports, peers = room(5, queue_limit_bytes=1 << 24)
    recipients = Recipients(transports)
    expected = [b""] * len(transports)
    for number in range(300):
        frame = build_frame(b"%d " % number * choose.choice([1, 10, 3000]))
        receivers = range(len(transports))
        if choose.random() < 0.6:
            assert poller.send_many(recipients, frame) == len(transports)
        else:
            receivers = range(index := choose.randrange(len(transports)), index + 1)
            if choose.random() < 0.3:
                poller.cork()
            assert transports[index].send(frame)
        for index in receivers:
            expected[index] += frame
        if choose.random() < 0.1:  # a peer reads, so that its queue becomes empty
            index = choose.randrange(len(peers))
            assert await peers[index].exactly(len(expected[index])) == expected[index]
            expected[index] = b""
    for index, peer in enumerate(peers):
        assert await peer.exactly(len(expected[index])) == expected[index]
