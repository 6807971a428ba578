"""Poller with real sockets: closing, violations, slow consumers, descriptors."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from tests.support.frames import client_frame
from tests.support.waiting import PATIENCE_S
from tests.support.wire_peers import Connect, MakePoller, Peer, Recorder, cut
from wsserver.wire import carrier
from wsserver.wire.frames import build_frame
from wsserver.wire.transport import Owner, State, Transport

# -- closing


@pytest.mark.gen_test
async def test_the_server_closes(make_poller: MakePoller, connect: Connect) -> None:
    poller = make_poller()
    transport, peer, owner = connect(poller)
    transport.send(build_frame(b"last words"))
    transport.close(4001, "heartbeat timeout")
    states = [transport.state]
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
    assert await poller.wait_closed(PATIENCE_S)
    assert [*states, transport.state] == [State.CLOSING, State.CLOSED]
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
    assert await poller.wait_closed(PATIENCE_S)
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
    assert await poller.wait_closed(PATIENCE_S)


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


@pytest.mark.pure
@pytest.mark.gen_test
async def test_when_many_connections_are_lost_together_others_are_served_between(
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
    os.close(fd)


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
    assert await poller.wait_closed(PATIENCE_S)


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
    assert await poller.wait_closed(PATIENCE_S)
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
        assert await poller.wait_closed(PATIENCE_S)
    assert len(os.listdir("/proc/self/fd")) == before
    assert poller.counters.adopted == 50


@pytest.mark.gen_test
async def test_a_descriptor_that_cannot_be_watched_is_left_to_the_caller(
    make_poller: MakePoller, tmp_path: Path
) -> None:
    poller = make_poller()
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    with pytest.raises(OSError, match="permitted"):
        poller.adopt(fd, Recorder())
    os.close(fd)
    assert poller.connections == 0
