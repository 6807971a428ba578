"""Presence: sessions notified of ``offline`` are notified of the next ``online``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.live_server import Client, Live, settle
from wsserver.realtime.sessions import presence

MessageStatuses = Callable[[], Awaitable[list[str]]]


@pytest.fixture
def listener(live: Live) -> Callable[[str], Awaitable[MessageStatuses]]:
    """A client in a session; calling it returns the statuses of ``u1`` since the last call."""

    async def make(session_id: str) -> MessageStatuses:
        client = await live.in_session(f"listener-{session_id}", session_id)

        async def heard() -> list[str]:
            return [
                push["status"]
                for push in await client.rest()
                if push["type"] == "user_status_update" and push["user_id"] == "u1"
            ]

        return heard

    return make


async def leave(client: Client) -> None:
    client.socket.close()
    await settle()


async def put(live: Live, session_id: str, *user_ids: str) -> None:
    """Put a member list in place of another, as ``PUT …/members`` does."""
    former = set(live.members.of_session(session_id))
    removed = await live.members.replace(session_id, user_ids, "admin", 0.0)
    live.manager.presence.listed(session_id, set(user_ids) - former, removed)


@pytest.mark.parametrize(
    "claims",
    [{"sessions": "*"}, {"sessions": ["s1"]}, {"role": "admin"}, {}],
    ids=["any", "named", "sessions:any", "listed"],
)
@pytest.mark.gen_test
async def test_a_page_that_is_loaded_again_is_offline_and_online_again(
    live: Live, listener: Any, claims: dict[str, Any]
) -> None:
    if not claims:
        await put(live, "s1", "u1")
    heard = await listener("s1")
    for _ in range(2):
        client = await live.connect("u1", **claims)
        await client.call("join_session", session_id="s1")
        await heard()
        await leave(client)
        assert await heard() == ["offline"]
        client = await live.connect("u1", **claims)
        await client.call("join_session", session_id="s1")
        assert await heard() == ["online"]
        await leave(client)
        await heard()
    assert len(live.manager.presence._online_in) == 0


@pytest.mark.gen_test
async def test_a_user_is_online_again_before_it_has_joined_again(live: Live, listener: Any) -> None:
    heard = await listener("s1")
    client = await live.connect("u1", sessions="*")
    await client.call("join_session", session_id="s1")
    assert await heard() == []  # it hears session_joined
    for _ in range(2):
        await leave(client)
        assert await heard() == ["offline"]
        client = await live.connect("u1", sessions="*")
        assert await heard() == ["online"]
    await client.call("join_session", session_id="s1")
    assert await heard() == []


@pytest.mark.gen_test
async def test_a_user_without_access_any_more_is_online_once_it_joins_again(
    live: Live, listener: Any
) -> None:
    heard = await listener("s1")
    client = await live.connect("u1", sessions="*")
    await client.call("join_session", session_id="s1")
    await leave(client)
    assert await heard() == ["offline"]
    client = await live.connect("u1")
    assert await heard() == []
    await client.call("refresh_token", token=live.token("u1", sessions="*"))
    await client.call("join_session", session_id="s1")
    assert await heard() == ["online"]
    await client.call("leave_session", session_id="s1")
    await leave(client)
    assert await heard() == ["offline"]


@pytest.mark.gen_test
async def test_a_second_device_whose_token_names_more_sessions(live: Live, listener: Any) -> None:
    heard = await listener("s1")
    first = await live.connect("u1")
    second = await live.connect("u1", sessions=["s1"])
    assert await heard() == ["online"]
    third = await live.connect("u1", sessions=["s1"])
    for client in (second, third):
        await leave(client)
    assert await heard() == []
    await leave(first)
    assert await heard() == ["offline"]
    await live.connect("u1", sessions=["s1"])
    assert await heard() == ["online"]


@pytest.mark.gen_test
async def test_joining_and_leaving_with_several_devices_is_no_status(
    live: Live, listener: Any
) -> None:
    heard = await listener("s1")
    first = await live.connect("u1", sessions="*")
    second = await live.connect("u1", sessions="*")
    for client in (first, second):
        await client.call("join_session", session_id="s1")
    await first.call("leave_session", session_id="s1")
    await leave(second)
    assert await heard() == []
    await leave(first)  # in no session any more
    assert await heard() == []


@pytest.mark.gen_test
async def test_a_member_list_that_changes_while_the_user_is_there(
    live: Live, listener: Any
) -> None:
    heard = await listener("s1")
    client = await live.connect("u1")
    await put(live, "s1", "u1", "absent")
    assert await heard() == ["online"]
    await put(live, "s1")
    await put(live, "s1", "u1")
    await put(live, "s1")
    assert await heard() == []
    await leave(client)
    assert await heard() == ["offline"]
    await put(live, "s1", "u1")
    assert await heard() == []
    await live.connect("u1")
    assert await heard() == ["online"]


@pytest.mark.gen_test
async def test_newer_claims_that_name_other_sessions(live: Live, listener: Any) -> None:
    one, two = await listener("s1"), await listener("s2")
    client = await live.connect("u1", sessions=["s1"])
    assert (await one(), await two()) == (["online"], [])
    await client.call("refresh_token", token=live.token("u1", sessions=["s2"]))
    assert (await one(), await two()) == ([], ["online"])
    await leave(client)
    assert (await one(), await two()) == (["offline"], ["offline"])
    await live.connect("u1", sessions=["s1", "s2"])
    assert (await one(), await two()) == (["online"], ["online"])


@pytest.mark.gen_test
async def test_what_is_remembered_is_bounded(
    live: Live, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "USERS_LIMIT", 2)
    monkeypatch.setattr(presence, "SESSIONS_LIMIT", 3)
    await listener("s1")
    for n in range(4):
        client = await live.connect(f"user-{n}", sessions="*")
        await client.call("join_session", session_id="s1")
        await leave(client)
    assert list(live.manager.presence._offline_in) == ["user-2", "user-3"]
    client = await live.connect("u1", sessions=["s1"])
    for n in range(5):
        await client.call("refresh_token", token=live.token("u1", sessions=[f"t{n}"]))
    assert len(live.manager.presence._online_in["u1"]) == 3


@pytest.mark.gen_test
async def test_a_token_for_each_session_is_remembered_within_bounds(
    live: Live, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "SESSIONS_LIMIT", 3)
    for n in range(5):
        await listener(f"s{n}")
        await leave(await live.connect("u1", sessions=[f"s{n}"]))
    assert live.manager.presence._offline_in["u1"] == ("s4", "s3", "s2")
