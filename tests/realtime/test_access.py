from __future__ import annotations

from typing import Any

import pytest

from tests.realtime.fake_connections import fake_connection
from wsserver.errors import Forbidden
from wsserver.identity.claims import Claims
from wsserver.identity.permissions import Permissions
from wsserver.realtime.access import Scope, SessionAccess
from wsserver.realtime.hub import Hub

MEMBERS = {("s1", "member")}
ACCESS = SessionAccess(Permissions(), lambda session_id, user: (session_id, user) in MEMBERS)


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


def test_a_confined_role_monitors_nobody_whatever_the_configuration_says() -> None:
    access = SessionAccess(Permissions({"manager": ["monitor"]}), lambda *_: False)
    assert not access.allows_monitoring(claims(role="manager", organization_id="o1"))


@pytest.fixture
def hub() -> Hub:
    hub = Hub()
    for user, organization_id, sessions in (
        ("mine", "o1", ["s_mine", "s_mixed"]),
        ("other", "o2", ["s_other", "s_mixed"]),
        ("customer", None, ["s_customer"]),
        ("both", "o1", []),
        ("both", "o2", []),
    ):
        connection = fake_connection(user, organization_id=organization_id)
        hub.add(connection)
        for session_id in sessions:
            hub.join(connection, session_id)
    return hub


@pytest.mark.parametrize(
    ("question", "id_", "o1", "everything"),
    [
        ("has_user", "mine", True, True),
        ("has_user", "both", True, True),
        ("has_user", "other", False, True),
        ("has_user", "customer", False, True),
        ("has_user", "offline", True, True),
        ("has_session", "s_mine", True, True),
        ("has_session", "s_mixed", True, True),
        ("has_session", "s_other", False, True),
        ("has_session", "s_customer", True, True),
        ("has_session", "s_empty", True, True),
        ("has_organization", "o1", True, True),
        ("has_organization", "o2", False, True),
    ],
)
def test_what_an_organization_sees(
    hub: Hub, question: str, id_: str, o1: bool, everything: bool
) -> None:
    assert getattr(Scope(hub, "o1"), question)(id_) is o1
    assert getattr(Scope(hub, None), question)(id_) is everything


def test_connections_of_others_are_filtered_out(hub: Hub) -> None:
    assert [c.user_id for c in Scope(hub, "o1").filter(hub)] == ["mine", "both"]
    assert len(Scope(hub, None).filter(hub)) == 5
