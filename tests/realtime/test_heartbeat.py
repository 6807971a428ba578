from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_connections import fake_connection
from tests.support.frames import PONG
from tests.support.live_server import Live, settle
from wsserver.clock import Clock
from wsserver.realtime.connections.connection import Backlog
from wsserver.realtime.connections.heartbeat import TIDY_FROM, Heartbeat, HeartbeatSettings
from wsserver.realtime.connections.hub import Hub


class StepClock(Clock):
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_700_000_000.0 + self.now


class Bench:
    """A heartbeat over connections without sockets; closing one takes it out of the hub."""

    def __init__(self, interval_s: float, timeout_s: float, count: int = 1) -> None:
        self.clock = StepClock()
        self.hub = Hub()
        self.settings = HeartbeatSettings(interval_s, timeout_s)
        self.closed: dict[str, tuple[float, int]] = {}
        self.heartbeat = Heartbeat(self.hub, self.settings, self.clock)
        self.connections = [
            fake_connection(f"u{n}", last_heard=self.clock.now, owner=self) for n in range(count)
        ]
        for connection in self.connections:
            self.hub.add(connection)
            self.heartbeat.add(connection)

    def close(self, connection: Any, code: int, reason: str) -> None:
        self.closed[connection.connection_id] = (self.clock.now, code)
        self.hub.remove(connection)

    def run(self, seconds: float, step_s: float | None = None) -> list[int]:
        """Let time pass; how many were pinged in each step."""
        step_s = step_s or self.settings.tick_s
        pinged = []
        for _ in range(round(seconds / step_s)):
            before = sum(len(c.websocket.sent) for c in self.connections)
            self.clock.now += step_s
            self.heartbeat.advance()
            pinged.append(sum(len(c.websocket.sent) for c in self.connections) - before)
        return pinged


def test_connections_of_one_moment_are_pinged_once_an_interval_and_spread_over_it() -> None:
    bench = Bench(30.0, 1e6, count=600)
    pinged = bench.run(30.0)
    assert sum(pinged) == 600
    assert max(pinged) <= 10  # 5 a tick on average
    for _ in range(3):
        assert sum(bench.run(30.0)) == pytest.approx(600, abs=10)
    assert {len(c.websocket.sent) for c in bench.connections} <= {3, 4, 5}


def test_standing_still_does_not_bunch_the_pings_up() -> None:
    bench = Bench(30.0, 1e6, count=600)
    bench.run(60.0)
    bench.clock.now += 20.0
    bench.heartbeat.advance()
    bench.run(40.0)
    assert max(bench.run(60.0)) <= 20


def test_a_ping_is_json_and_rfc_in_one_write_encoded_once_for_all_of_a_tick() -> None:
    bench = Bench(0.1, 100.0, count=100)
    bench.run(0.11)
    sent = [c.websocket.sent[0] for c in bench.connections]
    assert len({id(frames) for frames in sent}) <= 21  # ticks, not connections
    frames = sent[0]
    size = frames[1]
    push = json.loads(frames[2 : 2 + size])
    assert frames[0] == 0x81
    assert push["type"] == "ping"
    assert push["timestamp"].endswith("Z")
    assert frames[2 + size :] == bytes([0x89, len(push["id"])]) + push["id"].encode()


@pytest.mark.parametrize(
    ("interval_s", "timeout_s"),
    [(30, 60), (60, 30), (0.5, 0.7), (5, 0.3), (0.3, 5), (1 / 3, 2 / 3), (1e6, 1.0)],
)
def test_silence_is_ended_at_the_timeout_whatever_the_interval(
    interval_s: float, timeout_s: float
) -> None:
    bench = Bench(interval_s, timeout_s)
    bench.run(timeout_s * 2)
    ((at, code),) = bench.closed.values()
    assert code == 4001
    assert 0 <= at - 1000.0 - timeout_s <= bench.settings.tick_s * 1.01


def test_any_sign_of_life_counts_from_its_own_moment() -> None:
    bench = Bench(30.0, 60.0, count=2)
    bench.run(59.5)
    bench.connections[0].websocket.last_heard = bench.clock.now
    bench.run(10.0)
    assert [c.connection_id in bench.closed for c in bench.connections] == [False, True]
    bench.run(49.0)
    assert len(bench.closed) == 1
    bench.run(1.0)
    assert len(bench.closed) == 2


def test_one_whose_frames_wait_behind_a_slow_command_is_silent_but_not_dead() -> None:
    bench = Bench(30.0, 60.0)
    bench.connections[0].backlog = Backlog()
    bench.connections[0].backlog.append(b"waiting")
    bench.run(200.0)
    assert not bench.closed
    bench.connections[0].backlog = None
    bench.run(60.0)
    assert len(bench.closed) == 1


@given(
    st.floats(0.05, 100),
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
    st.floats(1e-3, 1e6),
)
def test_no_connection_is_closed_early_or_twice_and_every_round_ends(
    timeout_s: float, fractions: list[float], start: float
) -> None:
    bench = Bench(1e9, timeout_s)
    connection = bench.connections[0]
    bench.clock.now = heard = start
    bench.heartbeat = Heartbeat(bench.hub, bench.settings, bench.clock)
    connection.websocket.last_heard = heard
    bench.heartbeat.add(connection)
    for fraction in fractions:
        bench.run(timeout_s * fraction * 0.9)
        if bench.closed:
            break
        connection.websocket.last_heard = heard = bench.clock.now
    while bench.clock.now + bench.settings.tick_s < heard + timeout_s:
        bench.run(bench.settings.tick_s)
    assert not bench.closed
    bench.clock.now = heard + timeout_s  # the very moment
    bench.heartbeat.advance()
    bench.run(bench.settings.tick_s * 3)
    assert len(bench.closed) == 1
    (at, _) = bench.closed[connection.connection_id]
    assert at >= heard + timeout_s


@pytest.mark.parametrize(("interval_s", "timeout_s"), [(30.0, 60.0), (1.0, 2.0), (0.2, 0.3)])
def test_time_that_the_process_itself_stood_still_is_not_the_clients_silence(
    interval_s: float, timeout_s: float
) -> None:
    bench = Bench(interval_s, timeout_s)
    bench.run(timeout_s / 2)
    bench.clock.now += timeout_s * 3
    bench.heartbeat.advance()
    bench.run(timeout_s * 0.9)
    assert bench.closed == {}
    bench.run(timeout_s * 0.2)
    assert len(bench.closed) == 1


@pytest.mark.parametrize("settings", [(30, 60), (0.2, 0.3), (0.001, 100)])
def test_the_look_is_fine_enough_for_both_and_never_a_busy_loop(
    settings: tuple[float, float],
) -> None:
    tick_s = HeartbeatSettings(*settings).tick_s
    assert 0.005 <= tick_s <= 0.25
    assert tick_s <= max(0.005, min(settings) / 20)


def test_the_timers_of_many_who_have_gone_go_before_their_time() -> None:
    bench = Bench(30, 60, count=TIDY_FROM + 500)
    for connection in bench.connections[500:]:
        bench.hub.remove(connection)
    heartbeat = bench.heartbeat
    bench.run(5)
    assert len(heartbeat._pings) + len(heartbeat._deadlines) > 2 * 500, "too few to be looked for"
    for connection in bench.connections[250:500]:
        bench.hub.remove(connection)
    bench.run(10)
    assert (len(heartbeat._pings), len(heartbeat._deadlines)) == (250, 250)
    assert sum(bench.run(30)) == 250, "the others are pinged as ever"


def test_a_connection_that_has_gone_is_neither_pinged_nor_closed() -> None:
    bench = Bench(1.0, 2.0)
    bench.hub.remove(bench.connections[0])
    bench.run(5.0)
    assert bench.closed == {}
    assert bench.connections[0].websocket.sent == []
    assert len(bench.heartbeat._pings) == len(bench.heartbeat._deadlines) == 0


# Over real sockets


@pytest.mark.gen_test
@pytest.mark.parametrize("first", ["json", "rfc"])
async def test_the_round_trip_comes_from_whichever_pong_is_first(live: Live, first: str) -> None:
    client = await live.connect()
    assert client.info.rtt_ms is None
    await live.tick(30.0)
    await client.rest()
    (ping,) = client.pings
    assert client.wire_pings == [ping["id"].encode()]
    pinged_at = client.info.last_ping
    live.clock.advance(0.025)
    if first == "json":
        client.send("pong", id=ping["id"])
    else:
        client.send_frame(PONG, ping["id"].encode())
    await settle()
    assert client.info.rtt_ms == pytest.approx((live.clock.wall() - pinged_at) * 1000, abs=0.01)
    measured = client.info.rtt_ms
    answered_at = client.info.last_pong
    assert answered_at == live.clock.wall()
    live.clock.advance(5.0)
    client.send("pong", id=ping["id"])
    client.send_frame(PONG, ping["id"].encode())
    await settle()
    assert client.info.rtt_ms == measured
    assert client.info.last_pong == answered_at + 5.0


@pytest.mark.gen_test
async def test_a_pong_that_answers_nothing_measures_nothing(live: Live) -> None:
    client = await live.connect()
    await live.tick(30.0)
    client.send("pong", id="ping_999")
    client.send("pong")
    client.send_frame(PONG, b"")
    client.send_frame(PONG, b"\xff\xfe")
    await client.rest()
    assert client.info.rtt_ms is None


@pytest.mark.gen_test
async def test_any_frame_keeps_a_connection_and_silence_ends_it_with_4001(live: Live) -> None:
    quiet = await live.connect("quiet")
    alive = await live.connect("alive")
    for _ in range(3):
        await live.tick(25.0)
        alive.send_frame(PONG, b"")
        await settle()
    assert (await quiet.closing())[0] == 4001
    assert not quiet.info.is_alive
    assert list(live.hub.user_connections) == ["alive"]
    assert alive.info.is_alive


@pytest.mark.gen_test
async def test_measuring_is_a_real_round_trip(live: Live) -> None:
    client = await live.connect()
    measuring = asyncio.ensure_future(live.manager.heartbeat.measure(client.info, 5.0))
    await client.frame()
    _, ping_id = await client.frame()
    live.clock.advance(0.125)
    client.send_frame(PONG, ping_id)
    assert await measuring == 125.0
    assert client.info.rtt_ms == 125.0
    assert not live.manager.heartbeat.awaited_pongs


@pytest.mark.gen_test
async def test_measuring_ends_without_an_answer_when_time_is_up_or_the_connection_goes(
    live: Live,
) -> None:
    client = await live.connect()
    assert await live.manager.heartbeat.measure(client.info, 0.01) is None
    measuring = asyncio.ensure_future(live.manager.heartbeat.measure(client.info, 5.0))
    await settle()
    client.socket.close()
    assert await measuring is None
    assert await live.manager.heartbeat.measure(client.info, 5.0) is None
