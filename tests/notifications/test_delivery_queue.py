"""Contract of the delivery queue: the same tests on deliveries of notifications and on webhooks."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from scripts.backends.postgres import PostgresServer
from tests.support.fake_clock import FakeClock
from tests.support.message_rows import in_every_reader
from tests.support.queue_stores import Stored, StoredDeliveries, StoredPostings
from tests.support.waiting import until
from wsserver.errors import OutcomeUnknown, StorageUnavailable
from wsserver.notifications import delivery_queue
from wsserver.notifications.channels.base import Limits, Outcome, failed, retry, sent
from wsserver.notifications.delivery_policy import Retries
from wsserver.notifications.delivery_queue import DeliveryQueue
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.leased_table import Claim, Lease, Result
from wsserver.storage.engine.postgres.database import PostgresDatabase
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.tasks import Tasks

LIMITS = Limits(concurrency=10, rate_per_s=1000.0, timeout_s=30.0)
LEASE_S = LIMITS.timeout_s + delivery_queue.LEASE_EXTRA_S


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)],
)
def database(
    request: pytest.FixtureRequest, io_loop: IOLoop, clock: FakeClock, tmp_path: Path
) -> Iterator[Database]:
    made: Database
    if request.param == "sqlite":
        made, at_end = SqliteDatabase(tmp_path / "d.sqlite3", clock=clock), ""
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        at_end = server.lend_database()
        made = PostgresDatabase(at_end, clock=clock)
    io_loop.run_sync(made.open)
    yield made
    io_loop.run_sync(made.close)
    if at_end:
        server.give_back(at_end)


@pytest.fixture(params=[StoredDeliveries, StoredPostings])
def stored(request: pytest.FixtureRequest, database: Database) -> Stored:
    made: Stored = request.param(database)
    return made


def result(claimed: Claim, state: str, due_at: float | None = None, at: float = 0.0) -> Result:
    outcome = {"pending": "retry"}.get(state, state)
    return Result(claimed.ids, state, due_at, at, outcome, "what it said")


# The stores


@pytest.mark.gen_test
async def test_what_is_due_is_claimed_once_in_its_order(stored: Stored, clock: FakeClock) -> None:
    now, lease = clock.wall(), Lease("a", clock.wall() + 60)
    await stored.add("later", at=now + 60)
    await stored.add("second", at=now)
    await stored.add("first", at=now - 1)
    await stored.add("elsewhere", at=now - 9, lane=stored.other_lane)
    assert await stored.store.next_due(stored.lane, now) == now - 1
    (one,) = await stored.store.claim(stored.lane, now, 1, lease)
    (two,) = await stored.store.claim(stored.lane, now, 9, lease._replace(owner="b"))
    assert (one.delivery_id, two.delivery_id) == ("first", "second")
    assert one.attempt == two.attempt == 1
    assert await stored.store.claim(stored.lane, now, 9, lease) == []
    assert await stored.store.next_due(stored.lane, now) == now + 60


@pytest.mark.gen_test
async def test_results_are_recorded_by_the_holder_of_the_lease_alone(
    stored: Stored, clock: FakeClock
) -> None:
    now, lease = clock.wall(), Lease("a", clock.wall() + 60)
    await stored.add("sent", "again", "dead", at=now)
    claimed = await stored.store.claim(stored.lane, now, 9, lease)
    for other in (lease._replace(owner="b"), lease._replace(until=lease.until + 1)):
        assert await stored.store.record(other, result(claimed[0], "sent")) == {}
    assert set((await stored.states()).values()) == {"sending"}
    for each, state in zip(claimed, ("sent", "pending", "failed"), strict=True):
        due_at = now + 5 if state == "pending" else None
        recorded = await stored.store.record(lease, result(each, state, due_at))
        assert recorded == {each.ids[0]: state}
        assert await stored.store.record(lease, result(each, "sent")) == {}  # once
    states = await stored.states()
    assert states.pop("sent", "sent") == "sent"
    assert states == {"again": "pending", "dead": "failed"}
    (again,) = await stored.store.claim(stored.lane, now + 5, 9, lease)
    assert (again.delivery_id, again.attempt) == ("again", 2)


@pytest.mark.gen_test
async def test_a_lease_ends_with_its_time_or_with_its_owners_run(
    stored: Stored, clock: FakeClock
) -> None:
    now = clock.wall()
    await stored.add("a", "b", at=now)
    (one,) = await stored.store.claim(stored.lane, now, 1, Lease("a", now + 60))
    await stored.store.claim(stored.lane, now, 1, Lease("b", now + 90))
    assert await stored.store.release(now + 59) == 0
    assert await stored.store.release(now + 60, one.ids) == 0  # still working on it
    assert await stored.store.release(now + 60) == 1
    assert await stored.states() == {"a": "pending", "b": "sending"}
    assert await stored.store.release(now + 60, ending_by=math.inf) == 1
    assert await stored.states() == {"a": "pending", "b": "pending"}
    assert len(await stored.store.claim(stored.lane, now + 60, 9, Lease("c", now + 99))) == 2


@pytest.mark.gen_test
async def test_what_waits_is_moved_but_not_what_was_accepted_since(
    stored: Stored, clock: FakeClock
) -> None:
    now = clock.wall()
    await stored.add("old", at=now + 3600)
    await stored.add("new", at=now)
    assert await stored.store.bring_forward(3600, now - 5, now) == 1
    assert await stored.due_times() == {"old": now, "new": now}


@pytest.mark.gen_test
async def test_nothing_is_moved_that_other_processes_work_off_too(
    stored: Stored, clock: FakeClock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.wall()
    await stored.add("old", at=now + 3600)
    monkeypatch.setattr(database, "is_shared", True)
    assert await stored.store.bring_forward(3600, now - 5, now) == 0
    assert await stored.due_times() == {"old": now + 3600}


# The queue


class ScriptedQueue(DeliveryQueue[Any]):
    """A process that works on a store, with attempts that a test plays."""

    def __init__(self, stored: Stored, clock: FakeClock, limits: Limits = LIMITS) -> None:
        self.database = stored.store._database
        self.own_tasks = Tasks()
        lanes = {stored.lane: limits, stored.other_lane: limits}
        super().__init__(
            stored.store, lanes,
            retries=Retries(2.0, 3), clock=clock, tasks=self.own_tasks,
        )  # fmt: skip
        self.clock = clock
        self.tried: list[str] = []
        self.outcomes: list[Outcome | Exception] = []
        """Of the next attempts; afterwards everything is sent."""
        self.reported: list[tuple[str, list[str]]] = []
        """Ids, and the states that were recorded."""
        self.gate = asyncio.Event()
        """Attempts wait for it."""
        self.gate.set()
        self.held = 0

    async def attempt(self, lane: str, claimed: Any) -> Result:
        return await self._send(lane, claimed, self._play(claimed))

    async def _play(self, claimed: Any) -> Outcome:
        self.tried.append(claimed.delivery_id)
        outcome = self.outcomes.pop(0) if self.outcomes else sent()
        self.held += 1
        try:
            await self.gate.wait()
        finally:
            self.held -= 1
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def recorded(self, lane: str, claimed: Any, result: Result, states: Mapping[int, str]) -> None:
        self.reported.append((claimed.delivery_id, list(states.values())))

    async def idle(self) -> None:
        """Wait until everything was looked at, and only held attempts are under way."""
        quiet = 0
        while quiet < 20:
            self.kick()
            await self.database.settle()
            await in_every_reader(self.database, lambda db: None)
            await asyncio.sleep(0)
            quiet = quiet + 1 if self.under_way == self.held else 0

    async def pass_time(self, seconds: float) -> None:
        await self.idle()
        self.clock.advance(seconds)
        await self.idle()

    async def crash(self) -> None:
        """End without recording anything."""
        await self.own_tasks.cancel()


@asynccontextmanager
async def running(
    stored: Stored,
    clock: FakeClock,
    *outcomes: Outcome | Exception,
    limits: Limits = LIMITS,
    is_held: bool = False,
    adding: str = "",
) -> AsyncIterator[ScriptedQueue]:
    """A queue that has looked at everything; stopped at the end.

    ``is_held``: attempts wait for the gate; ``adding``: the id of a delivery that is due.
    """
    queue = ScriptedQueue(stored, clock, limits)
    queue.outcomes = list(outcomes)
    if is_held:
        queue.gate.clear()
    if adding:
        await stored.add(adding, at=clock.wall())
    await queue.start()
    await queue.idle()
    yield queue
    await queue.stop()


@pytest.mark.gen_test
async def test_a_fault_that_may_pass_is_retried_until_the_last_attempt(
    stored: Stored, clock: FakeClock
) -> None:
    async with running(
        stored,
        clock,
        retry("busy"),
        RuntimeError("a bug"),
        retry("busy"),
        failed("gone"),
        adding="d1",
    ) as queue:
        assert queue.reported == [("d1", ["pending"])]
        await queue.pass_time(1.5)  # 2 s, up to 20 % less
        assert len(queue.tried) == 1
        for _ in range(2):
            await queue.pass_time(5)
        assert queue.reported == [("d1", ["pending"])] * 2 + [("d1", ["failed"])]
        await stored.add("d2", at=clock.wall())
        await queue.idle()
        assert queue.reported[-1] == ("d2", ["failed"])
        await queue.pass_time(1000)
        assert queue.tried == ["d1", "d1", "d1", "d2"]


@pytest.mark.gen_test
async def test_what_a_crash_cut_off_is_attempted_by_the_next_run(
    stored: Stored, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = ScriptedQueue(stored, clock), ScriptedQueue(stored, clock)
    first.gate.clear()
    await stored.add("d1", at=clock.wall())
    await first.start()
    await first.idle()
    await first.crash()
    assert await stored.states() == {"d1": "sending"}
    await second.start()
    await second.idle()
    assert (first.tried, second.tried) == (["d1"], ["d1"])
    assert (first.reported, second.reported) == ([], [("d1", ["sent"])])
    assert (
        "deliveries interrupted by the last stop are tried again queue=ScriptedQueue count=1"
        in caplog.text
    )
    await second.stop()


@pytest.mark.gen_test
async def test_a_result_after_the_lease_was_lost_counts_for_nothing(
    stored: Stored, clock: FakeClock
) -> None:
    async with running(stored, clock, failed("too late"), is_held=True, adding="d1") as queue:
        # Another process finds the lease expired.
        now, lease = clock.wall() + LEASE_S, Lease("another", clock.wall() + 2 * LEASE_S)
        assert await stored.store.release(now) == 1
        (stolen,) = await stored.store.claim(stored.lane, now, 9, lease)
        queue.gate.set()
        await queue.idle()
        assert queue.reported == [("d1", [])]
        assert await stored.states() == {"d1": "sending"}
        assert await stored.store.record(lease, result(stolen, "sent")) == {stolen.ids[0]: "sent"}


@pytest.mark.gen_test
async def test_what_was_claimed_and_never_attempted_is_attempted_after_its_lease(
    stored: Stored, clock: FakeClock
) -> None:
    async with running(stored, clock) as queue:
        await stored.add("d1", at=clock.wall())
        lease = Lease("another", clock.wall() + LEASE_S)
        assert len(await stored.store.claim(stored.lane, clock.wall(), 9, lease)) == 1
        await queue.pass_time(LEASE_S - 1)
        await queue.release()
        await queue.idle()
        assert queue.tried == []  # another process may be working on it
        await queue.pass_time(1)
        await queue.release()
        await queue.idle()
        assert queue.reported == [("d1", ["sent"])]


@pytest.mark.gen_test
async def test_a_wall_clock_that_is_set_forward_makes_no_attempt_twice(
    stored: Stored, clock: FakeClock
) -> None:
    async with running(stored, clock, is_held=True, adding="d1") as queue:
        clock.now_wall += 3600
        await queue.release()
        await queue.idle()
        queue.gate.set()
        await queue.idle()
        assert queue.reported == [("d1", ["sent"])]


@pytest.mark.gen_test
async def test_a_wall_clock_that_is_set_back_delays_nothing(
    stored: Stored, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(stored, clock, retry("busy"), adding="d1") as queue:
        (due_at,) = (await stored.due_times()).values()
        clock.now_wall -= 3600
        for _ in range(2):  # it is moved once
            await queue.release()
            await queue.idle()
        assert await stored.due_times() == {"d1": pytest.approx(due_at - 3600, abs=0.001)}
        assert caplog.text.count("clock was set back queue=ScriptedQueue seconds=3600 count=1") == 1
        await stored.add("new", at=clock.wall())
        await queue.pass_time(3)
        assert queue.reported == [("d1", ["pending"]), ("new", ["sent"]), ("d1", ["sent"])]


@pytest.mark.gen_test
async def test_a_lane_keeps_to_its_pace(stored: Stored, clock: FakeClock) -> None:
    await stored.add(*"abcde", at=clock.wall())
    async with running(stored, clock, limits=LIMITS._replace(rate_per_s=2.0)) as queue:
        assert queue.tried == ["a", "b"]
        clock.now_wall += 3600  # the pace is kept by the monotonic clock
        await queue.idle()
        assert queue.tried == ["a", "b"]
        await queue.pass_time(1)
        assert queue.tried == ["a", "b", "c", "d"]


@pytest.mark.gen_test
async def test_a_full_lane_begins_no_attempt_and_delays_no_other_lane(
    stored: Stored, clock: FakeClock
) -> None:
    await stored.add(*"abc", at=clock.wall())
    async with running(stored, clock, limits=LIMITS._replace(concurrency=2), is_held=True) as queue:
        await stored.add("d", at=clock.wall(), lane=stored.other_lane)
        queue.kick()
        await until(lambda: "d" in queue.tried)
        assert queue.tried == ["a", "b", "d"]
        queue.gate.set()
        await until(lambda: "c" in queue.tried)
        assert queue.tried == ["a", "b", "d", "c"]


@pytest.mark.gen_test
async def test_an_attempt_that_takes_too_long_is_retried(stored: Stored, clock: FakeClock) -> None:
    queue = ScriptedQueue(stored, clock, LIMITS._replace(timeout_s=0.0))
    queue.gate.clear()
    await stored.add("d1", at=clock.wall())
    await queue.start()
    await until(lambda: queue.reported and not queue.held)
    assert (queue.reported, queue.held) == ([("d1", ["pending"])], 0)
    await queue.stop()


@pytest.mark.gen_test
async def test_a_stop_lets_attempts_finish_and_begins_none(
    stored: Stored, clock: FakeClock
) -> None:
    queue = ScriptedQueue(stored, clock)
    queue.gate.clear()
    await stored.add("d1", at=clock.wall())
    await queue.start()
    await queue.idle()
    stopping = asyncio.ensure_future(queue.stop())
    await queue.idle()
    await stored.add("d2", at=clock.wall())
    await queue.idle()
    assert not stopping.done()
    queue.gate.set()
    await stopping
    assert queue.reported == [("d1", ["sent"])]
    assert (await stored.states())["d2"] == "pending"


@pytest.mark.gen_test
async def test_a_stop_cancels_what_outlasts_the_grace(stored: Stored, clock: FakeClock) -> None:
    queue = ScriptedQueue(stored, clock)
    queue.gate.clear()
    await stored.add("d1", at=clock.wall())
    await queue.start()
    await queue.idle()
    await queue.stop(grace_s=0)
    assert (queue.held, queue.under_way, len(queue.own_tasks)) == (0, 0, 0)
    again = ScriptedQueue(stored, clock)
    await again.start()
    await again.idle()
    assert again.reported == [("d1", ["sent"])]
    await again.stop()


@pytest.mark.gen_test
async def test_a_result_is_recorded_however_long_storage_refuses_it(
    stored: Stored, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_queue, "RETRY_S", 0)
    record, refusals = stored.store.record, [StorageUnavailable("locked")] * 3

    async def refuse(*arguments: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return await record(*arguments)

    monkeypatch.setattr(stored.store, "record", refuse)
    queue = ScriptedQueue(stored, clock)
    await stored.add("d1", at=clock.wall())
    await queue.start()
    await queue.idle()
    assert (queue.tried, queue.reported, refusals) == (["d1"], [("d1", ["sent"])], [])
    await queue.stop()


@pytest.mark.gen_test
async def test_a_result_that_was_recorded_all_the_same_is_reported(
    stored: Stored, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_queue, "RETRY_S", 0)
    record = stored.store.record
    unknown: list[dict[int, str]] = []

    async def lose(lease: Lease, result: Result, late: Any) -> Any:
        if not unknown:
            unknown.append(await record(lease, result))
            raise OutcomeUnknown("the connection was lost")
        late(unknown[0])  # as the database does, before later jobs return
        return await record(lease, result, late)

    monkeypatch.setattr(stored.store, "record", lose)
    async with running(stored, clock, adding="d1") as queue:
        assert (queue.tried, queue.reported) == (["d1"], [("d1", ["sent"])])
