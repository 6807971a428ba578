from __future__ import annotations

from collections.abc import Callable

import pytest

from wsserver.storage.engine.database import Database
from wsserver.storage.tables.console_sessions import (
    KEPT_PER_USER,
    ConsoleSession,
    ConsoleSessionStore,
)


@pytest.mark.gen_test
async def test_a_sign_in_is_there_until_it_is_deleted(
    database: Database, make_database: Callable[..., Database]
) -> None:
    session = ConsoleSession('{"sub":"u1","exp":9.0}', 9.0)
    await ConsoleSessionStore(database).add("d1", "u1", session, 1.0)
    await database.close()
    again = make_database()
    await again.open()
    store = ConsoleSessionStore(again)
    assert await store.get("d1") == session
    assert await store.get("d2") is None
    assert [await store.delete("d1"), await store.delete("d1")] == [True, False]
    assert await store.get("d1") is None


@pytest.mark.gen_test
async def test_the_oldest_sign_ins_of_a_user_end_with_too_many(database: Database) -> None:
    store = ConsoleSessionStore(database)
    await store.add("other", "u2", ConsoleSession("{}", 99.0), 0.0)
    for number in range(KEPT_PER_USER + 2):
        await store.add(f"d{number}", "u1", ConsoleSession("{}", 99.0), float(number))
    found = [await store.get(f"d{number}") for number in range(4)]
    assert [each is not None for each in found] == [False, False, True, True]
    assert await store.get("other") is not None


@pytest.mark.gen_test
async def test_pruning_deletes_those_that_have_ended(database: Database) -> None:
    store = ConsoleSessionStore(database)
    for name, ends_at in (("d1", 10.0), ("d2", 20.0), ("d3", 30.0)):
        await store.add(name, name, ConsoleSession("{}", ends_at), 1.0)
    assert await store.prune(25.0) == 2
    assert await store.get("d2") is None
    assert await store.get("d3") is not None
