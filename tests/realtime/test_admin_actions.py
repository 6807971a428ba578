from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.frames import PONG
from tests.support.live_server import Live, MakeLive, settle
from wsserver.errors import Forbidden, NotFound, TokenInvalid, TokenRevoked, ValidationFailed
from wsserver.protocol.requests import (
    DisconnectRequest,
    MembersRequest,
    RevokeRequest,
    read_request,
)


def who(**body: Any) -> DisconnectRequest:
    return read_request(body, DisconnectRequest)


def members(*user_ids: str) -> MembersRequest:
    return read_request({"user_ids": list(user_ids)}, MembersRequest)


def revoke(**body: Any) -> RevokeRequest:
    return read_request(body, RevokeRequest)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("call", "roles"),
    [
        (lambda a, actor: a.disconnect_user(actor, who(user_id="u")), {"admin"}),
        (lambda a, actor: a.disconnect_connection(actor, "conn_none"), {"admin"}),
        (lambda a, actor: a.ping_user(actor, "u", 0.01), {"admin", "service", "manager"}),
        (lambda a, actor: a.replace_members(actor, "s", members("u")), {"admin", "service"}),
        (lambda a, actor: a.members(actor, "s"), {"admin", "service"}),
        (lambda a, actor: a.revoke(actor, revoke(jti="j")), {"admin"}),
    ],
)
async def test_each_action_needs_its_permission(live: Live, call: Any, roles: set[str]) -> None:
    await live.connect("u", organization_id="o1")
    for role in ("admin", "service", "manager", "user"):
        actor = live.actor(role, organization_id="o1")
        powerless = live.actor(role, organization_id="o1", permissions=frozenset())
        for each, allowed in ((actor, role in roles), (powerless, False)):
            if allowed:
                try:
                    await call(live.admin_actions, each)
                except NotFound:
                    assert "disconnect_connection" in str(call.__code__.co_names)
            else:
                with pytest.raises(Forbidden):
                    await call(live.admin_actions, each)


@pytest.mark.gen_test
async def test_disconnecting_a_user_closes_all_with_4502_and_the_reason(live: Live) -> None:
    clients = [await live.connect("u1") for _ in range(2)]
    other = await live.connect("u2")
    answer = await live.admin_actions.disconnect_user(
        live.actor(), who(user_id="u1", reason="休息")
    )
    assert answer == {"disconnected": 2}
    for client in clients:
        assert await client.closing() == (4502, "休息")
    assert await other.rest() == []
    again = await live.admin_actions.disconnect_user(live.actor(), who(user_id="u1"))
    assert again == {"disconnected": 0}
    entry = (await live.audited())[-1]
    assert (entry.actor, entry.action, entry.target) == ("boss", "disconnect", "user:u1")
    assert entry.detail == {"connections": [c.id for c in clients], "reason": "休息"}
    assert (entry.remote_ip, entry.request_id) == ("10.0.0.9", "req_1")


@pytest.mark.gen_test
async def test_or_only_the_one_connection_named(live: Live) -> None:
    one, two = await live.connect("u1"), await live.connect("u1")
    stranger = await live.connect("u2")
    disconnect = live.admin_actions.disconnect_user
    for connection_id, count in ((one.id, 1), (stranger.id, 0), ("conn_none", 0)):
        answer = await disconnect(live.actor(), who(user_id="u1", connection_id=connection_id))
        assert answer == {"disconnected": count}
    code, reason = await one.closing()
    assert code == 4502
    assert reason
    assert await two.rest() == await stranger.rest() == []


@pytest.mark.gen_test
async def test_a_connection_is_disconnected_by_id(live: Live) -> None:
    client = await live.connect("u1")
    assert await live.admin_actions.disconnect_connection(live.actor(), client.id) == {
        "disconnected": 1
    }
    assert (await client.closing())[0] == 4502
    with pytest.raises(NotFound):
        await live.admin_actions.disconnect_connection(live.actor(), client.id)
    assert [e.target for e in await live.audited()] == [f"connection:{client.id}"]


@pytest.mark.gen_test
async def test_a_confined_role_that_may_disconnect_does_so_in_its_organization(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(live.permissions._rows, "manager", frozenset({"connections:disconnect"}))
    boss = live.actor("manager", organization_id="o1")
    other = await live.connect("both", organization_id="o2")
    mine = await live.connect("both", organization_id="o1")  # came with this one last
    outsider = await live.connect("outsider", organization_id="o2")
    left = await live.connect("outsider", organization_id="o1")
    await live.connect("outsider", organization_id="o2")
    answer = await live.admin_actions.disconnect_user(boss, who(user_id="both"))
    assert answer == {"disconnected": 1}
    assert (await mine.closing())[0] == 4502
    for name in ("outsider", "unknown"):
        with pytest.raises(Forbidden, match=f"^user {name} is outside of your organization$"):
            await live.admin_actions.disconnect_user(boss, who(user_id=name))
    for id_ in (outsider.id, "conn_none"):
        with pytest.raises(NotFound):
            await live.admin_actions.disconnect_connection(boss, id_)
    assert await other.rest() == await outsider.rest() == []
    assert await live.admin_actions.disconnect_connection(boss, left.id) == {"disconnected": 1}


@pytest.mark.gen_test
async def test_pinging_a_user_is_a_real_round_trip_of_each_connection(live: Live) -> None:
    answers, silent = await live.connect("u1"), await live.connect("u1")
    pinging = asyncio.ensure_future(live.admin_actions.ping_user(live.actor(), "u1", 0.3))
    await answers.frame()
    _, ping_id = await answers.frame()
    live.clock.advance(0.040)
    answers.send_frame(PONG, ping_id)
    assert await pinging == {
        "user_id": "u1",
        "online": True,
        "connections": [
            {"connection_id": answers.id, "alive": True, "rtt_ms": 40.0},
            {"connection_id": silent.id, "alive": False, "rtt_ms": None},
        ],
    }


@pytest.mark.gen_test
async def test_a_ping_of_an_offline_user_returns_immediately(live: Live) -> None:
    assert await live.admin_actions.ping_user(live.actor(), "u9", 60.0) == {
        "user_id": "u9",
        "online": False,
        "connections": [],
    }
    await live.connect("other", organization_id="o2")
    with pytest.raises(NotFound):
        await live.admin_actions.ping_user(
            live.actor("manager", organization_id="o1"), "other", 60.0
        )


@pytest.mark.gen_test
async def test_a_listed_member_may_join_and_a_removed_one_leaves_immediately(
    live: Live,
) -> None:
    client, bound = await live.connect("u1"), None
    assert await client.error("join_session", session_id="s1") == "forbidden"
    replace = live.admin_actions.replace_members
    answer = await replace(live.actor(), "s1", members("u2", "u1", "u1"))
    assert answer == {"session_id": "s1", "user_ids": ["u1", "u2"]}
    assert await live.admin_actions.members(live.actor(), "s1") == answer
    await client.call("join_session", session_id="s1")
    bound = await live.connect("u1", endpoint="session", session_id="s1")
    stays = await live.in_session("u2", sessions=[])
    claimed = await live.in_session("u3")
    for each in (client, bound, stays, claimed):
        await each.rest()
    await replace(live.actor(), "s1", members("u2"))
    assert (await bound.closing())[0] == 4503
    assert [(p["type"], p["session_id"]) for p in await client.rest()] == [("session_left", "s1")]
    assert not client.sessions
    assert [p["type"] for p in await stays.rest()] == ["session_left"]
    assert claimed.sessions == {"s1"}
    (latest, _) = await live.audited()
    assert (latest.action, latest.target) == ("members", "session:s1")
    assert latest.detail == {"members": 1, "removed": ["u1"]}


@pytest.mark.gen_test
async def test_a_member_who_has_another_way_in_stays(live: Live) -> None:
    await live.admin_actions.replace_members(live.actor(), "s1", members("u1"))
    client = await live.in_session("u1", sessions=["s1"])
    await live.admin_actions.replace_members(live.actor(), "s1", members())
    assert await client.rest() == []
    assert client.sessions == {"s1"}


@pytest.mark.gen_test
async def test_revoking_a_token_closes_its_connections_with_4505_and_lasts(
    live: Live, make_live: MakeLive
) -> None:
    revoked = await live.connect("u1", jti="j1")
    kept = await live.connect("u1", jti="j2")
    answer = await live.admin_actions.revoke(live.actor(), revoke(jti="j1"))
    assert answer == {"jti": "j1", "disconnected": 1}
    assert (await revoked.closing())[0] == 4505
    assert await kept.rest() == []
    with pytest.raises(TokenRevoked):
        await live.verifier.verify(live.token(jti="j1"))
    assert await live.revocation_store.all() == [("jti", "j1", live.clock.wall())]
    assert [e.action for e in await live.audited()] == ["revoke"]


@pytest.mark.gen_test
async def test_revoking_a_user_refuses_what_was_issued_until_now(live: Live) -> None:
    now = live.clock.wall()
    before = await live.connect("u1", iat=now - 1)
    undated = await live.connect("u1")
    later = await live.connect("u1", iat=now + 1)
    other = await live.connect("u2", iat=now - 1)
    answer = await live.admin_actions.revoke(live.actor(), revoke(user_id="u1"))
    assert answer == {"user_id": "u1", "disconnected": 2}
    for client in (before, undated):
        assert (await client.closing())[0] == 4505
    assert await later.rest() == await other.rest() == []
    live.clock.advance(2)
    assert (await live.verifier.verify(live.token("u1", iat=now + 1))).sub == "u1"


@pytest.mark.gen_test
@pytest.mark.parametrize("body", [{}, {"jti": "j", "user_id": "u"}])
async def test_exactly_one_thing_is_revoked(live: Live, body: dict[str, str]) -> None:
    with pytest.raises(ValidationFailed) as caught:
        await live.admin_actions.revoke(live.actor(), revoke(**body))
    assert caught.value.details["errors"][0]["field"] == "jti"
    assert await live.revocation_store.all() == []


@pytest.mark.gen_test
async def test_a_ticket_authenticates_its_owner_once(live: Live) -> None:
    actor = live.actor("user", "u1")
    answer = await live.admin_actions.ticket(actor)
    assert answer["expires_at"] == "2023-11-14T22:13:50.000Z"
    assert live.tickets.redeem(answer["ticket"]) == actor.claims
    with pytest.raises(TokenInvalid):
        live.tickets.redeem(answer["ticket"])
    await settle()
    assert await live.audited() == []


@pytest.mark.gen_test
async def test_what_is_forbidden_is_in_the_audit_trail_once(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(live.permissions._rows, "manager", frozenset({"connections:disconnect"}))
    await live.connect("other", organization_id="o2")
    user = live.actor("user", "mallory", organization_id="o1")
    boss = live.actor("manager", organization_id="o1")
    for attempt in (
        live.admin_actions.disconnect_user(user, who(user_id="u1")),
        live.admin_actions.disconnect_user(boss, who(user_id="other")),
        live.admin_actions.disconnect_connection(user, "conn_1"),
        live.admin_actions.replace_members(user, "s1", members("u1")),
        live.admin_actions.revoke(user, revoke(jti="j1")),
    ):
        with pytest.raises(Forbidden):
            await attempt
    assert [(e.actor, e.action, e.target, e.outcome) for e in await live.audited()] == [
        ("mallory", "revoke", "jti:j1", "forbidden"),
        ("mallory", "members", "session:s1", "forbidden"),
        ("mallory", "disconnect", "connection:conn_1", "forbidden"),
        ("boss", "disconnect", "user:other", "forbidden"),
        ("mallory", "disconnect", "user:u1", "forbidden"),
    ]
