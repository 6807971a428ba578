from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.lifecycle import run
from tests.support.live_server import Client, Live
from wsserver import paging
from wsserver.errors import Forbidden, NotFound
from wsserver.identity.permissions import ALL_PERMISSIONS
from wsserver.paging import Window
from wsserver.protocol.requests import MembersRequest, TargetedBody, read_request
from wsserver.realtime.sessions.conversation_list import ConversationQuery
from wsserver.storage.tables.snapshots import FIELDS

ALL = Window()


@pytest.fixture
def people(live: Live, io_loop: IOLoop) -> dict[str, Client]:
    """Clients in four sessions: two of mine (o1), one of other (o2), one without organization."""

    async def connect() -> dict[str, Client]:
        people = {}
        for name, user, organization_id, sessions in (
            ("mine1", "mine", "o1", ["s_mine", "s_mixed"]),
            ("mine2", "mine", "o1", []),
            ("other", "other", "o2", ["s_other", "s_mixed"]),
            ("free", "free", None, ["s_free"]),
        ):
            people[name] = client = await live.connect(
                user, sessions="*", organization_id=organization_id, username=user.title()
            )
            live.clock.advance(1.0)
            for session_id in sessions:
                await client.call("join_session", session_id=session_id)
        return people

    return run(io_loop, connect)


def names(people: dict[str, Client], answer: dict[str, Any]) -> str:
    by_id = {client.id: name for name, client in people.items()}
    assert answer["total"] == len(answer["connections"])
    return " ".join(by_id[c["connection_id"]] for c in answer["connections"])


async def finished(answer: Any) -> Any:
    """What a read gives, whether it had to wait for storage or not."""
    return await answer if inspect.isawaitable(answer) else answer


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("call", "permission"),
    [
        (lambda live, who: live.admin_queries.stats(who), "stats:read"),
        (lambda live, who: live.admin_queries.connections(who, ALL), "connections:read"),
        (lambda live, who: live.admin_queries.connection(who, "c"), "connections:read"),
        (lambda live, who: live.admin_queries.user_connections(who, "u", ALL), "connections:read"),
        (lambda live, who: live.admin_queries.online_users(who, ALL), "connections:read"),
        (lambda live, who: live.admin_queries.sessions(who, ALL), "connections:read"),
        (lambda live, who: live.admin_queries.session(who, "s"), "connections:read"),
        (
            lambda live, who: live.admin_queries.session_connections(who, "s", ALL),
            "connections:read",
        ),
    ],
)
async def test_every_read_needs_its_permission(live: Live, call: Any, permission: str) -> None:
    others = ALL_PERMISSIONS - {permission}
    for role in ("admin", "service", "manager"):
        actor = live.actor(role, organization_id="o1")
        try:
            await finished(call(live, actor))
        except NotFound:
            pass
        with pytest.raises(Forbidden, match=permission):
            await finished(call(live, live.actor(role, organization_id="o1", permissions=others)))
    with pytest.raises(Forbidden):
        await finished(call(live, live.actor("user", organization_id="o1")))
    with pytest.raises(Forbidden, match="organization_id"):
        await finished(call(live, live.actor("manager")))


@pytest.mark.gen_test
async def test_the_statistics_are_those_of_the_scope(live: Live, people: dict[str, Client]) -> None:
    everything = await live.admin_queries.stats(live.actor())
    assert list(everything)[:10] == list(FIELDS)
    mine = await live.admin_queries.stats(live.actor("manager", organization_id="o1"))
    gauges = ("total_connections", "active_users", "active_sessions", "total_session_connections")
    assert [everything[g] for g in gauges] == [4, 3, 4, 5]
    assert [mine[g] for g in gauges] == [2, 1, 2, 2]


@pytest.mark.parametrize(
    ("filters", "everything", "o1"),
    [
        ({}, "mine1 mine2 other free", "mine1 mine2"),
        ({"user_id": "mine"}, "mine1 mine2", "mine1 mine2"),
        ({"user_id": "other"}, "other", None),
        ({"user_id": "nobody"}, "", None),
        ({"session_id": "s_mixed"}, "mine1 other", "mine1"),
        ({"organization_id": "o2"}, "other", None),
        ({"endpoint": "chat"}, "mine1 mine2 other free", "mine1 mine2"),
        ({"endpoint": "monitor"}, "", ""),
        ({"user_id": "mine", "session_id": "s_mine"}, "mine1", "mine1"),
        ({"user_id": "mine", "organization_id": "o2"}, "", None),
        ({"session_id": "s_mixed", "organization_id": "o2"}, "other", None),
    ],
)
@pytest.mark.gen_test
async def test_connections_pass_every_filter_oldest_first(
    live: Live, people: dict[str, Client], filters: dict[str, str], everything: str, o1: str | None
) -> None:
    for role in ("admin", "service"):
        answer = await live.admin_queries.connections(live.actor(role), ALL, **filters)
        assert names(people, answer) == everything
    manager = live.actor("manager", organization_id="o1")
    if o1 is None:  # names something outside
        with pytest.raises(Forbidden):
            await live.admin_queries.connections(manager, ALL, **filters)
    else:
        answer = await live.admin_queries.connections(manager, ALL, **filters)
        assert names(people, answer) == o1


@pytest.mark.gen_test
async def test_lists_come_in_pages_that_join_up(live: Live, people: dict[str, Client]) -> None:
    actor = live.actor()
    seen, cursor = [], None
    for expected in (3, 1):
        answer = await live.admin_queries.connections(actor, Window(3, cursor))
        assert (len(answer["connections"]), answer["total"]) == (expected, 4)
        seen += [c["connection_id"] for c in answer["connections"]]
        cursor = answer["next_cursor"]
    assert cursor is None
    assert seen == [client.id for client in people.values()]
    first = await live.admin_queries.online_users(actor, Window(2))
    rest = await live.admin_queries.online_users(actor, Window(2, first["next_cursor"]))
    assert [u["user_id"] for u in first["users"] + rest["users"]] == ["free", "mine", "other"]
    assert (first["total"], rest["next_cursor"]) == (3, None)
    first = await live.admin_queries.sessions(actor, Window(3))
    rest = await live.admin_queries.sessions(actor, Window(3, first["next_cursor"]))
    assert [s["session_id"] for s in first["sessions"] + rest["sessions"]] == [
        *("s_free", "s_mine", "s_mixed", "s_other")
    ]


@pytest.mark.gen_test
async def test_lists_of_what_is_live_end_at_a_number_of_bytes(
    live: Live, people: dict[str, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = live.actor()
    monkeypatch.setattr(paging, "PAGE_BYTES", 1800)

    async def all_of(name: str, key: str, read: Any) -> list[list[str]]:
        pages: list[list[str]] = []
        cursor = None
        while True:
            answer = await finished(read(actor, Window(1000, cursor)))
            pages.append([each[key] for each in answer[name]])
            cursor = answer["next_cursor"]
            if cursor is None:
                return pages

    found = await all_of("connections", "connection_id", live.admin_queries.connections)
    assert [id_ for page in found for id_ in page] == [client.id for client in people.values()]
    users = await all_of("users", "user_id", live.admin_queries.online_users)
    assert [id_ for page in users for id_ in page] == ["free", "mine", "other"]
    sessions = await all_of("sessions", "session_id", live.admin_queries.sessions)
    assert [id_ for page in sessions for id_ in page] == ["s_free", "s_mine", "s_mixed", "s_other"]
    assert [len(found) > 1, len(users) > 1, len(sessions) > 1] == [True] * 3


@pytest.mark.gen_test
async def test_one_connection_is_found_only_in_the_scope(
    live: Live, people: dict[str, Client]
) -> None:
    for client in people.values():
        view = await live.admin_queries.connection(live.actor(), client.id)
        assert view == {**client.info.view(), "node": "node-1"}
    manager = live.actor("manager", organization_id="o1")
    view = await live.admin_queries.connection(manager, people["mine1"].id)
    assert view["user_id"] == "mine"
    for id_ in (people["other"].id, people["free"].id, "conn_none"):
        with pytest.raises(NotFound):
            await live.admin_queries.connection(manager, id_)


@pytest.mark.gen_test
async def test_a_users_connections_are_empty_when_offline(
    live: Live, people: dict[str, Client]
) -> None:
    manager = live.actor("manager", organization_id="o1")
    gone = await live.connect("gone", organization_id="o1")
    live.manager.close(gone.info, 1000, "")
    read = live.admin_queries.user_connections
    for actor in (live.actor(), manager):
        assert (await read(actor, "gone", ALL))["connections"] == []
        assert names(people, await read(actor, "mine", ALL)) == "mine1 mine2"
    for outside in ("other", "free", "unknown"):
        with pytest.raises(NotFound, match=f"^no user {outside}$"):
            await read(manager, outside, ALL)


@pytest.mark.gen_test
async def test_online_users_are_counted_since_their_first_connection(
    live: Live, people: dict[str, Client]
) -> None:
    answer = await live.admin_queries.online_users(live.actor("manager", organization_id="o1"), ALL)
    assert answer == {
        "users": [
            {
                "user_id": "mine",
                "connections": 2,
                "online_since": "2023-11-14T22:13:20.000Z",
                "metadata": {"username": "Mine", "role": "user", "organization_id": "o1"},
            }
        ],
        "total": 1,
        "next_cursor": None,
    }


@pytest.mark.gen_test
async def test_sessions_are_shown_with_people_members_and_position(
    live: Live, people: dict[str, Client]
) -> None:
    gone = await live.connect("u9", organization_id="o1")
    live.manager.close(gone.info, 1000, "")
    await live.members.replace("s_mine", ["u9"], "boss", 0.0)
    await live.members.replace("s_listed", ["u9"], "boss", 0.0)
    manager = live.actor("manager", organization_id="o1")
    shown_one = await live.admin_queries.session(manager, "s_mine")
    assert shown_one["active"] == ["mine"]
    assert (
        shown_one.items()
        >= {
            "session_id": "s_mine",
            "users": [{"user_id": "mine", "username": "Mine", "connections": 1}],
            "members": ["u9"],
            "connections": 1,
            "epoch": (await live.store.head("session:s1")).epoch,
            "offset": 0,
            "state": "open",
            "holder": None,
            "last_message": None,
        }.items()
    )
    shown = (await live.admin_queries.sessions(manager, ALL))["sessions"]
    assert [s["session_id"] for s in shown] == ["s_mine", "s_mixed"]
    assert (await live.admin_queries.session(manager, "s_listed"))["connections"] == 0
    for actor, session_id in (
        *((manager, "s_other"), (manager, "s_free"), (manager, "never")),
        (live.actor(), "never"),
    ):
        with pytest.raises(NotFound):
            await live.admin_queries.session(actor, session_id)
    await people["free"].call("leave_session", session_id="s_free")
    assert (await live.admin_queries.session(live.actor(), "s_free"))["users"] == []


@pytest.mark.gen_test
async def test_a_session_shows_my_people_and_its_customers_but_not_other_organizations(
    live: Live, people: dict[str, Client]
) -> None:
    await people["free"].call("join_session", session_id="s_mixed")
    await live.members.replace("s_mixed", ["mine", "other", "free", "absent"], "boss", 0.0)
    manager = live.actor("manager", organization_id="o1")
    everybody = "mine1 other free"
    for actor, expected, to_list in (
        (manager, "mine1 free", "mine1"),
        (live.actor(), everybody, everybody),
    ):
        view = await live.admin_queries.session(actor, "s_mixed")
        (listed,) = [
            each
            for each in (await live.admin_queries.sessions(actor, ALL))["sessions"]
            if each["session_id"] == "s_mixed"
        ]
        assert view.items() >= listed.items()
        answer = await live.admin_queries.session_connections(actor, "s_mixed", ALL)
        assert names(people, answer) == to_list
        assert view["connections"] == len(expected.split())
        assert [user["user_id"] for user in view["users"]] == [
            people[name].info.user_id for name in expected.split()
        ]
    # One who has never come may be anybody's, and is not shown until then.
    assert (await live.admin_queries.session(manager, "s_mixed"))["members"] == ["free", "mine"]


@pytest.mark.gen_test
async def test_a_sessions_connections_are_those_of_the_scope(
    live: Live, people: dict[str, Client]
) -> None:
    manager = live.actor("manager", organization_id="o1")
    read = live.admin_queries.session_connections
    assert names(people, await read(live.actor(), "s_mixed", ALL)) == "mine1 other"
    assert names(people, await read(manager, "s_mixed", ALL)) == "mine1"
    assert (await read(live.actor(), "never", ALL))["connections"] == []
    for outside in ("s_other", "s_free", "never"):
        with pytest.raises(NotFound, match=f"^no session {outside}$"):
            await read(manager, outside, ALL)


@pytest.mark.gen_test
async def test_a_manager_cannot_read_the_history_of_another_organization(
    live: Live, people: dict[str, Client]
) -> None:
    """Not with a customer in it, not when all have left; and it cannot write its way in."""
    manager = live.actor("manager", organization_id="o1")
    theirs = live.actor("manager", organization_id="o2")

    async def said(actor: Any) -> list[str]:
        page = await live.admin_queries.history(actor, "s_other", None, None, 10)
        return [
            json.loads(message)["message"]["content"] for message in map(bytes, page["messages"])
        ]

    async def write(actor: Any, content: str) -> None:
        body = {"type": "new_message", "content": content}
        request = read_request(body, TargetedBody)
        await live.publishing.publish_to_session(actor, "s_other", request)

    await people["other"].call("send_message", session_id="s_other", content="hi")
    await people["free"].call("join_session", session_id="s_other")
    for name in ("other", "free", None):
        with pytest.raises(NotFound):
            await said(manager)
        if name is not None:
            await people[name].call("leave_session", session_id="s_other")
    with pytest.raises(NotFound):
        await live.admin_queries.session(manager, "s_other")
    assert (await live.admin_queries.session(theirs, "s_other"))["offset"] == 1
    with pytest.raises(NotFound):
        await write(manager, "let me in")
    with pytest.raises(NotFound):
        await said(manager)
    await write(theirs, "for o2")
    assert await said(theirs) == ["hi", "for o2"]
    await people["mine1"].call("join_session", session_id="s_other")
    assert await said(manager) == ["hi"]
    assert await said(live.actor()) == ["hi", "for o2"]


@pytest.mark.gen_test
async def test_conversations_of_one_moment_are_all_on_some_page(live: Live) -> None:
    """The clock of these tests stands: all have the same time."""
    who = live.actor("service", "backend")
    for session_id in ("s1", "s2", "s3"):
        await live.admin_actions.replace_members(who, session_id, MembersRequest(user_ids=["u1"]))
    found, cursor, is_first = [], None, True
    while is_first or cursor is not None:
        is_first = False
        page = await live.admin_queries.conversations(who, "u1", Window(1, cursor), None)
        found += [each["session_id"] for each in page["conversations"]]
        cursor = page["next_cursor"]
    assert found == ["s1", "s2", "s3"]


@pytest.mark.gen_test
async def test_a_page_has_one_conversation_whatever_its_size(live: Live) -> None:
    who = live.actor("service", "backend")
    for session_id in ("s1", "s2"):
        await live.admin_actions.replace_members(who, session_id, MembersRequest(user_ids=["u1"]))
    conversations = live.admin_queries._conversation_list
    query = ConversationQuery("u1", 10, budget=1)
    page = await conversations.of_caller(live.claims("u1"), query)
    assert [each["session_id"] for each in page.conversations] == ["s1"]
    rest = await conversations.of_caller(live.claims("u1"), query._replace(cursor=page.next_cursor))
    assert [each["session_id"] for each in rest.conversations] == ["s2"]
    assert rest.next_cursor is None


@pytest.mark.gen_test
async def test_lists_are_searched_by_words_within_the_scope(
    live: Live, people: dict[str, Client]
) -> None:
    admin, manager = live.actor("admin"), live.actor("manager", organization_id="o1")
    queries = live.admin_queries
    found = await queries.connections(admin, ALL, search="MIN s_mix")
    assert names(people, found) == "mine1"
    assert names(people, await queries.connections(admin, ALL, search="s_")) == "mine1 other free"
    assert names(people, await queries.connections(manager, ALL, search="other")) == ""
    users = await queries.online_users(admin, Window(1), search="E")
    assert ([each["user_id"] for each in users["users"]], users["total"]) == (["free"], 3)
    users = await queries.online_users(manager, ALL, search="e")
    assert [each["user_id"] for each in users["users"]] == ["mine"]
    await live.conversations.change("s_free", {"title": "Invoice of ACME"}, "boss")
    for words, ids in (
        ("acme invoice", ["s_free"]),
        ("S_M", ["s_mine", "s_mixed"]),
        ("x", ["s_mixed"]),
    ):
        sessions = await queries.sessions(admin, ALL, search=words)
        assert [each["session_id"] for each in sessions["sessions"]] == ids
    assert (await queries.sessions(manager, ALL, search="free"))["total"] == 0
