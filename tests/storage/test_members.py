from __future__ import annotations

from collections.abc import Callable

import pytest

from wsserver.storage.engine.database import Database
from wsserver.storage.tables.access_lists import MemberChange, MemberStore


@pytest.mark.gen_test
async def test_replacing_says_what_changed(database: Database) -> None:
    members = MemberStore(database)
    first = await members.replace("s1", ["u2", "u1", "u1"], "admin", 1.0)
    assert first == MemberChange(added=["u1", "u2"], removed=[])
    await members.replace("s2", ["u1"], "admin", 1.0)
    second = await members.replace("s1", ["u3", "u2"], "admin", 2.0)
    assert second == MemberChange(added=["u3"], removed=["u1"])
    assert await members.replace("s1", ["u2", "u3"], "admin", 3.0) == MemberChange([], [])
    assert list(await members.all()) == [("s1", "u2"), ("s1", "u3"), ("s2", "u1")]
    assert await members.replace("s1", [], "admin", 4.0) == MemberChange([], ["u2", "u3"])
    assert list(await members.all()) == [("s2", "u1")]


@pytest.mark.gen_test
async def test_members_survive_a_restart(
    database: Database, make_database: Callable[..., Database]
) -> None:
    await MemberStore(database).replace("s1", ["u1"], "admin", 1.0)
    await database.close()
    again = make_database()
    await again.open()
    assert await MemberStore(again).all() == [("s1", "u1")]
