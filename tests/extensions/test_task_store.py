"""The tables of tasks, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.fake_clock import FakeClock
from wsserver.errors import BadRequest
from wsserver.extensions.tasks import store as module
from wsserver.extensions.tasks.extension import TASKS
from wsserver.extensions.tasks.model import Assignee, Step, Task, TaskChange, changed_by
from wsserver.extensions.tasks.store import Filters, TaskStore
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.extension_schema import apply_steps

NOW = 1_700_000_000.0


def task(number: int, **values: Any) -> Task:
    chosen: dict[str, Any] = {
        "task_id": f"task_{number:04}",
        "title": "号",
        "steps": (Step("a"), Step("b")),
        "created_at": NOW,
        "created_by": "boss",
        "updated_at": NOW,
        **values,
    }
    return Task(**chosen)


async def opened(database: Database) -> TaskStore:
    await database.run(lambda db: apply_steps(db, database.KIND, [TASKS.schema], NOW))
    return TaskStore(database)


async def change(store: TaskStore, task_id: str, by: str = "u1", **values: Any) -> Any:
    wanted = TaskChange(**values)
    note = values.get("note")
    return await store.change(task_id, lambda task: changed_by(task, wanted, NOW), by, note, NOW)


@pytest.mark.gen_test
async def test_a_task_comes_back_as_it_was(database: Database) -> None:
    store = await opened(database)
    whole = task(
        1,
        assignee=Assignee(user="u1"),
        session_id="s1",
        organization_id="o1",
        due_at=NOW + 5.25,
        metadata={"a": ["\0", 1.5, None]},
    )
    assert await store.add(whole, None, NOW) == (whole, True)
    assert await store.get("task_0001") == whole
    assert await store.get("task_0002") is None
    assert await change(store, "task_0002", state="running") is None


@pytest.mark.gen_test
async def test_a_repeated_request_is_the_same_task_for_a_day(database: Database) -> None:
    store = await opened(database)
    assert await store.add(task(1), "key", NOW) == (task(1), True)
    assert await store.add(task(2), "key", NOW + 9) == (task(1), False)
    late = task(3, created_at=NOW + 86_401)
    assert await store.add(late, "key", NOW + 86_401) == (late, True)
    assert (await store.page(Filters(), 10, None)).total == 2


@pytest.mark.gen_test
async def test_changes_are_in_the_history_and_its_oldest_entries_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(database)
    await store.add(task(1), None, NOW)
    await change(store, "task_0001", "u2", state="running", note="go")
    history = await store.history("task_0001")
    assert [(each.version, each.changed_by, each.changes, each.note) for each in history] == [
        (1, "boss", {}, None),
        (2, "u2", {"state": "running"}, "go"),
    ]
    monkeypatch.setattr(module, "HISTORY_LIMIT", 3)
    for number in range(5):
        await change(store, "task_0001", progress=(number + 1) / 10)
    assert [each.version for each in await store.history("task_0001")] == [5, 6, 7]


@pytest.mark.gen_test
async def test_of_changes_at_once_one_has_the_version_that_it_expects(database: Database) -> None:
    store = await opened(database)
    await store.add(task(1), None, NOW)
    attempts = [
        change(store, "task_0001", progress=(n + 1) / 10, expected_version=1) for n in range(8)
    ]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(not isinstance(each, Exception) for each in outcomes) == 1
    found = await store.get("task_0001")
    assert found is not None
    assert found.version == 2


@pytest.mark.gen_test
async def test_lists_are_filtered_and_paged(database: Database) -> None:
    store = await opened(database)
    for number in range(5):
        assignee = Assignee(user="u1") if number % 2 else Assignee(role="manager")
        await store.add(
            task(number, assignee=assignee, organization_id=f"o{number % 2}", session_id="s"),
            None,
            NOW,
        )
    await change(store, "task_0003", state="running")

    async def ids(**filters: Any) -> list[str]:
        return [each.task_id[-1] for each in (await store.page(Filters(**filters), 9, None)).items]

    assert await ids() == ["4", "3", "2", "1", "0"]
    assert await ids(state="running") == ["3"]
    assert await ids(assigned_user="u1", organization_id="o1") == ["3", "1"]
    assert await ids(assigned_role="manager") == ["4", "2", "0"]
    assert await ids(session_id="other") == []
    first = await store.page(Filters(organization_id="o0"), 2, None)
    assert (len(first.items), first.total) == (2, 3)
    rest = await store.page(Filters(organization_id="o0"), 2, first.next_cursor)
    assert ([each.task_id for each in rest.items], rest.next_cursor) == (["task_0000"], None)
    for cursor in ("x", "WyJcdTAwMDAiXQ"):
        with pytest.raises(BadRequest):
            await store.page(Filters(), 2, cursor)


@pytest.mark.gen_test
async def test_an_overdue_task_is_marked_once(database: Database) -> None:
    store = await opened(database)
    await store.add(task(1, due_at=NOW - 1), None, NOW)
    await store.add(task(2, due_at=NOW + 1), None, NOW)
    await store.add(task(3, due_at=NOW - 1, state="done"), None, NOW)
    assert [each.task_id for each in await store.due(NOW)] == ["task_0001"]
    marks = await asyncio.gather(*[store.mark_overdue("task_0001", NOW) for _ in range(4)])
    (marked,) = [each for each in marks if each is not None]
    assert (marked.version, marked.view()["overdue"]) == (2, True)
    assert await store.due(NOW) == []
    assert await store.mark_overdue("task_0003", NOW) is None
    assert [t.task_id for t in (await store.page(Filters(is_overdue=True), 9, None)).items] == [
        "task_0001"
    ]
    assert (await store.page(Filters(is_overdue=False), 9, None)).total == 2


@pytest.mark.gen_test
async def test_what_was_not_pushed_is_found_again(database: Database) -> None:
    store = await opened(database)
    await store.add(task(1), None, NOW)
    assert [each.task_id for each in await store.unsent(NOW + 1)] == ["task_0001"]
    assert await store.unsent(NOW) == []
    await store.mark_sent("task_0001", 1)
    assert await store.unsent(NOW + 1) == []
    await change(store, "task_0001", state="running")
    await store.mark_sent("task_0001", 1)
    assert [each.version for each in await store.unsent(NOW + 1)] == [2]


@pytest.mark.gen_test
async def test_ended_tasks_are_pruned_with_their_histories(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH_ROWS", 2)
    store = await opened(database)
    for number in range(5):
        await store.add(task(number), None, NOW)
        if number:
            await change(store, f"task_{number:04}", state="cancelled")
    assert await store.prune(NOW) == 0
    assert await store.prune(NOW + 1) == 4
    assert [each.task_id for each in (await store.page(Filters(), 9, None)).items] == ["task_0000"]
    count = await database.read(
        lambda db: db.execute("SELECT count(*) FROM task_history").fetchone()[0]
    )
    assert count == 1
