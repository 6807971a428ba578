from __future__ import annotations

from typing import Any

import pytest

from wsserver.errors import Forbidden
from wsserver.identity.claims import Claims
from wsserver.identity.permissions import Permissions
from wsserver.realtime.access.session_access import SessionAccess

MEMBERS = {("s1", "member")}


class Owners:
    """Sessions are named after their organizations."""

    def __init__(self) -> None:
        self.asked: set[tuple[str, str]] = set()

    async def owns(self, organization_id: str, session_id: str) -> bool:
        self.asked.add((organization_id, session_id))
        return self.is_known_to_own(organization_id, session_id)

    def is_known_to_own(self, organization_id: str, session_id: str) -> bool:
        is_asked = (organization_id, session_id) in self.asked
        return is_asked and session_id == f"s_{organization_id}"


OWNERS = Owners()
ACCESS = SessionAccess(
    Permissions(), lambda session_id, user: (session_id, user) in MEMBERS, OWNERS
)


def claims(user: str = "u1", **changes: Any) -> Claims:
    return Claims(sub=user, exp=2e9, **changes)


TABLE = [
    # who, may enter s1, may enter s2
    (claims(), False, False),
    (claims(sessions=frozenset({"s1"})), True, False),
    (claims(sessions=frozenset({"s2", "s3"})), False, True),
    (claims(sessions="*"), True, True),
    (claims("member"), True, False),
    (claims(role="admin"), True, True),
    (claims(role="admin", permissions=frozenset({"stats:read"})), False, False),
    (claims(role="admin", permissions=frozenset({"sessions:any"})), True, True),
    (claims(role="service"), False, False),
    (claims(role="manager"), False, False),
    (claims(role="user", permissions=frozenset({"sessions:any"})), False, False),
]


@pytest.mark.parametrize(("who", "s1", "s2"), TABLE)
def test_a_session_is_entered_by_claim_member_list_or_permission(
    who: Claims, s1: bool, s2: bool
) -> None:
    assert (ACCESS.allows(who, "s1"), ACCESS.allows(who, "s2")) == (s1, s2)
    for session_id, allowed in (("s1", s1), ("s2", s2)):
        if allowed:
            ACCESS.require(who, session_id)
        else:
            with pytest.raises(Forbidden, match=f"^no access to session {session_id}$"):
                ACCESS.require(who, session_id)


@pytest.mark.parametrize(
    ("who", "may"),
    [
        (claims(role="admin"), True),
        (claims(role="service"), True),
        (claims(role="manager"), False),
        (claims(role="user"), False),
        (claims(role="admin", permissions=frozenset()), False),
    ],
)
def test_monitoring_needs_its_permission(who: Claims, may: bool) -> None:
    assert ACCESS.allows_monitoring(who) is may


def test_a_confined_role_cannot_monitor_whatever_the_configuration() -> None:
    access = SessionAccess(Permissions({"manager": ["monitor"]}), lambda *_: False, OWNERS)
    assert not access.allows_monitoring(claims(role="manager", organization_id="o1"))


@pytest.mark.gen_test
@pytest.mark.parametrize("role", ["manager", "user"])
async def test_any_session_is_any_of_its_organization_for_a_confined_role(role: str) -> None:
    access = SessionAccess(Permissions({role: ["sessions:any"]}), lambda *_: False, Owners())
    mine = claims(role=role, organization_id="o1")
    assert not access.allows(mine, "s_o1")  # storage was not asked yet
    for session_id in ("s_o1", "s_o2", "s_nobodys"):
        assert access.needs_preparing(mine, session_id)
        await access.prepare(mine, session_id)
        assert access.allows(mine, session_id) is (session_id == "s_o1")
    for other in (claims(role=role), claims(role=role, organization_id="o2")):
        assert not access.allows(other, "s_o1")
    assert not access.needs_preparing(claims(role=role), "s_o1")
    assert not access.needs_preparing(claims(role="admin", organization_id="o1"), "s_o1")
    assert not ACCESS.needs_preparing(mine, "s_o1")  # without the permission
