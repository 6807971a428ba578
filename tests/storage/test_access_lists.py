from __future__ import annotations

from collections.abc import Callable

import pytest

from wsserver.storage.engine.database import Database
from wsserver.storage.tables.access_lists import (
    AccessChangeStore,
    MemberChange,
    MemberStore,
    OrganizationStore,
    RevocationStore,
)


@pytest.mark.gen_test
async def test_replacing_says_what_changed(database: Database) -> None:
    members = MemberStore(database)
    first = await members.replace("s1", ["u2", "u1", "u1"], "admin", 1.0)
    assert first == MemberChange(added=["u1", "u2"], removed=[], version=1)
    await members.replace("s2", ["u1"], "admin", 1.0)
    second = await members.replace("s1", ["u3", "u2"], "admin", 2.0)
    assert second == MemberChange(added=["u3"], removed=["u1"], version=3)
    assert await members.replace("s1", ["u2", "u3"], "admin", 3.0) == MemberChange([], [], 4)
    assert list(await members.all()) == [("s1", "u2"), ("s1", "u3"), ("s2", "u1")]
    assert await members.replace("s1", [], "admin", 4.0) == MemberChange([], ["u2", "u3"], 5)
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


@pytest.mark.gen_test
async def test_an_assigned_organization_is_replaced_and_deleted(database: Database) -> None:
    store = OrganizationStore(database)
    await store.put("u1", "o1", "admin", 1.0)
    await store.put("u2", "o1", "admin", 1.0)
    await store.put("u1", "o2", "root", 2.0)
    assert sorted(await store.all()) == [("u1", "o2"), ("u2", "o1")]
    rows = await database.read(
        lambda db: db.execute(
            "SELECT user_id, entered_by, entered_at FROM user_organizations ORDER BY user_id"
        ).fetchall()
    )
    assert rows == [("u1", "root", 2.0), ("u2", "admin", 1.0)]
    await store.put("u1", None, "admin", 3.0)
    assert await store.all() == [("u2", "o1")]


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


@pytest.mark.gen_test
async def test_what_has_changed_since_a_version_is_read_as_it_is_now(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    members, organizations = MemberStore(database), OrganizationStore(database)
    revocations, changes = RevocationStore(database), AccessChangeStore(database)
    assert (await changes.version(), await changes.since(0)) == (0, [])
    assert await revocations.add("jti", "t1", 5.0) == 1
    assert await revocations.add("user", "u1", 6.0) == 2
    await members.replace("s1", ["u2", "u1"], "admin", 1.0)
    await members.replace("s2", ["u1"], "admin", 1.0)
    assert await organizations.put("u1", "o1", "admin", 1.0) == 5
    await members.replace("s1", ["u3"], "admin", 2.0)
    await members.replace("s2", [], "admin", 2.0)
    assert await organizations.put("u1", None, "admin", 3.0) == 8
    assert await changes.version() == 8
    every = [
        (1, "jti", "t1", None),
        (2, "user", "u1", 6.0),
        (6, "members", "s1", ["u3"]),
        (7, "members", "s2", ()),
        (8, "organization", "u1", None),
    ]
    assert await changes.since(0) == every
    assert await changes.since(6) == every[3:]
    assert await changes.since(8) == []
    monkeypatch.setattr("wsserver.storage.tables.access_lists.CHANGES_AT_ONCE", 2)
    assert await changes.since(1) == every[1:3]
