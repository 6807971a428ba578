"""Fan-out: immediate without load, coalesced under load, always in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence

import pytest
from tornado.ioloop import IOLoop

from tests.support.fake_clock import FakeClock
from tests.support.frames import client_frame
from tests.support.wire_peers import (
    Peer,
    Recorder,
    Room,
    cut,
    rooms,
)
from wsserver.wire import fanout
from wsserver.wire.fanout import Encodings
from wsserver.wire.frames import build_frame
from wsserver.wire.poller import Poller
from wsserver.wire.transport import Transport
from wsserver.wire.writers import Shortfalls, SingleWriter, Writer

A, B, C, D = (build_frame(each) for each in (b"a", b"bb", b"ccc", b"dddd"))


@pytest.fixture
def room(
    io_loop: IOLoop, clock: FakeClock, writer: Callable[[], Writer]
) -> Iterator[Callable[..., Room]]:
    """A poller with some connections."""
    with rooms(io_loop, clock, writer=writer) as make:
        yield make


async def received(peer: Peer, *frames: bytes) -> bool:
    return await peer.exactly(sum(map(len, frames))) == b"".join(frames)


@pytest.mark.gen_test
async def test_when_idle_a_frame_is_sent_immediately(
    room: Callable[..., Room], clock: FakeClock
) -> None:
    poller, transports, peers = room(3)
    for round_number in range(1, 4):
        assert poller.send_many(transports, A) == 3
        assert poller.counters.writes == 3 * round_number
        clock.advance(0.006)
    assert poller.queued_bytes == 0
    assert all([await received(peer, A, A, A) for peer in peers])


@pytest.mark.gen_test
async def test_under_load_each_connection_gets_one_write_for_a_window(
    room: Callable[..., Room],
) -> None:
    poller, transports, peers = room(3)
    poller.send_many(transports, A)
    for frame in (B, C, D):
        assert poller.send_many(iter(transports), frame) == 3
    assert poller.counters.writes == 3
    assert transports[0].queued_bytes == len(B + C + D)
    assert poller.queued_bytes == 3 * len(B + C + D)
    # They share everything: nothing was copied for each of them.
    assert transports[0].collected is transports[1].collected is transports[2].collected
    assert all([await received(peer, A, B, C, D) for peer in peers])
    assert poller.counters.writes == 6
    assert poller.counters.bytes_out == 3 * len(A + B + C + D)
    assert poller.queued_bytes == 0
    # Right after a flush it is not quiet: this is collected again, and leaves all the same.
    poller.send_many(transports, A)
    assert poller.counters.writes == 6
    assert all([await received(peer, A) for peer in peers])


@pytest.mark.gen_test
async def test_other_processes_are_sent_a_frame_before_it_is_written_immediately(
    room: Callable[..., Room], clock: FakeClock
) -> None:
    writes: list[int] = []
    pollers: list[Poller] = []

    def before_write() -> None:
        writes.append(pollers[0].counters.writes)

    poller, transports, peers = room(3, before_write=before_write)
    pollers.append(poller)
    poller.send_many(transports, A)
    assert writes == [0]
    clock.advance(0.006)
    poller.send_encoded([(transports[:1], B), (transports[1:], C)])
    assert writes == [0, 3]
    poller.send_many(transports, D)
    assert await received(peers[0], A, B, D)
    assert all([await received(peer, A, C, D) for peer in peers[1:]])
    assert writes == [0, 3]


@pytest.mark.parametrize(("processes", "window_s"), [(1, 0.008), (2, 0.016), (9, 0.020)])
@pytest.mark.gen_test
async def test_the_window_is_as_long_as_if_one_process_wrote_to_all(
    io_loop: IOLoop, clock: FakeClock, processes: int, window_s: float
) -> None:
    delays: list[float] = []

    def call_later(delay: float, callback: Callable[..., None], *args: object) -> object:
        delays.append(delay)
        return IOLoop.call_later(io_loop, 0, callback, *args)

    class SlowWriter(SingleWriter):
        def write_all(self, fds: Sequence[int], data: bytes) -> Shortfalls:
            clock.advance(0.004)
            return super().write_all(fds, data)

    io_loop.call_later = call_later  # type: ignore[method-assign]
    with rooms(io_loop, clock, writer=SlowWriter, processes=lambda: processes) as room:
        poller, transports, peers = room(3)
        for frame in (A, B):
            poller.send_many(transports, frame)
            assert all([await received(peer, frame) for peer in peers])
    assert delays[-1] == pytest.approx(window_s)


@pytest.mark.gen_test
async def test_a_direct_send_takes_the_collected_frames_along(room: Callable[..., Room]) -> None:
    poller, transports, peers = room(2)
    poller.send_many(transports, A)
    poller.send_many(transports, B)
    assert transports[0].send(C)
    assert poller.counters.writes == 3
    poller.send_many(transports, D)
    assert await received(peers[0], A, B, C, D)
    assert await received(peers[1], A, B, D)


@pytest.mark.gen_test
async def test_connections_with_different_histories(room: Callable[..., Room]) -> None:
    poller, (one, two, three), peers = room(3)
    poller.send_many([], A)
    poller.send_many([one], A)
    poller.send_many([two], B)
    poller.send_many([three, one, two], C)
    poller.send_many([one, two], D)
    poller.send_many([two, three], A)
    assert await received(peers[0], A, C, D)
    assert await received(peers[1], B, C, D, A)
    assert await received(peers[2], C, A)


@pytest.mark.gen_test
async def test_several_encodings_of_a_message_are_one_round(
    room: Callable[..., Room], clock: FakeClock
) -> None:
    poller, (one, two, three), peers = room(3)
    assert poller.send_encoded([([one], A), ([two, three], B)]) == 3
    assert poller.counters.writes == 3
    assert poller.send_encoded([([two], C), ([one, three], D)]) == 3
    assert poller.counters.writes == 3
    poller.send_many([one, two], A)
    assert await received(peers[0], A, D, A)
    assert await received(peers[1], B, C, A)
    assert await received(peers[2], B, D)


@pytest.mark.pure
@pytest.mark.gen_test
async def test_a_large_audience_of_several_encodings_is_written_to_in_turns(
    room: Callable[..., Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "WRITES_PER_TURN", 3)
    poller, transports, peers = room(7)
    poller._carrier.drop(transports[1])
    encodings: Encodings = [(transports[:2], A), (transports[2:5], B), (transports[5:], C)]
    assert poller.send_encoded(encodings) == 6
    assert poller.counters.writes == 2
    for index, frame in enumerate([A, b"", B, B, B, C, C]):
        assert await received(peers[index], frame)


@pytest.mark.gen_test
async def test_without_a_window_every_frame_is_sent_immediately(room: Callable[..., Room]) -> None:
    poller, transports, peers = room(2, coalesce_s=0)
    for frame in (A, B, C):
        poller.send_many(transports, frame)
    assert poller.counters.writes == 6
    assert all([await received(peer, A, B, C) for peer in peers])


@pytest.mark.pure
@pytest.mark.parametrize("coalesce_s", [0, 0.005])
@pytest.mark.gen_test
async def test_a_large_audience_is_served_in_several_turns_in_order(
    room: Callable[..., Room], monkeypatch: pytest.MonkeyPatch, coalesce_s: float
) -> None:
    monkeypatch.setattr(fanout, "WRITES_PER_TURN", 4)
    poller, transports, peers = room(10, coalesce_s=coalesce_s)
    assert poller.send_many(transports, A) == 10
    assert poller.counters.writes == 4
    assert poller.send_many(reversed(transports), B) == 10
    transports[9].send(C)
    assert all([await received(peer, A, B) for peer in peers[:9]])
    assert await received(peers[9], A, B, C)
    assert poller.queued_bytes == 0


@pytest.mark.gen_test
async def test_what_is_collected_is_bounded(
    room: Callable[..., Room],
) -> None:
    poller, transports, peers = room(2, queue_limit_bytes=10_000)
    poller.send_many(transports, A)
    frame = build_frame(b"x" * 3000)
    for _ in range(4):
        assert poller.send_many(transports, frame) == 2
    assert poller.counters.writes == 4
    assert transports[0].queued_bytes == 0
    assert all([await received(peer, A, *[frame] * 4) for peer in peers])


@pytest.mark.gen_test
async def test_closing_sends_what_was_collected_first(room: Callable[..., Room]) -> None:
    poller, transports, peers = room(1)
    poller.send_many(transports, A)
    poller.send_many(transports, B)
    transports[0].close(1000)
    assert poller.send_many(transports, C) == 0
    assert await received(peers[0], A, B)
    assert await peers[0].close_frame() == (1000, "")


@pytest.mark.gen_test
async def test_connections_that_end_while_frames_are_collected(room: Callable[..., Room]) -> None:
    poller, transports, peers = room(4)
    poller.send_many(transports, A)
    poller.send_many(transports, B)
    cut(transports[0])
    peers[1].sock.close()
    assert poller.send_many(transports, C) == 3
    assert await received(peers[2], A, B, C)
    assert await received(peers[3], A, B, C)
    assert poller.connections == 2
    assert poller.queued_bytes == 0


@pytest.mark.gen_test
async def test_a_broken_connection_is_found_by_a_write(
    room: Callable[..., Room], clock: FakeClock
) -> None:
    poller, transports, peers = room(2)
    peers[0].sock.close()
    assert poller.send_many(transports, A) == 1
    assert await received(peers[1], A)


@pytest.mark.gen_test
async def test_an_audience_may_shrink_when_owners_learn_of_an_end(
    room: Callable[..., Room],
) -> None:
    """A hub passes its own dictionary; ``on_close`` must not change it during the loop."""
    poller, transports, peers = room(3)
    audience = dict.fromkeys(transports)

    class Leaving(Recorder):
        def on_close(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
            del audience[transport]
            super().on_close(transport, code, reason, clean)

    owner = Leaving()
    transports[0].owner = owner
    peers[0].sock.close()
    assert poller.send_many(audience, A) == 2
    await owner.end()
    assert poller.send_many(audience, A) == 2


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.gen_test
async def test_order_holds_whatever_is_mixed(
    room: Callable[..., Room],
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    monkeypatch.setattr(fanout, "WRITES_PER_TURN", 3)
    choose = random.Random(seed)
    poller, transports, peers = room(8, queue_limit_bytes=1 << 24, coalesce_s=0.001)
    expected: dict[Transport, list[bytes]] = {each: [] for each in transports}
    readers = [asyncio.ensure_future(_read_to_the_close_frame(peer)) for peer in peers[:4]]
    for number in range(400):
        frame = build_frame(b"%d " % number * choose.choice([1, 10, 3000]))
        if choose.random() < 0.7:
            audience = choose.sample(transports, choose.randint(0, 8))
            assert poller.send_many(audience, frame) == len(audience)
        else:
            audience = [choose.choice(transports)]
            assert audience[0].send(frame)
        for transport in audience:
            expected[transport].append(frame)
        if choose.random() < 0.2:
            clock.advance(0.002)
        if choose.random() < 0.2:
            await asyncio.sleep(0)
    for transport in transports:
        transport.close(1000)
    # Half of the peers start to read only now: their sockets were full, their queues long.
    readers += [asyncio.ensure_future(_read_to_the_close_frame(peer)) for peer in peers[4:]]
    for transport, reader in zip(transports, readers, strict=True):
        assert await reader == expected[transport]


async def _read_to_the_close_frame(peer: Peer) -> list[bytes]:
    frames = []
    while (received := await peer.frame())[0] == 1:
        frames.append(build_frame(received[1]))
    await peer.send(client_frame(b"", 8))
    return frames
