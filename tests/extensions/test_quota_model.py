"""Quotas against a model: nodes that count at once, restarts, periods, changes of the quota.

What is used has to be exact, and each threshold told once a period, the highest one of a report.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fake_clock import FakeClock
from wsserver.extensions.quotas.extension import QUOTAS
from wsserver.extensions.quotas.model import THRESHOLDS
from wsserver.extensions.quotas.periods import period_at
from wsserver.extensions.quotas.store import QuotaStore, Report, Wish
from wsserver.storage.engine.extension_schema import apply_steps
from wsserver.storage.engine.sqlite import SqliteDatabase

pytestmark = pytest.mark.slow

ZONE = "Europe/Berlin"
NOW = 1_711_749_600.0
"""2024-03-29, two days before the clocks change."""
SCOPES = ("organization:o1", "user:u1")


class Use(NamedTuple):
    """Reports that several nodes count at the same time: node, scope, amount."""

    reports: list[tuple[int, int, int]]


class Wait(NamedTuple):
    hours: float


class Restart(NamedTuple):
    node: int


class Change(NamedTuple):
    scope: int
    limit: int


STEPS = st.one_of(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 60)),
        min_size=1,
        max_size=6,
    ).map(Use),
    st.sampled_from([0.01, 5.0, 23.0, 24.0]).map(Wait),
    st.integers(0, 1).map(Restart),
    st.tuples(st.integers(0, 1), st.integers(20, 200)).map(lambda pair: Change(*pair)),
)


class Nodes:
    """Two processes that share a file, as far as the database is concerned."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self._path, self._clock = folder / "q.sqlite3", clock
        self.databases: list[SqliteDatabase] = []

    def _make(self) -> SqliteDatabase:
        return SqliteDatabase(self._path, clock=self._clock, cluster="tests")

    async def start(self) -> None:
        for number in range(2):
            self.databases.append(self._make())
            await self.open(number)

    async def open(self, number: int) -> None:
        database = self.databases[number]
        await database.open()
        await database.run(lambda db: apply_steps(db, database.KIND, [QUOTAS.schema], NOW))

    async def restart(self, number: int) -> None:
        await self.databases[number].close()
        self.databases[number] = self._make()
        await self.open(number)

    def store(self, number: int) -> QuotaStore:
        return QuotaStore(self.databases[number])

    async def stop(self) -> None:
        for database in self.databases:
            await database.close()


class Model:
    """What is used of each scope by period, and what was told."""

    def __init__(self) -> None:
        self.used: Counter[tuple[str, str]] = Counter()
        self.limits = dict.fromkeys(SCOPES, 100)
        self.told: list[tuple[str, str, int]] = []


def wish(limit: int) -> Wish:
    return Wish("tokens", limit, "day", None, None, ZONE, "warn")


async def tell(nodes: Nodes, model: Model) -> None:
    """Both nodes look for news at once; whoever notes it has told of it."""

    async def look(store: QuotaStore) -> None:
        for quota in await store.with_news():
            key = quota.current.key
            if await store.note_told(quota.scope, key, quota.reached, budget=False):
                model.told.append((quota.scope, key, quota.reached))

    await asyncio.gather(look(nodes.store(0)), look(nodes.store(1)))


async def run(steps: list[Any], folder: Path) -> None:
    clock, model = FakeClock(NOW), Model()
    nodes = Nodes(folder, clock)
    await nodes.start()
    try:
        for scope in SCOPES:
            await nodes.store(0).put(scope, wish(100), "boss", NOW)
        for step in steps:
            await take(step, nodes, model, clock)
            await tell(nodes, model)
            await check(nodes, model, clock)
    finally:
        await nodes.stop()


async def take(step: Any, nodes: Nodes, model: Model, clock: FakeClock) -> None:
    now = clock.wall()
    key = period_at("day", ZONE, now).key
    if isinstance(step, Use):
        counting = [
            nodes.store(node).count(Report(SCOPES[scope], amount, 0, "", "crm"), now)
            for node, scope, amount in step.reports
        ]
        await asyncio.gather(*counting)
        for _, scope, amount in step.reports:
            model.used[SCOPES[scope], key] += amount
    elif isinstance(step, Wait):
        clock.advance(step.hours * 3600)
    elif isinstance(step, Restart):
        await nodes.restart(step.node)
    else:
        model.limits[SCOPES[step.scope]] = step.limit
        await nodes.store(0).put(SCOPES[step.scope], wish(step.limit), "boss", now)


async def check(nodes: Nodes, model: Model, clock: FakeClock) -> None:
    now = clock.wall()
    key = period_at("day", ZONE, now).key
    for scope in SCOPES:
        for number in range(2):
            quota = await nodes.store(number).get(scope)
            assert quota is not None
            quota = quota.at(now)
            assert (quota.current.key, quota.used) == (key, model.used[scope, key])
        limit, used = model.limits[scope], model.used[scope, key]
        reached = max((t for t in THRESHOLDS if used * 100 >= limit * t), default=0)
        told = [threshold for where, when, threshold in model.told if (where, when) == (scope, key)]
        assert told == sorted(set(told)), "once each, and rising"
        assert max(told, default=0) >= reached


@given(st.lists(STEPS, min_size=1, max_size=12))
@settings(max_examples=40)
def test_what_is_used_is_exact_and_each_threshold_is_told_once(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(steps, Path(folder)))
