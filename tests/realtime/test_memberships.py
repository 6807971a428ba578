from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.live_server import Live, MakeLive
from wsserver.realtime.access.memberships import Members
from wsserver.storage.tables.access_lists import MemberChange


@pytest.mark.gen_test
async def test_a_list_replaces_another_and_survives_a_restart(
    live: Live, make_live: MakeLive
) -> None:
    members = live.members
    assert await members.replace("s1", ["u2", "u1"], "admin", 1.0) == set()
    await members.replace("s2", ["u1"], "admin", 1.0)
    assert await members.replace("s1", ["u3", "u1"], "admin", 2.0) == {"u2"}
    await live.stop()
    for each in (members, (await make_live()).members):
        assert each.of_session("s1") == ["u1", "u3"]
        assert each.sessions_of("u1") == {"s1", "s2"}
        assert each.sessions_of("u2") == set()
        assert each.is_member("s1", "u3")
        assert not each.is_member("s1", "u2")
        assert each.of_session("nowhere") == []


class NoStore:
    async def replace(self, *_: object) -> MemberChange:
        """Keep nothing."""
        return MemberChange([], [])


@given(st.lists(st.tuples(st.sampled_from("st"), st.sets(st.sampled_from("abc"))), max_size=12))
def test_both_directions_always_agree(changes: list[tuple[str, set[str]]]) -> None:
    members = Members(NoStore())  # type: ignore[arg-type]
    model: dict[str, set[str]] = {}
    for session_id, users in changes:
        change = members.replace(session_id, sorted(users), "x", 0.0)
        with pytest.raises(StopIteration) as done:
            change.send(None)
        assert done.value.value == model.get(session_id, set()) - users
        model[session_id] = users
    for session_id, users in model.items():
        assert set(members.of_session(session_id)) == users
    for user in "abc":
        assert members.sessions_of(user) == {s for s, users in model.items() if user in users}
    assert all(members._by_session.values())
    assert all(members._by_user.values())


@pytest.mark.gen_test
async def test_what_could_not_be_stored_is_not_in_force(live: Live) -> None:
    await live.members.replace("s1", ["u1"], "admin", 1.0)
    await live.database.close()
    with pytest.raises(Exception, match=r".+"):
        await live.members.replace("s1", ["u2"], "admin", 1.0)
    assert live.members.of_session("s1") == ["u1"]
