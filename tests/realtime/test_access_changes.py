"""Changes of access lists come into force in the order in which they were stored."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.live_server import Live
from wsserver.errors import StorageUnavailable
from wsserver.realtime.access.tenancy import OrganizationAssigned
from wsserver.realtime.operations.access_changes import (
    COUNTED,
    AccessChanges,
    MembersReplaced,
    RevokeTokens,
    SessionAssigned,
)
from wsserver.realtime.operations.user_records import UserErased
from wsserver.storage.maintenance.erasure import UserErasure
from wsserver.storage.tables.access_lists import (
    AccessChangeStore,
    MemberStore,
    OrganizationStore,
    RevocationStore,
)


@pytest.fixture
def changes(live: Live) -> AccessChanges:
    return AccessChanges(
        AccessChangeStore(live.database),
        live.manager,
        live.tenancy,
        live.members,
        live.organizations,
        live.revocations,
        live.unread,
        live.control,
    )


@pytest.mark.gen_test
async def test_what_is_received_out_of_order_ends_with_what_was_stored_last(
    live: Live, changes: AccessChanges
) -> None:
    store, organizations = MemberStore(live.database), OrganizationStore(live.database)
    for users in (["u1"], ["u2"], ["u3"]):
        await store.replace("s1", users, "boss", 0.0)
    assert await organizations.put("u1", "o1", "boss", 0.0) == 4
    assert await changes.members_replaced(MembersReplaced("s1", ("u1",), 1)) == 1
    assert live.members.of_session("s1") == ["u1"]
    assert await changes.members_replaced(MembersReplaced("s1", ("u3",), 3)) == 4  # 2 is missing
    assert live.members.of_session("s1") == ["u3"]
    assert live.organizations.get("u1") == "o1"
    await changes.members_replaced(MembersReplaced("s1", ("u2",), 2))  # late
    await changes.organization_assigned(OrganizationAssigned("u1", "old", 4))
    assert live.members.of_session("s1") == ["u3"]
    assert live.organizations.get("u1") == "o1"
    await organizations.put("u1", None, "boss", 0.0)
    assert await changes.organization_assigned(OrganizationAssigned("u1", None, 5)) == 5
    assert live.organizations.get("u1") is None


@pytest.mark.gen_test
async def test_polling_applies_what_was_not_received(live: Live, changes: AccessChanges) -> None:
    store = RevocationStore(live.database)
    await store.add("user", "before", live.clock.wall())
    await changes.load()
    client = await live.connect("u1", jti="t1")
    version = await store.add("jti", "t1", live.clock.wall())
    await changes.poll()
    assert (await client.closing())[0] == 4505
    # The request is late; its answer counts what was closed before it came.
    assert changes.revoke(RevokeTokens(version, jti="t1")) == 1
    assert changes.revoke(RevokeTokens(version, jti="t1")) == 0


@pytest.mark.gen_test
async def test_who_may_stay_in_a_session_is_found_out_after_an_outage(
    live: Live, changes: AccessChanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live.in_session("u1")
    outages = [StorageUnavailable("away")]

    async def prepare(*_: Any) -> None:
        if outages:
            raise outages.pop()

    access = live.manager.sessions.access
    monkeypatch.setattr(access, "needs_preparing", lambda *_: True)
    monkeypatch.setattr(access, "prepare", prepare)
    monkeypatch.setattr(access, "allows", lambda *_: False)
    with pytest.raises(StorageUnavailable):
        await changes.session_assigned(SessionAssigned("s1", changes.version + 1))
    assert list(live.hub.of_session("s1"))
    await changes.poll()
    assert not list(live.hub.of_session("s1"))


@pytest.mark.gen_test
async def test_many_changes_are_read_in_parts(
    live: Live, changes: AccessChanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("storage.tables.access_lists", "realtime.operations.access_changes"):
        monkeypatch.setattr(f"wsserver.{module}.CHANGES_AT_ONCE", COUNTED + 2)
    store = RevocationStore(live.database)
    client = await live.connect("u1", jti="t0")
    for number in range(2 * COUNTED + 4):
        await store.add("jti", f"t{number}", live.clock.wall())
    await changes.poll()
    assert changes.version == 2 * COUNTED + 4
    assert (await client.closing())[0] == 4505


@pytest.mark.gen_test
async def test_polling_keeps_quiet_while_the_database_is_away(
    live: Live, changes: AccessChanges
) -> None:
    await live.database.close()
    await changes.poll()


@pytest.mark.gen_test
async def test_an_erasure_whose_notice_got_lost_is_made_up_for(
    live: Live, changes: AccessChanges
) -> None:
    mine, other = await live.in_session("u1"), await live.in_session("u2")
    said = await other.call("send_message", session_id="s1", content="hello")
    await mine.rest()
    erasure = UserErasure(live.database)
    heard: list[UserErased] = []
    live.control.add_listener(UserErased, heard.append)
    number = await erasure.note("u1")  # by another node
    await changes.poll()
    assert heard == [UserErased("u1", number)]
    assert "u1" not in str(await live.tracing.trace(live.actor(), said["message_id"]))
    changes.user_erased(UserErased("u1", number + 1))
    assert await erasure.note("u1") == changes.version == number + 1
    await changes.poll()
    assert len(heard) == 1  # the notice had come


@pytest.mark.gen_test
async def test_the_latest_erasures_are_kept(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsserver.storage.tables.access_lists.ERASURES_KEPT", 2)
    erasure = UserErasure(live.database)
    revoked = await RevocationStore(live.database).add("jti", "t1", live.clock.wall())
    for number in range(5):
        await erasure.note(f"u{number}")
    found = await AccessChangeStore(live.database).since(0)
    assert [each.key for each in found if each.kind == "erased"] == ["u3", "u4"]
    assert found[0][:3] == (revoked, "jti", "t1")
