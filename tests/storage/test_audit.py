from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.waiting import PATIENCE_S
from wsserver.errors import BadRequest, StorageUnavailable
from wsserver.storage.engine import write_buffer
from wsserver.storage.engine.database import Database
from wsserver.storage.tables import audit as audit_module
from wsserver.storage.tables.audit import AuditEntry, AuditLog


@pytest.fixture
def audit(database: Database) -> AuditLog:
    return AuditLog(database)


def entry(n: int, **changes: Any) -> AuditEntry:
    return AuditEntry(
        **{"at": float(n), "actor": f"u{n % 2}", "role": "admin", "action": "x", **changes}
    )


def moments(entries: list[AuditEntry]) -> list[float]:
    return [entry.at for entry in entries]


@pytest.mark.gen_test
async def test_an_entry_comes_back_as_it_was_recorded(audit: AuditLog) -> None:
    recorded = AuditEntry(
        at=1_700_000_000.125,
        actor="u1",
        role="admin",
        action="users.disconnect",
        target="user:u2",
        detail={"reason": "测试", "connections": 2},
        outcome="forbidden",
        request_id="r1",
        remote_ip="127.0.0.1",
    )
    assert audit.record(recorded)
    (found,), total, next_cursor = await audit.page(10)
    assert found.id == 1
    assert found == msgspec.structs.replace(recorded, id=1)
    assert (total, next_cursor) == (1, None)


@pytest.mark.gen_test
async def test_pages_are_stable_while_entries_are_added(audit: AuditLog) -> None:
    for n in range(10):
        audit.record(entry(n))
    seen: list[float] = []
    cursor: str | None = None
    added = 10
    while True:
        entries, total, cursor = await audit.page(3, cursor)
        assert total == added
        seen += moments(entries)
        if cursor is None:
            break
        audit.record(entry(added))
        added += 1
    assert seen == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


@pytest.mark.gen_test
async def test_the_newest_stored_is_first_even_if_the_clock_went_back(audit: AuditLog) -> None:
    for at in (5, 3, 4):
        audit.record(entry(at))
    assert moments((await audit.page(10)).items) == [4, 3, 5]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [5, 4, 3, 2, 1, 0]),
        ({"actor": "u1"}, [5, 3, 1]),
        ({"actor": "nobody"}, []),
        ({"action": "y"}, [3]),
        ({"since": 2.0}, [5, 4, 3, 2]),
        ({"until": 2.0}, [1, 0]),
        ({"since": 1.0, "until": 5.0, "actor": "u1", "action": "x"}, [1]),
    ],
)
async def test_filters_narrow(
    audit: AuditLog, filters: dict[str, Any], expected: list[float]
) -> None:
    for n in range(6):
        audit.record(entry(n, action="y" if n == 3 else "x"))
    entries, total, _ = await audit.page(10, **filters)
    assert moments(entries) == expected
    assert total == len(expected)
    seen: list[float] = []
    cursor: str | None = None
    while True:
        entries, total, cursor = await audit.page(1, cursor, **filters)
        assert total == len(expected)
        seen += moments(entries)
        if cursor is None:
            break
    assert seen == expected


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "cursor",
    ["", "x", "é", "W10", "bnVsbA", "Wy0xXQ", "WzFlOTld", "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OTld"],
)
async def test_a_cursor_that_is_none_is_refused(audit: AuditLog, cursor: str) -> None:
    with pytest.raises(BadRequest) as caught:
        await audit.page(10, cursor)
    assert caught.value.details == {"field": "cursor"}


@pytest.mark.gen_test
async def test_recording_does_not_wait_and_closing_stores_what_waits(
    audit: AuditLog, database: Database, make_database: Callable[..., Database]
) -> None:
    recorded = [audit.record(entry(n)) for n in range(100)]
    assert recorded == [True] * 100
    audit.close()
    assert not audit.record(entry(101))
    await asyncio.wait_for(database.close(), PATIENCE_S)
    again = make_database()
    await again.open()
    assert (await AuditLog(again).page(1)).total == 100


@pytest.mark.gen_test
async def test_many_entries_are_stored_as_one_write(audit: AuditLog, database: Database) -> None:
    commits = database.health()["commits"]
    for n in range(2000):
        audit.record(entry(n))
    assert database.queued == 0  # nothing but a list has been touched
    audit.flush()
    assert database.queued <= 1
    assert (await audit.page(1)).total == 2000
    assert database.health()["commits"] <= commits + 2


@pytest.mark.gen_test
async def test_entries_are_stored_by_themselves_soon(
    audit: AuditLog, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = asyncio.Event()
    submit = database.submit

    def note(fn: Any, **options: Any) -> bool:
        stored.set()
        return submit(fn, **options)

    monkeypatch.setattr(database, "submit", note)
    audit.record(entry(1))
    await asyncio.wait_for(stored.wait(), PATIENCE_S)


@pytest.mark.gen_test
async def test_what_waits_is_bounded_and_each_that_is_refused_is_counted(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    audit = AuditLog(database, waiting_limit=5)
    with caplog.at_level(logging.CRITICAL):
        assert [audit.record(entry(n)) for n in range(8)] == [True] * 5 + [False] * 3
    assert database.health()["lost_writes"] == 3
    assert (await audit.page(1)).total == 5


@pytest.mark.gen_test
async def test_behind_a_database_that_is_held_up_entries_wait_here(
    audit: AuditLog, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_buffer, "BUSY_JOBS", -1)
    audit.record(entry(1))
    audit._buffer._flush_if_idle()
    assert len(audit._buffer) == 1
    monkeypatch.undo()
    audit._buffer._flush_if_idle()
    assert len(audit._buffer) == 0
    assert (await audit.page(1)).total == 1


@pytest.mark.gen_test
async def test_entries_that_cannot_be_stored_are_all_counted(
    audit: AuditLog, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(3):
        audit.record(entry(n, target="\ud800"))
    with caplog.at_level(logging.CRITICAL):
        assert (await audit.page(1)).total == 0
    assert database.health()["lost_writes"] == 3


@pytest.fixture
def lock(database: Database, path: Path) -> Iterator[sqlite3.Connection]:
    """Another program, in the middle of writing to the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


async def fail_to_store(audit: AuditLog, database: Database) -> None:
    """Try to store what waits, with the database locked."""
    audit.flush()
    with pytest.raises(StorageUnavailable):
        await database.run(lambda db: None)


@pytest.mark.sqlite_only
@pytest.mark.gen_test
async def test_entries_outlast_a_database_that_is_locked_in_their_order(
    audit: AuditLog, database: Database, lock: sqlite3.Connection
) -> None:
    audit.record(entry(1))
    audit.record(entry(2))
    await fail_to_store(audit, database)
    assert audit._buffer._timer is not None
    audit.record(entry(3))
    assert (await audit.page(10)).items == []
    lock.execute("ROLLBACK")
    await database.run(lambda db: None)
    assert moments((await audit.page(10)).items) == [3, 2, 1]
    assert database.health()["lost_writes"] == 0


@pytest.mark.sqlite_only
@pytest.mark.gen_test
async def test_entries_for_which_there_is_no_room_any_more_are_counted(
    database: Database, lock: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    audit = AuditLog(database, waiting_limit=3)
    with caplog.at_level(logging.CRITICAL):
        for n in range(3):
            audit.record(entry(n))
        audit.flush()
        audit.record(entry(3))
        await fail_to_store(audit, database)
        lock.execute("ROLLBACK")
        await database.run(lambda db: None)
        stored = moments((await audit.page(10)).items)
    assert len(stored) == 3
    assert database.health()["lost_writes"] == 1


@pytest.mark.sqlite_only
@pytest.mark.gen_test
async def test_entries_that_the_last_try_could_not_store_are_counted(
    audit: AuditLog,
    database: Database,
    lock: sqlite3.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    audit.record(entry(1))
    audit.close()
    await fail_to_store(audit, database)
    assert database.health()["lost_writes"] == 1


@pytest.mark.gen_test
async def test_what_is_older_than_a_year_is_pruned(
    audit: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "_BATCH_ROWS", 2)
    now = 400.0 * 86_400
    oldest = now - 366 * 86_400
    for at in (oldest - 3, oldest - 2, oldest - 1, oldest, now):
        audit.record(entry(0, at=at))
    audit.flush()
    assert await audit.prune(now) == 3
    assert moments((await audit.page(10)).items) == [now, oldest]
    assert await audit.prune(now) == 0


@pytest.mark.gen_test
async def test_a_flood_of_one_kind_pushes_out_only_itself(
    audit: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "KEPT_ROWS", 3)
    monkeypatch.setattr(audit_module, "_BATCH_ROWS", 2)
    audit.record(entry(1, action="disconnect"))
    for n in range(10, 20):
        audit.record(entry(n, action="publish"))
        audit.record(entry(100 + n, action="disconnect", outcome="forbidden"))
    audit.flush()
    assert await audit.prune(200.0) == 14
    assert moments((await audit.page(10)).items) == [119, 19, 118, 18, 117, 17, 1]
    assert await audit.prune(200.0) == 0
