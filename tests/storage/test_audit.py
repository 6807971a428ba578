from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from wsserver.errors import BadRequest
from wsserver.storage.audit import AuditEntry, AuditLog
from wsserver.storage.database import Database


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
    await asyncio.wait_for(database.close(), 10)
    again = make_database()
    await again.open()
    assert (await AuditLog(again).page(1)).total == 100
    assert not audit.record(entry(101))
