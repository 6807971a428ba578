"""The tables of quotas, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from msgspec.json import encode

from wsserver.errors import ValidationFailed
from wsserver.extensions.quotas import store as module
from wsserver.extensions.quotas.amounts import LARGEST_SUM, SCALE
from wsserver.extensions.quotas.answer_usage import note
from wsserver.extensions.quotas.extension import QUOTAS
from wsserver.extensions.quotas.store import QuotaStore, Report, Wish
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.extension_schema import apply_steps
from wsserver.storage.messages.answers import EndedAnswer

NOW = 1_704_067_200.0
"""2024-01-01, 00:00 UTC."""
DAY_S = 86_400.0
O1 = "organization:o1"


def wish(limit: int = 100, period: str = "day", **values: Any) -> Wish:
    chosen = {
        "unit": "tokens",
        "limit": limit,
        "period": period,
        "budget": None,
        "currency": None,
        "timezone": "UTC",
        "at_limit": "warn",
        **values,
    }
    return Wish(**chosen)


def report(
    amount: int = 1, scope: str = O1, cost: int = 0, source: str = "a", **more: Any
) -> Report:
    return Report(scope, amount, cost, source, "crm", **more)


async def opened(database: Database) -> QuotaStore:
    await database.run(lambda db: apply_steps(db, database.KIND, [QUOTAS.schema], NOW))
    return QuotaStore(database)


@pytest.mark.gen_test
async def test_a_quota_comes_back_as_it_was_set(database: Database) -> None:
    store = await opened(database)
    whole = wish(5, "month", budget=7, currency="CNY", timezone="Asia/Shanghai", at_limit="stop")
    quota = await store.put(O1, whole, "boss", NOW)
    assert await store.get(O1) == quota
    assert (quota.current.key, quota.used, quota.updated_by) == ("2024-01", 0, "boss")
    assert await store.get("user:u1") is None
    assert [await store.delete(O1), await store.delete(O1)] == [True, False]


@pytest.mark.gen_test
async def test_reports_at_once_are_counted_exactly(database: Database) -> None:
    store = await opened(database)
    await store.put(O1, wish(), "boss", NOW)
    outcomes = await asyncio.gather(*[store.count(report(3), NOW + n / 100) for n in range(50)])
    used = sorted(each.after.used for each in outcomes if each.after is not None)
    assert used == [3 * n for n in range(1, 51)]
    now = [each.after for each in outcomes if each.after and not each.after.push_due]
    assert len(now) == 1  # within a second


@pytest.mark.gen_test
async def test_nodes_whose_clocks_differ_push_once_a_second_together(database: Database) -> None:
    store = await opened(database)
    await store.put(O1, wish(), "boss", NOW)
    pushed = []
    for n in range(20):
        for behind_s in (0.0, 3.0, 0.01):
            counted = await store.count(report(1), NOW + n / 5 - behind_s)
            if counted.after is not None and not counted.after.push_due:
                pushed.append(n / 5 - behind_s)
    assert pushed == [0, 1, 2, 3]
    back = (await store.count(report(1), NOW - 3600)).after
    assert back is not None
    assert not back.push_due  # a clock that was set back


@pytest.mark.gen_test
async def test_a_new_period_begins_with_nothing_used(database: Database) -> None:
    store = await opened(database)
    await store.put(O1, wish(10), "boss", NOW)
    first = (await store.count(report(9), NOW + 5)).after
    assert first is not None
    assert (first.used, first.reached, first.has_news) == (9, 80, True)
    counted = await store.count(report(2), NOW + DAY_S)
    assert counted.before is not None
    assert counted.after is not None
    assert (counted.before.used, counted.after.used) == (0, 2)
    assert (counted.after.current.key, counted.after.told) == ("2024-01-02", 0)
    late = (await store.count(report(1), NOW + 9)).after  # a clock that was set back
    assert late is not None
    assert (late.used, late.current.key) == (3, "2024-01-02")


@pytest.mark.gen_test
async def test_another_limit_keeps_what_is_used_and_another_period_counts_anew(
    database: Database,
) -> None:
    store = await opened(database)
    await store.count(report(5), NOW - 3600)  # before there is a quota, the day before
    await store.put(O1, wish(10), "boss", NOW)
    await store.count(report(7), NOW + 1)
    assert (await store.put(O1, wish(20), "boss", NOW + 2)).used == 7
    assert (await store.put(O1, wish(20, "total"), "boss", NOW + 3)).used == 12
    assert (await store.put(O1, wish(20, "month"), "boss", NOW + 4)).used == 7
    points = await store.put(O1, wish(20, "month", unit="points"), "boss", NOW + 5)
    assert points.used == 0
    assert (await store.put(O1, wish(20, "day"), "boss", NOW + DAY_S)).used == 0


@pytest.mark.gen_test
async def test_what_was_told_is_noted_once(database: Database) -> None:
    store = await opened(database)
    await store.put(O1, wish(100, budget=5), "boss", NOW)
    await store.count(report(96, cost=6), NOW)
    (quota,) = await store.with_news()
    assert (quota.reached, quota.is_over_budget) == (95, True)
    key = quota.current.key
    noted = await asyncio.gather(*[store.note_told(O1, key, 95, budget=False) for _ in range(3)])
    assert sorted(noted) == [False, False, True]
    assert len(await store.with_news()) == 1
    assert await store.note_told(O1, key, 0, budget=True)
    assert await store.with_news() == []
    assert not await store.note_told(O1, "2023-12-31", 100, budget=False)
    await store.count(report(4), NOW)
    (quota,) = await store.with_news()
    assert (quota.reached, quota.told) == (100, 95)


@pytest.mark.gen_test
async def test_without_a_quota_usage_is_counted_all_the_same(database: Database) -> None:
    store = await opened(database)
    for amount in (2, 3):
        counted = await store.count(report(amount, "user:u1"), NOW)
    assert (counted.after, counted.total) == (None, 5)


@pytest.mark.gen_test
async def test_a_repeated_report_counts_once_within_a_day(database: Database) -> None:
    store = await opened(database)
    await store.put(O1, wish(), "boss", NOW)
    for moment, is_new, used in ((0, True, 1), (9, False, 1), (DAY_S + 9, True, 1)):
        counted = await store.count(report(request="key"), NOW + moment)
        assert counted.after is not None
        assert (counted.is_new, counted.after.used) == (is_new, used)


@pytest.mark.gen_test
async def test_a_sum_that_is_too_large_is_refused(database: Database) -> None:
    store = await opened(database)
    await store.put(O1, wish(), "boss", NOW)
    await store.count(report(LARGEST_SUM), NOW)
    with pytest.raises(ValidationFailed):
        await store.count(report(1), NOW)
    found = await store.get(O1)
    assert found is not None
    assert found.used == LARGEST_SUM
    assert (await store.export(0, 9, None, None))[1] == 1


@pytest.mark.gen_test
async def test_pushes_that_are_due_are_taken_once(database: Database) -> None:
    store = await opened(database)
    assert await store.take_pushes(NOW, NOW) == []
    await store.put(O1, wish(), "boss", NOW)
    taken = await asyncio.gather(*[store.take_pushes(NOW, NOW + 1) for _ in range(3)])
    assert sorted(map(len, taken)) == [0, 0, 1]
    await store.count(report(), NOW + 1.5)
    assert await store.take_pushes(NOW, NOW + 1.7) == []
    assert [each.used for each in await store.take_pushes(NOW + 1, NOW + 2)] == [1]


@pytest.mark.gen_test
async def test_exhausted_quotas_that_stop_are_listed(database: Database) -> None:
    store = await opened(database)
    await store.put(O1, wish(2, at_limit="stop"), "boss", NOW)
    await store.put("user:u1", wish(2), "boss", NOW)
    for scope in (O1, "user:u1"):
        await store.count(report(2, scope), NOW)
    assert await store.exhausted() == {O1: NOW + DAY_S}
    await store.put(O1, wish(3, at_limit="stop"), "boss", NOW)
    assert await store.exhausted() == {}


@pytest.mark.gen_test
async def test_series_by_step_scope_and_source(database: Database) -> None:
    store = await opened(database)
    for moment, scope, source, amount in (
        (0, O1, "a", 1), (59, O1, "a", 2), (60, O1, "b", 4), (3600, O1, "a", 8),
        (7300, "user:u1", "a", 16),
    ):  # fmt: skip
        await store.count(report(amount, scope, 1, source), NOW + moment)
    minutes = await store.series(O1, NOW, NOW + 3600, 60, 9)
    assert [(p.at - NOW, p.source, p.amount, p.cost, p.reports) for p in minutes] == [
        (0, "a", 3, 2, 2),
        (60, "b", 4, 1, 1),
    ]
    hours = await store.series(None, NOW + 5, NOW + 9000, 3600, 9)
    assert [(p.at - NOW, p.scope, p.source, p.amount) for p in hours] == [
        (0, O1, "a", 3),
        (0, O1, "b", 4),
        (3600, O1, "a", 8),
        (7200, "user:u1", "a", 16),
    ]
    assert len(await store.series(None, NOW, NOW + 9000, 86_400, 2)) == 2


@pytest.mark.gen_test
async def test_exports_go_on_where_they_ended(database: Database) -> None:
    store = await opened(database)
    assert await store.export(0, 9, None, None) == (
        [],
        0,
        (await store.export(0, 1, None, None))[2],
    )
    for number in range(5):
        scope = "user:u1" if number == 4 else O1
        await store.count(report(number * SCALE, scope, message_id=f"m{number}"), NOW + number)
    rows, end, _ = await store.export(0, 2, None, None)
    assert ([row["message_id"] for row in rows], end) == (["m0", "m1"], 5)
    rows, _, _ = await store.export(rows[-1]["position"], 9, NOW + 3, None, O1)
    assert [(row["message_id"], row["scope"]) for row in rows] == [("m3", O1)]


@pytest.mark.gen_test
async def test_old_reports_are_pruned_and_positions_stay(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH_ROWS", 2)
    store = await opened(database)
    for number in range(5):
        await store.count(report(), NOW + number)
    assert await store.prune(NOW + 3) == 3
    assert await store.prune(NOW + 99_999) == 1
    rows, end, _ = await store.export(0, 9, None, None)
    assert ([row["position"] for row in rows], end) == ([5], 5)
    assert await store.series(None, 0, NOW + DAY_S, 3600, 9) == []


@pytest.mark.gen_test
async def test_pages_by_scope(database: Database) -> None:
    store = await opened(database)
    for name in ("organization:b", "organization:a", "user:c"):
        await store.put(name, wish(), "boss", NOW)
    assert [each.scope for each in await store.page("", 2)] == ["organization:a", "organization:b"]
    assert [each.scope for each in await store.page("organization:b", 2)] == ["user:c"]
    assert await store.total() == 3


def ended(message_id: str = "m1", **usage: Any) -> EndedAnswer:
    return EndedAnswer(message_id, "s1", "completed", NOW, encode(usage).decode())


@pytest.mark.gen_test
async def test_what_an_answer_has_used_is_counted_once_by_whoever_is_first(
    database: Database,
) -> None:
    store = await opened(database)
    await database.run(lambda db: note(db, ended(amount=3, unit="tokens")))
    assert await store.uncounted() == []  # nobody has a quota
    await store.put(O1, wish(unit="tokens"), "boss", NOW)
    for answer in (ended(amount=3, unit="tokens"), ended("m2", amount=5, unit="points")):
        await database.run(partial(again, answer=answer))
    used, other = await store.uncounted()
    assert await store.uncounted("m1") == [used]
    counted = await asyncio.gather(
        *[store.count_answer(used, report(used.amount), NOW) for _ in range(5)]
    )
    assert [each.is_new for each in counted if each is not None] == [True]
    assert await store.count_answer(other, report(other.amount), NOW) is None  # another unit
    assert await store.uncounted() == []
    quota = await store.get(O1)
    assert quota is not None
    assert quota.used == 3 * SCALE


@pytest.mark.gen_test
async def test_what_an_answer_has_used_waits_if_it_cannot_be_counted(database: Database) -> None:
    store = await opened(database)
    await store.put(O1, wish(), "boss", NOW)
    await store.count(report(LARGEST_SUM), NOW)
    await database.run(lambda db: note(db, ended(amount=3, unit="tokens")))
    (used,) = await store.uncounted()
    with pytest.raises(ValidationFailed):
        await store.count_answer(used, report(used.amount), NOW)
    assert await store.uncounted() == [used]
    assert await store.count_answer(used, None, NOW) is None
    assert await store.uncounted() == []


def again(db: Connection, answer: EndedAnswer) -> None:
    """The transaction of an end may run twice."""
    for _ in range(2):
        note(db, answer)
