"""Taps: what is observed and disturbed on one connection, and that the others are left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.frames import client_frame
from tests.support.wire_peers import MakePoller, Peer, Recorder
from wsserver.wire.deflate import deflated_frame
from wsserver.wire.events import CLOSE, build_event
from wsserver.wire.frames import PING, build_frame
from wsserver.wire.pings import build_ping
from wsserver.wire.sent_texts import texts_in_events, texts_in_frames
from wsserver.wire.tap import CALM, Disturbance
from wsserver.wire.transport import Transport

Connect = Callable[..., tuple[Transport, Peer, Recorder]]


class Notes:
    """An observer that writes down everything."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.into: list[bytes] = []
        self.end: tuple[int, str, bool] | None = None

    def sent(self, data: bytes) -> None:
        self.out.extend(texts_in_frames(data))

    def received(self, payload: bytes) -> None:
        self.into.append(payload)

    def closed(self, code: int, reason: str, clean: bool) -> None:
        self.end = (code, reason, clean)


def frame(number: int) -> bytes:
    return build_frame(b"%d" % number)


@pytest.mark.gen_test
async def test_everything_is_observed_in_its_order(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller()
    tapped, peer, owner = connect(poller)
    others = [connect(poller) for _ in range(20)]
    tap, notes = poller.tap(tapped), Notes()
    assert tap is not None
    tap.observe(notes)
    everyone = [tapped, *(transport for transport, _, _ in others)]
    assert tapped.send(frame(0))
    assert poller.send_many(everyone, frame(1)) == 21
    assert poller.send_many(everyone, frame(2)) == 21
    poller.cork()
    assert tapped.send(frame(3))
    assert poller.send_encoded([(everyone[:3], frame(4)), (everyone[3:], frame(5))]) == 21
    assert [(await peer.frame())[1] for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
    for _, other, _ in others[2:]:
        assert [(await other.frame())[1] for _ in range(3)] == [b"1", b"2", b"5"]
    assert notes.out == [b"0", b"1", b"2", b"3", b"4"]
    await peer.send(client_frame(b"hello"))
    assert await owner.until(1) == [("text", b"hello")]
    assert notes.into == [b"hello"]
    tapped.close(4502, "enough")
    await peer.close_frame()
    peer.sock.close()
    assert (await owner.end())[0] == 4502
    assert notes.end is not None
    assert notes.end[0] == 4502
    assert poller.tap_of(tapped) is None


@pytest.mark.gen_test
async def test_a_tap_is_removed_without_a_trace(make_poller: MakePoller, connect: Connect) -> None:
    poller = make_poller()
    transport, peer, owner = connect(poller)
    backend = transport._backend
    tap, notes = poller.tap(transport), Notes()
    assert tap is not None
    assert poller.tap(transport) is tap
    tap.observe(notes)
    poller.untap(transport)
    assert poller.tap_of(transport) is tap, "it is used still"
    tap.forget(notes)
    poller.untap(transport)
    assert poller.tap_of(transport) is None
    assert transport._backend is backend
    assert transport.owner is owner
    assert transport.send(frame(1))
    assert (await peer.frame())[1] == b"1"
    assert notes.out == []


@pytest.mark.gen_test
async def test_what_is_delayed_keeps_its_order_and_is_let_go_at_the_end(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller()
    transport, peer, owner = connect(poller)
    tap, notes = poller.tap(transport), Notes()
    assert tap is not None
    tap.observe(notes)
    tap.disturb(Disturbance(delay_s=3600.0))
    for number in range(3):
        assert transport.send(frame(number))
    await peer.send(client_frame(b"late"))
    tap.disturb(Disturbance(delay_s=3600.0, to_client=False))
    assert transport.send(frame(3)), "behind what waits"
    assert notes.out == []
    tap.disturb(CALM)
    assert [(await peer.frame())[1] for _ in range(4)] == [b"0", b"1", b"2", b"3"]
    assert notes.out == [b"0", b"1", b"2", b"3"]
    assert await owner.until(1) == [("text", b"late")]


@pytest.mark.gen_test
async def test_a_short_delay_ends_by_itself(make_poller: MakePoller, connect: Connect) -> None:
    poller = make_poller()
    transport, peer, owner = connect(poller)
    tap = poller.tap(transport)
    assert tap is not None
    tap.disturb(Disturbance(delay_s=0.02, jitter_s=0.01, bytes_per_s=1000.0))
    for number in range(5):
        assert transport.send(frame(number))
    await peer.send(client_frame(b"command"))
    assert [(await peer.frame())[1] for _ in range(5)] == [b"%d" % number for number in range(5)]
    assert await owner.until(1) == [("text", b"command")]


@pytest.mark.gen_test
async def test_messages_get_lost(make_poller: MakePoller, connect: Connect) -> None:
    poller = make_poller()
    transport, peer, owner = connect(poller)
    tap, notes = poller.tap(transport), Notes()
    assert tap is not None
    tap.observe(notes)
    tap.disturb(Disturbance(drop=1.0, from_client=False))
    assert transport.send(frame(1)), "nobody can tell"
    await peer.send(client_frame(b"heard"))
    assert await owner.until(1) == [("text", b"heard")]
    tap.disturb(CALM)
    assert transport.send(frame(2))
    assert (await peer.frame())[1] == b"2"
    assert notes.out == [b"2"]


@pytest.mark.gen_test
async def test_a_slow_reader_is_closed_as_a_slow_consumer(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller(queue_limit_bytes=1000)
    transport, _, owner = connect(poller)
    tap = poller.tap(transport)
    assert tap is not None
    tap.disturb(Disturbance(bytes_per_s=1.0))
    big = build_frame(b"x" * 600)
    assert transport.send(big)
    assert not transport.send(big)
    assert (await owner.end())[0] == 4002
    assert poller.counters.slow_consumers == 1


@pytest.mark.gen_test
async def test_a_connection_is_cut_without_a_close_frame(
    make_poller: MakePoller, connect: Connect
) -> None:
    poller = make_poller()
    transport, peer, owner = connect(poller)
    tap = poller.tap(transport)
    assert tap is not None
    tap.disturb(Disturbance(cut_every_s=0.01))
    assert (await owner.end())[0] == 1006
    assert await peer.end() == b""
    assert poller.tap_of(transport) is None
    assert poller.tap(transport) is None, "it has ended"


@pytest.mark.gen_test
async def test_the_end_of_the_poller_is_observed(make_poller: MakePoller, connect: Connect) -> None:
    poller = make_poller()
    transport, _, owner = connect(poller)
    tap, notes = poller.tap(transport), Notes()
    assert tap is not None
    tap.observe(notes)
    tap.disturb(Disturbance(delay_s=3600.0, cut_every_s=3600.0))
    transport.send(frame(1))
    poller.close()
    assert (await owner.end())[0] == 1001
    assert notes.end is not None


@pytest.mark.gen_test
async def test_an_observer_that_fails_harms_nobody(
    make_poller: MakePoller, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Notes):
        def sent(self, data: bytes) -> None:
            raise RuntimeError("on purpose")

    poller = make_poller()
    transport, peer, _ = connect(poller)
    tap, notes = poller.tap(transport), Notes()
    assert tap is not None
    tap.observe(Failing())
    tap.observe(notes)
    for number in range(2):
        assert transport.send(frame(number))
    assert [(await peer.frame())[1] for _ in range(2)] == [b"0", b"1"]
    assert notes.out == [b"0", b"1"]
    assert caplog.text.count("observer failed") == 1


def test_the_texts_of_frames_and_events_are_read() -> None:
    long, longer = b"a" * 300, b"b" * 70_000
    data = b"".join(
        [
            build_frame(b"{}"),
            build_frame(long),
            build_frame(b"", PING),
            build_frame(longer),
            deflated_frame(long, 15),
            build_ping(b"text", b"id").frames,
        ]
    )
    found: Any = list(texts_in_frames(data))
    assert found == [b"{}", long, longer, long, b"text"]
    events = b"".join(
        [
            build_event(b"{}", event_id=b"c1"),
            b"retry: 100\n\nid: 5\n\n",
            build_ping(b"text", b"id").event,
            build_event(b"gone", CLOSE),
        ]
    )
    assert list(texts_in_events(events)) == [b"{}", b"text"]
