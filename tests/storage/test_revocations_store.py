from __future__ import annotations

from collections.abc import Callable

import pytest

from wsserver.storage.engine.database import Database
from wsserver.storage.tables.access_lists import RevocationStore


@pytest.mark.gen_test
async def test_revocations_survive_a_restart(
    database: Database, make_database: Callable[..., Database]
) -> None:
    store = RevocationStore(database)
    await store.add("jti", "t1", 5.5)
    await store.add("user", "u1", 6.25)
    await database.close()
    again = make_database()
    await again.open()
    assert sorted(await RevocationStore(again).all()) == [("jti", "t1", 5.5), ("user", "u1", 6.25)]


@pytest.mark.gen_test
async def test_the_later_moment_counts(database: Database) -> None:
    store = RevocationStore(database)
    for at in (5.0, 7.0, 6.0):
        await store.add("user", "u1", at)
    assert await store.all() == [("user", "u1", 7.0)]
