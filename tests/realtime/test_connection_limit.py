"""Connection limits: dead connections of a user are closed for a new one, live ones are not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tornado.ioloop import IOLoop

from tests.support.frames import PONG
from tests.support.lifecycle import run
from tests.support.live_server import LIMITS, Client, Live, MakeLive, settle
from wsserver.errors import ConnectionLimit
from wsserver.realtime.connections import connection_limit
from wsserver.realtime.connections.connection import Backlog


@pytest.fixture
def live(io_loop: IOLoop, make_live: MakeLive, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.setattr(connection_limit, "SLICE_S", 0.01)
    monkeypatch.setattr(connection_limit, "ANSWER_S", 0.03)
    monkeypatch.setattr(connection_limit, "ANSWER_LIMIT_S", 0.2)
    return run(io_loop, lambda: make_live(limits=replace(LIMITS, per_user=3)))


async def three(live: Live) -> list[Client]:
    """As many connections as are allowed, none of them heard of just now."""
    clients = [await live.connect() for _ in range(3)]
    live.clock.advance(1.0)
    return clients


async def answer(client: Client) -> None:
    """Answer pings as the network process of a browser does, also while the page is busy."""
    while not client.wire_pings:
        opcode, payload = await client.frame()
        if opcode == 9:
            client.wire_pings.append(payload)
    client.send_frame(PONG, client.wire_pings[-1])


@pytest.mark.gen_test
async def test_those_that_do_not_answer_give_way_and_those_that_do_stay(live: Live) -> None:
    dead, alive, other = await three(live)
    asking = asyncio.ensure_future(live.manager.room.check_liveness("u1"))
    await answer(alive)
    other.send("ping")  # any frame is a sign of life
    live.clock.advance(0.1)
    await asking
    assert live.hub.of_user("u1") == [alive.info, other.info]
    assert (await dead.closing())[0] == 4001
    assert not live.manager.room.is_full("u1")
    await live.connect()


@pytest.mark.gen_test
async def test_the_answer_is_there_as_soon_as_all_have_answered(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limit, "SLICE_S", 1e6)
    clients = await three(live)
    asking = asyncio.ensure_future(live.manager.room.check_liveness("u1"))
    await answer(clients[0])
    await answer(clients[1])
    await settle()
    assert not asking.done()
    clients[2].socket.close()  # gone is an answer too
    await asking
    assert live.hub.of_user("u1") == [clients[0].info, clients[1].info]
    assert not live.manager.heartbeat.awaited_pongs


@pytest.mark.gen_test
async def test_who_was_heard_of_just_now_is_not_asked(live: Live) -> None:
    clients = [await live.connect() for _ in range(3)]
    await live.manager.room.check_liveness("u1")
    assert live.hub.of_user("u1") == [client.info for client in clients]
    assert [await client.rest() for client in clients] == [[], [], []]
    assert not any(client.pings for client in clients)


@pytest.mark.gen_test
async def test_frames_that_wait_behind_a_slow_command_are_no_silence(live: Live) -> None:
    *_, busy = await three(live)
    asking = asyncio.ensure_future(live.manager.room.check_liveness("u1"))
    await asyncio.sleep(0)
    busy.info.backlog = Backlog()
    busy.info.backlog.append(b"{}")
    await asking
    assert live.hub.of_user("u1") == [busy.info]
    await live.connect()
    await live.connect()
    live.clock.advance(1.0)
    await live.manager.room.check_liveness("u1")
    assert busy.info.is_alive


@pytest.mark.gen_test
async def test_one_question_serves_all_arrivals_and_only_so_many_may_wait(live: Live) -> None:
    clients = await three(live)
    asking = [asyncio.ensure_future(live.manager.room.check_liveness("u1")) for _ in range(5)]
    await settle()
    refused = [one for one in asking if one.done()]
    assert [type(one.exception()) for one in refused] == [ConnectionLimit] * 2
    asking[0].cancel()  # one arrival less: the others learn the outcome all the same
    await asking[1]
    await asking[2]
    assert live.hub.of_user("u1") == []
    for client in clients:
        await client.closing()
        assert len([push for push in client.pushes if push["type"] == "ping"]) == 1


@pytest.mark.gen_test
async def test_a_slow_network_has_more_time_to_answer(live: Live) -> None:
    slow, quick, _ = await three(live)
    slow.info.rtt_ms, quick.info.rtt_ms = 90.0, 2.0
    await live.manager.room.check_liveness("u1")
    assert live.hub.of_user("u1") == [slow.info]
    await live.manager.room.check_liveness("u1")
    assert live.hub.of_user("u1") == []


@pytest.mark.parametrize(
    ("rtt_ms", "slices"), [(None, 3), (1.0, 3), (150.0, 3), (151.0, 4), (900.0, 18), (60_000.0, 20)]
)
def test_the_time_for_an_answer_is_300_ms_or_two_round_trips(
    rtt_ms: float | None, slices: int
) -> None:
    assert connection_limit.slices_for(rtt_ms) == slices
