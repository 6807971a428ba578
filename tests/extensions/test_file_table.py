"""The tables of files, on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest

from wsserver.errors import IdempotencyConflict
from wsserver.extensions.files.errors import FileQuotaExhausted, FileUploadLimit
from wsserver.extensions.files.extension import FILES
from wsserver.extensions.files.model import File
from wsserver.extensions.files.table import FileTable, Filters, Limits
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.extension_schema import apply_steps

NOW = 1_700_000_000.0
LIMITS = Limits(0, 1000)


def file(number: int, **values: Any) -> File:
    chosen: dict[str, Any] = {
        "file_id": f"file_{number:04}",
        "user_id": "alice",
        "organization_id": "o1",
        "session_id": "s1",
        "filename": "报告.pdf",
        "content_type": "application/pdf",
        "length": 5000,
        "created_at": NOW,
        "expires_at": NOW + 100,
        **values,
    }
    return File(**chosen)


async def opened(database: Database) -> FileTable:
    await database.run(lambda db: apply_steps(db, database.KIND, [FILES.schema], NOW))
    return FileTable(database)


@pytest.mark.gen_test
async def test_a_file_comes_back_as_it_was_and_is_completed_once(database: Database) -> None:
    table = await opened(database)
    whole = file(1, metadata="filename x", unverified_from=7)
    assert await table.add(whole, LIMITS, None) == whole
    assert await table.get("file_0001") == whole
    assert await table.get("file_0002") is None
    done, is_new = await table.complete("file_0001", "ab", NOW + 1, NOW + 1000)
    assert is_new
    assert done is not None
    assert (done.sha256, done.completed_at, done.expires_at) == ("ab", NOW + 1, NOW + 1000)
    assert done.unverified_from is None
    assert await table.complete("file_0001", "cd", NOW + 2, NOW) == (done, False)
    assert not await table.mark_unverified("file_0001", 3)
    assert (await table.complete("file_0002", "ab", NOW, NOW))[0] is None


@pytest.mark.gen_test
async def test_a_file_whose_time_is_over_is_not_completed(database: Database) -> None:
    table = await opened(database)
    await table.add(file(1), LIMITS, None)
    assert await table.end("file_0001")
    assert [each.file_id for each in await table.expired(NOW)] == ["file_0001"]
    ended, is_new = await table.complete("file_0001", "ab", NOW, NOW + 1000)
    assert (ended is not None and ended.is_complete, is_new) == (False, False)
    assert not await table.end("file_0002")


@pytest.mark.gen_test
async def test_usage_is_that_of_the_rows(database: Database) -> None:
    table = await opened(database)
    limits = Limits(10_000, 3)
    await table.add(file(1), limits, None)
    await table.add(file(2, length=0), limits, None)
    assert await table.usage("o1") == 9096
    with pytest.raises(FileQuotaExhausted):
        await table.add(file(3, length=1), limits, None)
    await table.add(file(4, organization_id=None), limits, None)
    with pytest.raises(FileUploadLimit):
        await table.add(file(5, organization_id="o2"), limits, None)
    await table.add(file(6, organization_id="o2", user_id="bob"), limits, None)
    assert await table.remove(["file_0001", "file_0002", "file_0009"]) == 2
    assert await table.remove(["file_0001"]) == 0
    assert [await table.usage(each) for each in ("o1", None, "o2", "o3")] == [0, 5000, 5000, 0]


@pytest.mark.gen_test
async def test_a_request_is_one_upload(database: Database) -> None:
    table = await opened(database)
    first = await table.add(file(1), LIMITS, "k")
    assert await table.add(file(2), LIMITS, "k") == first
    with pytest.raises(IdempotencyConflict):
        await table.add(file(3, length=1), LIMITS, "k")


@pytest.mark.gen_test
async def test_pages_expiry_and_binding(database: Database) -> None:
    table = await opened(database)
    for number in range(1, 6):
        session_id = None if number == 5 else f"s{number % 2}"
        await table.add(file(number, session_id=session_id), LIMITS, None)
    page = await table.page(Filters(user_id="alice"), 3, None)
    assert [each.file_id[-1] for each in page.items] == ["5", "4", "3"]
    rest = await table.page(Filters(user_id="alice"), 3, page.next_cursor)
    assert [each.file_id[-1] for each in rest.items] == ["2", "1"]
    assert (page.total, rest.next_cursor) == (5, None)
    odd = await table.page(Filters(session_id="s1", organization_id="o1"), 9, None)
    assert [each.file_id[-1] for each in odd.items] == ["3", "1"]
    assert await table.bind("file_0005", "alice", "s7")
    assert await table.bind("file_0005", "alice", "s7")
    assert not await table.bind("file_0005", "alice", "s8")
    assert not await table.bind("file_0001", "bob", "s1")
    assert await table.expired(NOW + 99) == []
    assert len(await table.expired(NOW + 100)) == 5
    assert [each.file_id[-1] for each in await table.of_user("alice", "file_0003")] == ["4", "5"]


@pytest.mark.gen_test
async def test_an_upload_has_one_writer(database: Database) -> None:
    table = await opened(database)
    known = (await table.add(file(1), LIMITS, None)).file_id
    assert await table.absent([known, "file_other"]) == ["file_other"]
    for writer, other in (("a", "b"), ("b", "a")):
        assert await table.set_writer(known, writer)
        assert await table.is_writer(known, writer)
        assert not await table.is_writer(known, other)
    assert not await table.set_writer("file_other", "a")


@pytest.mark.gen_test
async def test_the_key_is_made_once(database: Database) -> None:
    table = await opened(database)
    key = await table.key()
    assert len(key) == 32
    assert await FileTable(database).key() == key
