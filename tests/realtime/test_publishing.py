from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import to_builtins

from tests.support.live_server import Client, Live
from tests.support.publish_requests import broadcast, publish
from wsserver.errors import Forbidden, ValidationFailed
from wsserver.protocol.requests import (
    BatchRequest,
    PublishRequest,
    TargetedBody,
    read_request,
)
from wsserver.realtime.access.actor import Actor


@pytest.fixture
def people(live: Live, io_loop: Any) -> dict[str, Client]:
    """mine (o1), other (o2), free (none), each in a session of its own and in s_mixed."""

    async def connect() -> dict[str, Client]:
        people = {}
        for user, organization_id, sessions in (
            ("mine", "o1", ["s_mine", "s_mixed"]),
            ("other", "o2", ["s_other", "s_mixed"]),
            ("free", None, ["s_free", "s_mixed"]),
        ):
            people[user] = await live.connect(user, sessions="*", organization_id=organization_id)
            for session_id in sessions:
                await people[user].call("join_session", session_id=session_id)
        for client in people.values():
            await client.rest()
        return people

    return dict(io_loop.run_sync(connect))


async def who_got(people: dict[str, Client]) -> str:
    return " ".join([name for name, client in people.items() if await client.rest()])


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("role", "may"), [("admin", True), ("service", True), ("manager", True), ("user", False)]
)
async def test_publishing_needs_its_permission(live: Live, role: str, may: bool) -> None:
    await live.in_session("member", "s1", organization_id="o1")
    actor = live.actor(role, organization_id="o1")
    narrowed = live.actor(role, organization_id="o1", permissions=frozenset({"stats:read"}))
    request = publish("broadcast")
    for each, allowed in ((actor, may), (narrowed, False)):
        calls: tuple[Callable[[Actor], Awaitable[Any]], ...] = (
            lambda who: live.publishing.broadcast(who, broadcast()),
            lambda who: live.publishing.publish(who, request),
            lambda who: live.publishing.publish_to_session(
                who, "s1", read_request({"type": "x"}, TargetedBody)
            ),
            lambda who: live.publishing.batch(who, read_request({"messages": [{}]}, BatchRequest)),
        )
        for call in calls:
            if allowed:
                await call(each)
            else:
                with pytest.raises(Forbidden):
                    await call(each)
        if allowed:
            await live.publishing.explain(each, request)
        else:
            with pytest.raises(Forbidden):
                await live.publishing.explain(each, request)


@pytest.mark.gen_test
async def test_a_session_belongs_to_its_organization_without_connections(live: Live) -> None:
    member = await live.in_session("member", "s1", organization_id="o1")
    await member.call("send_message", session_id="s1", content="hi")
    live.manager.close(member.info, 1000, "")
    to_session = publish("session", "s1", keep=True)
    for organization_id in ("o1", "o1", "o2"):
        boss = live.actor("manager", organization_id=organization_id)
        outcomes = (await live.publishing.batch(boss, BatchRequest([to_builtins(to_session)])))[
            "results"
        ]
        if organization_id == "o1":
            assert outcomes[0]["status"] == 200
            assert (await live.publishing.publish(boss, to_session))["message_id"]
            continue
        assert (outcomes[0]["status"], outcomes[0]["code"]) == (403, "forbidden")
        for call in (live.publishing.publish, live.publishing.explain):
            with pytest.raises(Forbidden, match="outside of your organization"):
                await call(boss, to_session)
    entry = (await live.audited())[0]
    assert (entry.action, entry.target, entry.outcome) == ("publish", "session:s1", "forbidden")


CONFINEMENT = [
    # target, what an admin reaches, what a manager of o1 reaches (None: forbidden)
    (("broadcast", None), "mine other free", "mine"),
    (("user", "mine"), "mine", "mine"),
    (("user", "other"), "other", None),
    (("user", "free"), "free", None),
    (("user", "gone"), "", ""),
    (("user", "unknown"), "", None),
    (("session", "s_mine"), "mine", "mine"),
    (("session", "s_other"), "other", None),
    (("session", "s_mixed"), "mine other free", "mine free"),
    (("session", "s_free"), "free", None),
    (("session", "s_empty"), "", None),
    (("organization", "o1"), "mine", "mine"),
    (("organization", "o2"), "other", None),
    (("organization", "o9"), "", None),
    (("role", "user"), "mine other free", "mine"),
    (("connection", "mine"), "mine", "mine"),
    (("connection", "other"), "other", None),
    (("connection", "conn_none"), "", None),
]


@pytest.mark.gen_test
@pytest.mark.parametrize(("target", "admin", "manager"), CONFINEMENT)
async def test_a_manager_reaches_its_organization_alone(
    live: Live,
    people: dict[str, Client],
    target: tuple[str, str | None],
    admin: str,
    manager: str | None,
) -> None:
    type_, id_ = target
    if type_ == "connection" and id_ in people:
        id_ = people[str(id_)].id
    gone = await live.connect("gone", organization_id="o1")
    live.manager.close(gone.info, 1000, "")
    request = publish(type_, id_, data="hello")
    for role in ("admin", "service"):
        answer = await live.publishing.publish(live.actor(role), request)
        assert answer["matched"] == len(admin.split())
        assert await who_got(people) == admin
    boss = live.actor("manager", organization_id="o1")
    if manager is None:
        for call in (live.publishing.publish, live.publishing.explain):
            with pytest.raises(Forbidden, match=f"^{type_} {id_} is outside of your organization$"):
                await call(boss, request)
        assert await who_got(people) == ""
        return
    explained = await live.publishing.explain(boss, request)
    assert "other" not in {who["user_id"] for who in explained["recipients"]}
    assert {who["reason"] for who in explained["excluded"]} <= {"offline"}
    answer = await live.publishing.publish(boss, request)
    assert explained["matched"] == answer["matched"] == len(manager.split())
    assert await who_got(people) == manager


@pytest.mark.gen_test
async def test_a_manager_without_an_organization_is_refused(live: Live) -> None:
    with pytest.raises(Forbidden, match="organization_id"):
        await live.publishing.broadcast(live.actor("manager"), broadcast())


@pytest.mark.gen_test
async def test_a_broadcast_goes_to_all_or_to_an_organization_or_role(
    live: Live, people: dict[str, Client]
) -> None:
    boss = live.actor("manager", organization_id="o1")
    for actor, body, expected in (
        (live.actor(), {}, "mine other free"),
        (live.actor(), {"organization_id": "o2"}, "other"),
        (live.actor(), {"role": "user"}, "mine other free"),
        (live.actor(), {"role": "admin"}, ""),
        (live.actor(), {"exclude_users": ["mine", "free"]}, "other"),
        (boss, {}, "mine"),
        (boss, {"organization_id": "o1"}, "mine"),
        (boss, {"role": "user"}, "mine"),
    ):
        answer = await live.publishing.broadcast(actor, broadcast(**body))
        assert (answer["matched"], answer["sent"], answer["failed"]) == (
            *(len(expected.split()), len(expected.split()), 0),
        )
        assert await who_got(people) == expected
    with pytest.raises(Forbidden):
        await live.publishing.broadcast(boss, broadcast(organization_id="o2"))


@pytest.mark.gen_test
async def test_a_broadcast_is_in_the_audit_trail_without_its_body(live: Live) -> None:
    answer = await live.publishing.broadcast(live.actor(), broadcast(data="secret"))
    (entry,) = await live.audited()
    assert (entry.actor, entry.action, entry.role) == ("boss", "broadcast", "admin")
    assert entry.detail["message_id"] == answer["message_id"]
    assert "secret" not in str(entry)


@pytest.mark.gen_test
async def test_each_publish_is_in_the_audit_trail_without_its_body(
    live: Live, people: dict[str, Client]
) -> None:
    actor = live.actor("admin", "boss")
    answers = [
        await live.publishing.publish(actor, publish("user", "mine", data="secret")),
        await live.publishing.publish_to_session(
            actor, "s_mixed", read_request({"type": "y", "data": "secret"}, TargetedBody)
        ),
    ]
    await live.publishing.explain(actor, publish("user", "mine"))
    second, first = await live.audited()
    for entry, answer, target, type_, matched in (
        (first, answers[0], "user:mine", "x", 1),
        (second, answers[1], "session:s_mixed", "y", 3),
    ):
        assert (entry.actor, entry.role, entry.action) == ("boss", "admin", "publish")
        assert (entry.target, entry.outcome, entry.request_id) == (target, "ok", "req_1")
        assert entry.detail == {
            "type": type_,
            "message_id": answer["message_id"],
            "matched": matched,
        }


@pytest.mark.gen_test
async def test_a_backends_publishes_are_traffic_and_leave_no_line(live: Live) -> None:
    backend = live.actor("service", "backend")
    message = {"target": {"type": "broadcast"}, "type": "x"}
    await live.publishing.publish(backend, read_request(message, PublishRequest))
    await live.publishing.batch(backend, BatchRequest(messages=[message]))
    assert await live.audited() == []


@pytest.mark.gen_test
async def test_a_batch_is_one_entry_of_the_audit_trail_and_one_for_each_forbidden_target(
    live: Live, people: dict[str, Client]
) -> None:
    messages = [
        {"type": "x", "data": "secret", "target": {"type": "session", "id": "s_mixed"}},
        {"type": "x", "target": {"type": "user", "id": "other"}},
        {"type": "y", "target": {"type": "user", "id": "other"}},
        {"nonsense": "secret"},
        {"type": "x", "target": {"type": "user", "id": "mine"}},
    ]
    boss = live.actor("manager", organization_id="o1")
    await live.publishing.batch(boss, read_request({"messages": messages}, BatchRequest))
    entry, denied = await live.audited()
    assert (entry.action, entry.target, entry.outcome) == ("batch", "", "ok")
    assert entry.detail == {"messages": 5, "accepted": 2, "refused": 3, "matched": 3}
    assert (denied.action, denied.target, denied.outcome) == ("batch", "user:other", "forbidden")


@pytest.mark.gen_test
async def test_what_is_forbidden_is_in_the_audit_trail_too(
    live: Live, people: dict[str, Client]
) -> None:
    boss = live.actor("manager", organization_id="o1")
    user = live.actor("user", "mallory", organization_id="o1")
    batch = read_request({"messages": [{}]}, BatchRequest)
    for attempt in (
        live.publishing.publish(boss, publish("user", "other", data="secret")),
        live.publishing.publish(user, publish("session", "s_mine")),
        live.publishing.broadcast(boss, broadcast(organization_id="o2")),
        live.publishing.batch(user, batch),
    ):
        with pytest.raises(Forbidden):
            await attempt
    entries = list(reversed(await live.audited()))
    assert [(e.actor, e.action, e.target, e.outcome) for e in entries] == [
        ("boss", "publish", "user:other", "forbidden"),
        ("mallory", "publish", "session:s_mine", "forbidden"),
        ("boss", "broadcast", "broadcast", "forbidden"),
        ("mallory", "batch", "", "forbidden"),
    ]
    assert "secret" not in str(entries)


@pytest.mark.gen_test
async def test_a_new_message_of_a_backend_is_built_by_the_service(
    live: Live, people: dict[str, Client]
) -> None:
    body = read_request(
        {
            "type": "new_message",
            "content": "您好",
            "sender": {"user_id": "ai_1", "username": "AI", "role": "ai"},
        },
        TargetedBody,
    )
    answer = await live.publishing.publish_to_session(live.actor("service"), "s_mine", body)
    (push,) = await people["mine"].rest()
    assert push["message"] == {
        "id": answer["message_id"],
        "session_id": "s_mine",
        "sender": {"user_id": "ai_1", "username": "AI", "role": "ai"},
        "content": "您好",
        "content_type": "text",
        "created_at": "2023-11-14T22:13:20.000Z",
    }
    assert (push["id"], push["session_id"]) == (answer["message_id"], "s_mine")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (publish("broadcast", type_="session_joined"), "type"),
        (publish("broadcast", type_="notification"), "type"),
        (publish("broadcast", "x1"), "target.id"),
        (publish("user"), "target.id"),
        (publish("session"), "target.id"),
        (publish("role", "user", keep=True), "keep"),
        (publish("connection", "c1", keep=True), "keep"),
        (publish("session", "s1", type_="typing", keep=True, user_id="u", is_typing=True), "keep"),
        (publish("broadcast", ttl_s=1), "ttl_s"),
        (publish("broadcast", type_="x", keep=False, ttl_s=1), "ttl_s"),
        (publish("broadcast", content="x"), "content"),
        (publish("broadcast", type_="new_message", content="x"), "session_id"),
        (publish("session", "s1", type_="typing", is_typing=True), "user_id"),
    ],
)
async def test_a_message_of_the_wrong_shape_names_its_field(
    live: Live, request_: PublishRequest, field: str
) -> None:
    for call in (live.publishing.publish(live.actor(), request_),):
        with pytest.raises(ValidationFailed) as caught:
            await call
        assert caught.value.details["errors"][0]["field"] == field


@pytest.mark.gen_test
async def test_a_batch_is_judged_one_by_one_in_order(live: Live, people: dict[str, Client]) -> None:
    messages = [
        {"type": "x", "data": 1, "target": {"type": "user", "id": "mine"}},
        {"type": "x", "target": {"type": "user"}},
        {"type": "x", "target": {"type": "user", "id": "other"}},
        {"nonsense": 1},
        {"type": "x", "data": 2, "target": {"type": "user", "id": "mine"}},
    ]
    boss: Actor = live.actor("manager", organization_id="o1")
    answer = await live.publishing.batch(boss, read_request({"messages": messages}, BatchRequest))
    results = answer["results"]
    assert [r["status"] for r in results] == [200, 422, 403, 422, 200]
    assert [r.get("code") for r in results] == [
        *(None, "validation_failed", "forbidden", "validation_failed", None)
    ]
    assert all(r["detail"] for r in results if r["status"] != 200)
    assert results[0]["message_id"] < results[4]["message_id"]
    assert [p["data"] for p in await people["mine"].rest()] == [1, 2]


@pytest.mark.gen_test
async def test_explaining_sends_nothing(live: Live, people: dict[str, Client]) -> None:
    explained = await live.publishing.explain(
        live.actor(), publish("broadcast", exclude_users=["other"], data=1)
    )
    assert explained["matched"] == 2
    assert explained["recipients"][0] == {
        "user_id": "mine",
        "connection_id": people["mine"].id,
    }
    assert [(e["user_id"], e["reason"]) for e in explained["excluded"]] == [("other", "excluded")]
    assert await who_got(people) == ""


# The event of it


@pytest.mark.gen_test
async def test_everything_published_is_an_event_without_its_content(
    live: Live, people: dict[str, Client]
) -> None:
    boss, manager = live.actor(), live.actor("manager", "m", organization_id="o1")
    seen = live.watch("message_published")
    text = {"content": "SECRET", "sender": {"user_id": "bot", "username": "B"}}
    answers = [
        await live.publishing.publish_to_session(
            boss, "s_mine", read_request({"type": "new_message", **text}, TargetedBody)
        ),
        await live.publishing.broadcast(manager, broadcast(data="SECRET")),
        await live.publishing.publish(boss, publish("user", "mine", data="SECRET")),
    ]
    batch = [
        to_builtins(publish("role", "user", data="SECRET")),
        {"type": "x", "target": {"type": "user"}},  # which is refused
        to_builtins(publish("organization", "o2", data="SECRET", keep=True)),
    ]
    results = (await live.publishing.batch(boss, BatchRequest(batch)))["results"]
    answers += [results[0], results[2]]
    common = {"name": "message_published", "timestamp": "2023-11-14T22:13:20.000Z"}
    pushes = {p["id"]: p for client in people.values() for p in await client.rest() if "id" in p}
    wanted = [
        {"type": "new_message", "class": "kept", "target": {"type": "session", "id": "s_mine"},
         "session_id": "s_mine", "sender": "bot", "matched": 1, "sent": 1},
        {"type": "x", "class": "live", "target": {"type": "broadcast"}, "organization_id": "o1",
         "sender": "m", "matched": 1, "sent": 1},
        {"type": "x", "class": "live", "target": {"type": "user", "id": "mine"},
         "sender": "boss", "matched": 1, "sent": 1},
        {"type": "x", "class": "live", "target": {"type": "role", "id": "user"},
         "sender": "boss", "matched": 3, "sent": 3},
        {"type": "x", "class": "kept", "target": {"type": "organization", "id": "o2"},
         "sender": "boss", "matched": 1, "sent": 1},
    ]  # fmt: skip
    for event, answer, fields in zip(seen, answers, wanted, strict=True):
        message_id = answer["message_id"]
        live_form = {
            name: value
            for name, value in pushes[message_id].items()
            if name not in ("stream", "epoch", "offset")
        }
        size = len(json.dumps(live_form, separators=(",", ":")))
        assert event == {**common, "message_id": message_id, "bytes": size, **fields}
    assert "SECRET" not in str(seen)


@pytest.mark.gen_test
async def test_a_publish_that_is_repeated_is_one_event(live: Live) -> None:
    seen = live.watch("message_published")
    boss = Actor(live.claims("boss", role="admin"), "10.0.0.9", "req_1", once=("scope", "key"))
    for _ in range(2):
        await live.publishing.publish(boss, publish("user", "u1", keep=True))
    assert len(seen) == 1
