"""Where users and sessions belong: by what was entered, by tokens, present or not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.live_server import Client, Live, MakeLive
from wsserver.errors import Forbidden, NotFound
from wsserver.protocol.origin import Origin
from wsserver.protocol.targets import session
from wsserver.realtime.access.tenancy import Scope
from wsserver.realtime.messages.message import Message

NOW = 1_700_000_000.0


async def came(live: Live, user: str, organization_id: str | None, **claims: Any) -> None:
    """A user was here and has gone."""
    client = await live.connect(user, organization_id=organization_id, **claims)
    live.manager.close(client.info, 1000, "")


def scope(live: Live, organization_id: str | None = "o1") -> Scope:
    """A new one, as each request has it: it remembers what it has learned."""
    return live.tenancy.scope(organization_id)


async def has(live: Live, *user_ids: str, organization_id: str | None = "o1") -> str:
    inside = [id_ for id_ in user_ids if await scope(live, organization_id).has_user(id_)]
    return " ".join(inside)


async def write(live: Live, session_id: str, sender: str | None = None, **origin: Any) -> None:
    message = Message("new_message", {}, session(session_id), keep=True, sender=sender)
    message.origin = Origin(**origin) if origin else None
    await live.router.send(message)


# Users


@pytest.mark.gen_test
async def test_a_user_belongs_where_the_latest_token_says_present_or_not(live: Live) -> None:
    await live.connect("here", organization_id="o1")
    await came(live, "gone", "o1")
    await live.connect("other", organization_id="o2")
    await came(live, "left", "o2")
    await live.connect("customer", organization_id=None)
    for stored in (False, True):
        if stored:
            await live.directory.flush()
        everybody = ("here", "gone", "other", "left", "customer", "unknown")
        assert await has(live, *everybody) == "here gone"
        assert await has(live, *everybody, organization_id=None) == " ".join(everybody)
        assert await live.tenancy.organizations_of(everybody) == {
            **{"here": "o1", "gone": "o1", "other": "o2", "left": "o2", "customer": None},
        }


@pytest.mark.gen_test
async def test_of_several_tokens_the_last_one_counts_in_whatever_order(live: Live) -> None:
    for organization_id in ("o1", "o2", "o1", "o2"):
        await came(live, "u1", organization_id)
        assert await has(live, "u1") == ("u1" if organization_id == "o1" else "")
        await live.directory.flush()
        assert await has(live, "u1") == ("u1" if organization_id == "o1" else "")
    older = await live.connect("u1", organization_id="o1")
    await live.connect("u1", organization_id="o2")
    assert await has(live, "u1") == ""
    await live.directory.flush()
    assert await has(live, "u1") == ""
    newer = live.token("u1", organization_id="o1")
    await older.call("refresh_token", token=newer)
    assert await has(live, "u1") == "u1"


@pytest.mark.gen_test
async def test_what_is_being_stored_is_not_forgotten_meanwhile(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    await came(live, "u1", "o1")
    await live.directory.flush()
    await came(live, "u1", "o2")
    store, seen = live.directory.store.note, []

    async def note(users: Any) -> None:
        seen.append(await has(live, "u1", organization_id="o2"))
        await store(users)

    monkeypatch.setattr(live.directory.store, "note", note)
    await live.directory.flush()
    assert seen == ["u1"]


@pytest.mark.gen_test
async def test_an_entered_organization_counts_before_every_token(live: Live) -> None:
    await came(live, "u1", "o2")
    client = await live.connect("u2", organization_id="o2")
    for user in ("u1", "u2", "never"):
        await live.tenancy.assign(user, "o1", "boss", NOW)
    assert await has(live, "u1", "u2", "never") == "u1 u2 never"
    assert client.info.metadata["organization_id"] == "o1"
    assert [c.user_id for c in live.hub.of_organization("o1")] == ["u2"]
    assert live.hub.of_organization("o2") == []
    # Whatever tokens they come with from now on.
    assert (await live.connect("u2", organization_id="o3")).info.claims.organization_id == "o1"
    assert (await live.verifier.verify(live.token("u1"))).organization_id == "o1"
    await live.tenancy.assign("u2", None, "boss", NOW)
    assert [c.claims.organization_id for c in live.hub.of_user("u2")] == ["o2", "o3"]
    assert await has(live, "u2", organization_id="o3") == "u2"


@pytest.mark.gen_test
async def test_entered_organizations_outlive_the_process(make_live: MakeLive) -> None:
    live = await make_live()
    await live.tenancy.assign("u1", "o1", "boss", NOW)
    await live.tenancy.assign("u2", "o1", "boss", NOW)
    await live.tenancy.assign("u2", None, "boss", NOW)
    await live.stop()
    live = await make_live()
    assert await has(live, "u1", "u2") == "u1"


@pytest.mark.gen_test
async def test_a_ticket_gives_the_organization_of_the_moment(live: Live) -> None:
    claims = await live.verifier.verify(live.token("u1", organization_id="o2"))
    ticket, _ = live.tickets.issue(claims)
    await live.tenancy.assign("u1", "o1", "boss", NOW)
    entered, _ = live.tickets.issue(live.tickets.redeem(ticket))
    await live.tenancy.assign("u1", None, "boss", NOW)
    assert live.tickets.redeem(entered).organization_id == "o2"


# Sessions


async def sessions_of(live: Live, *session_ids: str) -> str:
    one_by_one = [id_ for id_ in session_ids if await scope(live).has_session(id_)]
    assert await scope(live).sessions(session_ids) == one_by_one
    return " ".join(one_by_one)


@pytest.mark.gen_test
async def test_a_session_belongs_to_the_organizations_of_members_and_writers(live: Live) -> None:
    for user, organization_id in (("mine", "o1"), ("theirs", "o2"), ("customer", None)):
        await came(live, user, organization_id)
    for session_id, members in (
        ("m_mine", ["mine", "customer"]),
        ("m_theirs", ["theirs", "customer"]),
        ("m_both", ["mine", "theirs"]),
        ("m_nobodys", ["customer", "unknown"]),
    ):
        await live.members.replace(session_id, members, "boss", NOW)
    await write(live, "w_mine", "mine", user_id="mine", organization_id="o1")
    await write(live, "w_theirs", "theirs", user_id="theirs", organization_id="o2")
    await write(live, "w_backend", "svc", user_id="svc")
    await write(live, "w_named", "mine", user_id="svc")  # by a backend in the name of mine
    await write(live, "w_forgotten", "x", user_id="x", organization_id="o1")
    everywhere = (
        *("m_mine", "m_theirs", "m_both", "m_nobodys"),
        *("w_mine", "w_theirs", "w_backend", "w_named", "w_forgotten", "never"),
    )
    assert await sessions_of(live, *everywhere) == "m_mine m_both w_mine w_named w_forgotten"
    # Where its people belong now counts.
    await live.tenancy.assign("theirs", "o1", "boss", NOW)
    await live.tenancy.assign("mine", "o2", "boss", NOW)
    assert await sessions_of(live, *everywhere) == "m_theirs m_both w_theirs w_forgotten"


@pytest.mark.gen_test
async def test_a_session_without_owner_belongs_to_the_organization_of_a_user_who_joins(
    live: Live,
) -> None:
    await live.in_session("customer", "s1", organization_id=None)
    await live.in_session("theirs", "s2", organization_id="o2")
    assert await sessions_of(live, "s1", "s2") == ""
    mine = await live.in_session("mine", "s1", organization_id="o1")
    assert await sessions_of(live, "s1", "s2") == "s1"
    live.manager.close(mine.info, 1000, "")
    assert await sessions_of(live, "s1", "s2") == ""


@pytest.mark.gen_test
async def test_who_has_written_for_one_organization_alone_does_not_take_a_session(
    live: Live,
) -> None:
    """As managers of earlier versions could, into any empty session."""
    await came(live, "theirs", "o2")
    for session_id in ("s1", "s2"):
        message = Message("x", {}, session(session_id), keep=True, sender="boss")
        message.organization_id, message.origin = "o1", Origin("boss", organization_id="o1")
        await live.router.send(message)
    await write(live, "s2", "theirs", user_id="theirs", organization_id="o2")
    assert await sessions_of(live, "s1", "s2") == "s1"
    await live.members.replace("s1", ["theirs"], "boss", NOW)
    assert await sessions_of(live, "s1", "s2") == ""


@pytest.mark.gen_test
async def test_who_may_enter_and_write_anywhere_takes_no_session(live: Live) -> None:
    """A service with an organization in its token writes in the sessions of all of them."""
    await came(live, "mine", "o1")
    await came(live, "theirs", "o2")
    for session_id in ("joined", "written", "relayed", "named"):
        await live.members.replace(session_id, ["theirs"], "boss", NOW)
    admin = await live.connect("root", role="admin", organization_id="o1")
    for session_id in ("joined", "nobodys"):
        await admin.call("join_session", session_id=session_id)
    service: dict[str, Any] = {"user_id": "svc", "role": "service", "organization_id": "o1"}
    await write(live, "written", "svc", **service)
    await write(live, "relayed", "unknown", **service)
    await write(live, "named", "mine", **service)
    await write(live, "alone", "svc", **service)  # it knows nobody else: the service's customers
    everywhere = ("joined", "nobodys", "written", "relayed", "named", "alone")
    assert await sessions_of(live, *everywhere) == "nobodys named alone"


@pytest.mark.gen_test
async def test_a_manager_that_has_entered_by_permission_does_not_keep_a_session(
    make_live: MakeLive,
) -> None:
    live = await make_live(roles={"manager": ["sessions:any"]})
    await came(live, "mine", "o1")
    await live.members.replace("s1", ["mine"], "boss", NOW)
    boss = await live.connect("boss", role="manager", organization_id="o1")
    assert (await boss.call("join_session", session_id="s1"))["type"] == "session_joined"
    assert await sessions_of(live, "s1") == "s1"
    await live.tenancy.assign("mine", "o2", "root", NOW)
    assert await sessions_of(live, "s1") == ""


@pytest.mark.gen_test
async def test_many_sessions_are_looked_up_in_several_goes(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsserver.realtime.access.tenancy.SESSIONS_AT_ONCE", 2)
    await came(live, "mine", "o1")
    for number in range(5):
        await live.members.replace(f"s{number}", ["mine"] if number % 2 else ["x"], "boss", NOW)
    assert await sessions_of(live, *[f"s{number}" for number in range(5)]) == "s1 s3"


# What a scope says


@pytest.mark.gen_test
async def test_outside_is_outside_in_the_same_words_whatever_it_is(live: Live) -> None:
    online = await live.connect("online", organization_id="o2", sessions="*")
    await online.call("join_session", session_id="s_online")
    await came(live, "absent", "o2")
    await live.members.replace("s_absent", ["absent"], "boss", NOW)
    await live.connect("customer", organization_id=None)
    for id_ in ("online", "absent", "customer", "unknown"):
        with pytest.raises(Forbidden, match=f"^user {id_} is outside of your organization$"):
            await scope(live).require_users([id_])
        with pytest.raises(NotFound, match=f"^no user {id_}$"):
            await scope(live).find_user(id_)
    for id_ in ("s_online", "s_absent", "never"):
        with pytest.raises(Forbidden, match=f"^session {id_} is outside of your organization$"):
            await scope(live).require_session(id_)
        with pytest.raises(NotFound, match=f"^no session {id_}$"):
            await scope(live).find_session(id_)
    for id_ in (online.id, "conn_none"):
        with pytest.raises(Forbidden, match=f"^connection {id_} is outside of your organization$"):
            await scope(live).require_connection(id_)
    with pytest.raises(Forbidden, match=r"^organization o2 is outside of your organization$"):
        scope(live).require_organization("o2")


@pytest.mark.gen_test
async def test_the_unconfined_ask_storage_nothing(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> Any:
        raise AssertionError("asked")

    monkeypatch.setattr(live.tenancy, "organizations_of", refuse)
    monkeypatch.setattr(live.tenancy, "owners_of", refuse)
    everything = scope(live, None)
    await everything.require_users(["u1"])
    await everything.learn(["u1"])
    await everything.find_session("s1")
    await everything.require_connection("conn_none")
    everything.require_organization("o9")
    assert everything.is_own("u1")
    assert everything.is_shown_in_session("u1")
    assert await everything.sessions(["s1"]) == ["s1"]


@pytest.mark.gen_test
async def test_a_manager_may_enter_any_session_of_its_organization_if_configured(
    make_live: MakeLive,
) -> None:
    live = await make_live(roles={"manager": ["sessions:any"]})
    await came(live, "mine", "o1")
    await live.members.replace("ours", ["mine"], "boss", NOW)
    await live.in_session("theirs", "foreign", organization_id="o2")
    boss: Client = await live.connect("boss", role="manager", organization_id="o1")
    assert (await boss.call("join_session", session_id="ours"))["type"] == "session_joined"
    for session_id in ("foreign", "never"):
        for command, fields in (
            ("join_session", {"session_id": session_id}),
            ("history", {"session_id": session_id}),
            ("resume", {"streams": {f"session:{session_id}": {"epoch": "e", "offset": 0}}}),
        ):
            assert await boss.error(command, **fields) == "forbidden"
    # Moved elsewhere, it is put out at once.
    await live.tenancy.assign("boss", "o2", "admin", NOW)
    assert not boss.info.sessions
    assert (await boss.call("join_session", session_id="foreign"))["type"] == "session_joined"


@pytest.mark.parametrize("by", ["stream", "ids"])
@pytest.mark.gen_test
async def test_a_manager_acknowledges_what_it_has_not_joined(make_live: MakeLive, by: str) -> None:
    """As after a restart of the server: nothing has found out yet whose the session is."""
    live = await make_live(roles={"manager": ["sessions:any"]})
    await came(live, "mine", "o1")
    await came(live, "foreign", "o2")
    boss: Client = await live.connect("boss", role="manager", organization_id="o1")
    for session_id, user in (("ours", "mine"), ("theirs", "foreign")):
        message = Message("new_message", {}, session(session_id), keep=True, sender=user)
        sent = await live.router.send(message)
        fields: dict[str, Any] = {"stream": f"session:{session_id}", "offset": 1}
        if by == "ids":
            fields = {"ids": [sent.message_id]}
        reply = await boss.call("ack", **fields)
        if session_id == "ours":
            assert reply["acknowledged"] == 1
        elif by == "ids":
            assert reply["acknowledged"] == 0
        else:
            assert reply["error"]["code"] == "forbidden"
