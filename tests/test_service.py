"""The service: start, periodic work, health, stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.lifecycle import run
from tests.support.live_server import Client, settle, socket_pair
from tests.support.tokens import SECRET
from tests.support.waiting import PATIENCE_S
from wsserver.app import build
from wsserver.config import Settings
from wsserver.errors import StorageUnavailable, TokenRevoked
from wsserver.identity.claims import Claims
from wsserver.realtime.manager import ConnectRequest
from wsserver.service import LAG_INTERVAL_S, LoopLag, Service
from wsserver.storage.tables.access_lists import MemberStore, RevocationStore
from wsserver.storage.tables.audit import AuditEntry
from wsserver.storage.tables.snapshots import FIELDS

MakeService = Callable[..., Awaitable[Service]]
Connect = Callable[[Service], Awaitable[Client]]


@pytest.fixture
def make_service(io_loop: IOLoop, clock: Any, tmp_path: Path) -> Iterator[MakeService]:
    """Started services on one database file; stopped at the end."""
    made: list[Service] = []

    async def make(**settings: Any) -> Service:
        settings = {
            "jwt_secret": SECRET,
            "jwt_algorithm": ("HS256",),
            "data_dir": tmp_path,
            "database": tmp_path / "wsserver.sqlite3",
            "node": "node-1",
            **settings,
        }
        service = build(Settings(**settings), clock).service
        made.append(service)
        await service.start()
        return service

    yield make
    for service in made:
        io_loop.run_sync(service.stop)


@pytest.fixture
def service(io_loop: IOLoop, make_service: MakeService) -> Service:
    return run(io_loop, make_service)


async def snapshots_of(service: Service) -> list[dict[str, Any]]:
    return list((await service.snapshots.history(0, 9e9)).items)


@pytest.fixture
def connect(clock: Any) -> Iterator[Connect]:
    """Clients that have read their greeting; their sockets are closed at the end."""
    clients: list[Client] = []

    async def connect(service: Service) -> Client:
        fd, client = socket_pair()
        clients.append(client)
        claims = claims_of(clock, "u1")
        newcomer = ConnectRequest(claims, "chat", None, "wsserver.v1", "10.0.0.1", "test")
        client.info = await service.manager.connect(fd, newcomer)
        await client.receive("connection_established")
        return client

    yield connect
    for client in clients:
        client.socket.close()


def claims_of(clock: Any, user: str, **changes: Any) -> Claims:
    return Claims(sub=user, exp=clock.wall() + 86400, **changes)


@pytest.mark.gen_test
async def test_what_outlived_the_last_run_is_in_force_after_the_start(
    make_service: MakeService, clock: Any
) -> None:
    first = await make_service()
    database = first.database
    now = clock.wall()
    await RevocationStore(database).add("jti", "j1", now)
    await RevocationStore(database).add("user", "u1", now)
    await MemberStore(database).replace("s1", ["u2"], "admin", now)
    await first.stop()
    second = await make_service()
    check = second.revocations.check
    for claims in (claims_of(clock, "u9", jti="j1"), claims_of(clock, "u1", iat=now - 1)):
        with pytest.raises(TokenRevoked):
            check(claims)
    check(claims_of(clock, "u1", iat=now + 1))
    assert second.members.of_session("s1") == ["u2"]


@pytest.mark.gen_test
async def test_the_last_snapshot_is_taken_at_the_stop_and_kept(
    make_service: MakeService, clock: Any, connect: Connect
) -> None:
    first = await make_service()
    await connect(first)
    first.manager.statistics.messages_received = 7
    await first.stop()
    clock.advance(100.0)
    second = await make_service()
    (snapshot,) = await snapshots_of(second)
    assert set(FIELDS) <= snapshot.keys()
    assert (snapshot["messages_received"], snapshot["node"]) == (7, "node-1")
    assert snapshot["disconnections"] == 1
    assert snapshot["timestamp"] == clock.wall() - 100.0


@pytest.mark.gen_test
async def test_snapshots_are_taken_by_themselves(
    make_service: MakeService, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await make_service(snapshot_interval_s=0.01)
    taken = asyncio.Event()
    add = service.snapshots.add
    sequences: list[int] = []

    async def note(*args: Any, **options: Any) -> None:
        number = await add(*args, **options)
        clock.advance(1)
        if number is not None:
            sequences.append(number)
        if len(sequences) == 3:
            taken.set()

    monkeypatch.setattr(service.snapshots, "add", note)
    await asyncio.wait_for(taken.wait(), PATIENCE_S)
    assert sequences == sorted(set(sequences))


@pytest.mark.gen_test
async def test_periodic_work_that_fails_is_tried_again(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    done = asyncio.Event()
    outcomes: Iterator[Any] = iter([ZeroDivisionError(), StorageUnavailable("locked"), None])

    def work() -> None:
        outcome = next(outcomes)
        if outcome is None:
            done.set()
            outcome = asyncio.CancelledError()
        raise outcome

    with caplog.at_level(logging.WARNING):
        task = asyncio.ensure_future(service._repeat("test", 0.001, work))
        await asyncio.wait_for(done.wait(), PATIENCE_S)
        await asyncio.gather(task, return_exceptions=True)
    records = [r for r in caplog.records if "name=test" in r.getMessage()]
    assert [(r.levelname, r.exc_info is not None) for r in records] == [
        ("ERROR", True),
        ("WARNING", False),
    ]


@pytest.mark.gen_test
async def test_all_that_has_to_be_done_now_and_then_is_under_way(service: Service) -> None:
    names = {task.get_name() for task in service.tasks._running}
    assert names >= {
        *("heartbeat", "monitors", "token expiry", "rates", "alert", "snapshot", "prune"),
        "loop lag",
    }
    await service.stop()
    assert len(service.tasks) == 0


@pytest.mark.gen_test
async def test_heartbeats_and_expiry_happen_by_themselves(
    make_service: MakeService, clock: Any, connect: Connect
) -> None:
    service = await make_service(heartbeat_interval_s=0.1, heartbeat_timeout_s=1000.0)
    client = await connect(service)
    clock.advance(0.2)
    await client.frame()
    opcode, payload = await client.frame()
    assert (opcode, payload[:5]) == (9, b"ping_")
    clock.now_wall += 90_000
    assert (await client.closing())[0] == 4010


@pytest.mark.gen_test
async def test_an_error_rate_above_its_threshold_raises_and_clears_an_alert(
    service: Service, clock: Any
) -> None:
    seen: list[dict[str, Any]] = []
    service.manager.add_event_handler("alert_*", seen.append)
    service._watch_errors()
    statistics = service.manager.statistics
    statistics.messages_received += 100
    statistics.refused_commands += 5
    clock.advance(1.0)
    service._watch_errors()
    assert seen == []  # 5 % is the threshold, not above it
    statistics.refused_commands += 1
    service._watch_errors()
    service._watch_errors()
    (raised,) = seen
    assert raised["name"] == "alert_raised"
    assert (raised["alert"], raised["value"], raised["threshold"]) == ("error_rate", 0.06, 0.05)
    assert raised["window_s"] == 60.0
    health = service.health()
    assert (health["status"], health["checks"]["errors"]["ok"]) == ("degraded", False)
    clock.advance(61.0)
    service._watch_errors()
    clock.advance(1.0)
    service._watch_errors()
    assert [e["name"] for e in seen] == ["alert_raised", "alert_cleared"]
    assert service.health()["status"] == "ok"


@pytest.mark.gen_test
async def test_health_names_every_check_and_no_secret(service: Service) -> None:
    health = service.health()
    assert health["status"] == "ok"
    assert set(health["checks"]) == {"database", "broker", "connections", "loop", "errors"}
    assert all(check["ok"] for check in health["checks"].values())
    assert SECRET not in str(health)


@pytest.mark.gen_test
async def test_a_full_server_or_a_lagging_loop_is_degraded(
    make_service: MakeService, clock: Any, connect: Connect
) -> None:
    service = await make_service(max_connections=1)
    await connect(service)
    health = service.health()
    assert (health["status"], health["checks"]["connections"]["open"]) == ("degraded", 1)
    service.lag.note(1.5)
    assert service.health()["checks"]["loop"] == {"ok": False, "lag_ms": 1500.0}


def test_a_lag_s_peak_fades() -> None:
    lag = LoopLag()
    seen = []
    for late_s in (0.0, 1.0, 0.0, 0.85, 0.2):
        lag.note(late_s)
        seen.append((round(lag.seconds, 4), lag.is_high))
    assert seen == [(0.0, False), (1.0, True), (0.9, False), (0.85, False), (0.765, False)]


def test_a_process_that_stood_still_is_well_again_soon() -> None:
    lag = LoopLag()
    lag.note(9.0)
    assert lag.seconds == 9.0
    left = 0
    while lag.is_high:
        lag.note(0.0)
        left += 1
    assert left * LAG_INTERVAL_S <= 4.0


@pytest.mark.gen_test
async def test_a_blocked_event_loop_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    time = loop.time
    lag = LoopLag()
    watching = asyncio.ensure_future(lag.watch(1.0))
    await asyncio.sleep(0)
    monkeypatch.setattr(loop, "time", lambda: time() + 3.0)
    while not lag.seconds:
        await asyncio.sleep(0)
    assert 2.0 <= lag.seconds < 3.0
    watching.cancel()


@pytest.mark.gen_test
async def test_draining_says_so_and_ends_when_all_clients_have_closed(
    make_service: MakeService, clock: Any, connect: Connect
) -> None:
    service = await make_service(drain_timeout_s=300.0)
    client = await connect(service)
    draining = asyncio.ensure_future(service.drain())
    await settle()
    assert service.health()["status"] == "draining"
    assert (await client.closing())[0] == 1012
    assert not draining.done()
    client.send_frame(8, (1012).to_bytes(2, "big"))
    client.socket.close()
    await asyncio.wait_for(draining, PATIENCE_S)
    assert service.poller.connections == 0


@pytest.mark.gen_test
async def test_draining_ends_after_its_timeout(
    make_service: MakeService, clock: Any, connect: Connect
) -> None:
    service = await make_service(drain_timeout_s=0.05)
    await connect(service)
    await asyncio.wait_for(service.drain(), PATIENCE_S)
    assert service.poller.connections == 1
    await service.stop()
    assert service.poller.connections == 0


@pytest.mark.parametrize(
    "fault", [StorageUnavailable("disk I/O error"), RuntimeError("a plugin's")]
)
@pytest.mark.gen_test
async def test_a_stop_closes_the_database_even_when_it_takes_no_snapshot_any_more(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
) -> None:
    async def refuse(snapshot: Any) -> None:
        raise fault

    monkeypatch.setattr(service.snapshots, "add", refuse)
    with caplog.at_level(logging.WARNING):
        await service.stop()
    assert "last snapshot not" in caplog.text
    with pytest.raises(StorageUnavailable):
        await service.database.read(lambda db: None)


@pytest.mark.pure
@pytest.mark.gen_test
async def test_a_stop_leaves_the_cluster_whatever_one_seam_raises(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stopped: list[str] = []

    async def fail() -> None:
        raise ValueError("a fault of the driver")

    async def note() -> None:
        stopped.append("broker")

    with monkeypatch.context() as patch:
        patch.setattr(service.control, "stop", fail)
        patch.setattr(service.broker, "stop", note)
        await service.stop()
    assert stopped == ["broker"]
    assert "cluster not left" in caplog.text
    with pytest.raises(StorageUnavailable):
        await service.database.read(lambda db: None)


@pytest.mark.pure
@pytest.mark.gen_test
async def test_a_stop_ends_what_notices_of_other_nodes_begin_meanwhile(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop() -> None:
        service.tasks.spawn(asyncio.Event().wait(), name="begun by a notice")

    with monkeypatch.context() as patch:
        patch.setattr(service.control, "stop", stop)
        await service.stop()
    assert len(service.tasks) == 0


@pytest.mark.gen_test
async def test_the_audit_trail_is_stored_at_the_stop_and_pruned_in_time(
    make_service: MakeService, clock: Any
) -> None:
    first = await make_service()
    for at in (clock.wall() - 367 * 86_400, clock.wall()):
        first.audit.record(AuditEntry(at=at, actor="a", role="admin", action="x"))
    await first.stop()
    second = await make_service()
    assert (await second.audit.page(10)).total == 2
    await second._prune()
    (left,) = (await second.audit.page(10)).items
    assert left.at == clock.wall()
