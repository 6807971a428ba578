"""``organization:ID``: what is kept for one organization has a stream and readers of its own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_connections import fake_connection
from tests.support.live_server import Client, Live
from tests.support.publish_requests import broadcast, publish
from wsserver.errors import Forbidden, NotFound
from wsserver.protocol.requests import BatchRequest
from wsserver.protocol.targets import Target, TargetType
from wsserver.realtime.messages.audience import Audience, write_audience
from wsserver.storage.messages.streams import Append

ORGANIZATION = "organization:o1"
Json = dict[str, Any]


async def resumed(client: Client, *names: str, offset: int = 0) -> Json:
    """The answer about each stream, resumed from an offset of the epoch that it has."""
    position = {"epoch": client.established["inbox"]["epoch"], "offset": offset}
    reply = await client.call("resume", streams=dict.fromkeys(names, position))
    return reply.get("streams") or reply


def data(answer: Json) -> list[Any]:
    return [message["data"] for message in answer["messages"]]


@pytest.mark.gen_test
@pytest.mark.parametrize("is_cold", [False, True])
async def test_whatever_is_kept_for_an_organization_is_resumed_by_its_people(
    live: Live, is_cold: bool
) -> None:
    boss, manager = live.actor(), live.actor("manager", organization_id="o1")
    await live.publishing.broadcast(boss, broadcast(data="all", keep=True))
    calls = [
        live.publishing.broadcast(boss, broadcast(data="a", keep=True, organization_id="o1")),
        live.publishing.broadcast(manager, broadcast(data="b", keep=True)),
        live.publishing.publish(boss, publish("organization", "o1", data="c", keep=True)),
        live.publishing.publish(manager, publish("organization", "o1", data="d", keep=True)),
        live.publishing.publish(manager, publish("broadcast", data="e", keep=True)),
    ]
    places = [await call for call in calls]
    raw = [{"type": "x", "target": {"type": "broadcast"}, "data": "f", "keep": True, "ttl_s": 9}]
    (result,) = (await live.publishing.batch(manager, BatchRequest(raw)))["results"]
    for offset, place in enumerate([*places, result], start=1):
        assert (place["stream"], place["offset"]) == (ORGANIZATION, offset)
        assert place["epoch"]
    if is_cold:
        live.forget_streams()
    client = await live.connect("u1", organization_id="o1")
    assert client.established["organization_id"] == "o1"
    assert client.established["organization"] == {"epoch": places[0]["epoch"], "offset": 6}
    answer = await resumed(client, ORGANIZATION, "broadcast")
    assert data(answer[ORGANIZATION]) == ["a", "b", "c", "d", "e", "f"]
    assert data(answer["broadcast"]) == ["all"]
    live.clock.advance(10)  # its own time is over
    answer = await resumed(client, ORGANIZATION, offset=4)
    assert data(answer[ORGANIZATION]) == ["e"]


@pytest.mark.gen_test
async def test_the_position_of_an_organization_stream_comes_first_and_live_messages_follow(
    live: Live,
) -> None:
    client = await live.connect("u1", organization_id="o1")
    assert client.established["organization"]["offset"] == 0
    sent = await live.publishing.publish(
        live.actor(), publish("organization", "o1", data=1, keep=True)
    )
    push = await client.receive("x")
    assert (push["stream"], push["offset"]) == (ORGANIZATION, 1)
    assert push["epoch"] == sent["epoch"] == client.established["organization"]["epoch"]
    later = await live.connect("u1", organization_id="o1", session_id="s1", sessions="*")
    assert later.established["organization"]["offset"] == 1
    assert data((await resumed(later, ORGANIZATION))[ORGANIZATION]) == [1]  # though it is bound
    assert (await live.connect("free")).established["organization"] is None


@pytest.mark.gen_test
async def test_one_organizations_broadcasts_never_push_out_anothers(live: Live) -> None:
    live.streams._recovery.replay_limit = 3
    boss, manager = live.actor(), live.actor("manager", organization_id="o1")
    await live.publishing.broadcast(boss, broadcast(data="maintenance", keep=True))
    await live.publishing.broadcast(boss, broadcast(data="o2", keep=True, organization_id="o2"))
    for number in range(5):
        await live.publishing.broadcast(manager, broadcast(data=number, keep=True))
    while await live.store.trim(3):
        pass
    client = await live.connect("u2", organization_id="o2")
    answer = await resumed(client, "broadcast", "organization:o2")
    assert data(answer["broadcast"]) == ["maintenance"]
    assert data(answer["organization:o2"]) == ["o2"]
    own = await live.connect("u1", organization_id="o1")
    assert (await resumed(own, ORGANIZATION))[ORGANIZATION]["reason"] == "too_far_behind"
    assert data((await resumed(own, ORGANIZATION, offset=2))[ORGANIZATION]) == [2, 3, 4]


@pytest.mark.gen_test
@pytest.mark.parametrize("claims", [{"organization_id": "o2"}, {}, {"role": "admin"}])
async def test_others_get_nothing_of_it(live: Live, claims: Json) -> None:
    """Not by its name, nor as a session's, nor as their own: not even with a user id like it."""
    for request in (
        publish("organization", "o1", data=1, keep=True),
        publish("broadcast", data=2, keep=True),
    ):
        actor = live.actor("manager", organization_id="o1")
        sent = await live.publishing.publish(actor, request)
    for user in ("u2", "o1"):
        client = await live.connect(user, sessions="*", **claims)
        assert await client.rest() == []
        assert await client.error("resume", streams={ORGANIZATION: {"epoch": "", "offset": 0}}) == (
            "forbidden"
        )
        answer = await resumed(client, ORGANIZATION, "broadcast")
        assert answer[ORGANIZATION] == {"recovered": False, "reason": "forbidden"}
        assert answer["broadcast"]["messages"] == []
        assert await client.error("ack", stream=ORGANIZATION, offset=1) == "forbidden"
        assert (await client.call("ack", ids=[sent["message_id"]]))["acknowledged"] == 0
        assert (await client.call("history", session_id="o1"))["messages"] == []
    assert live.receipt_store is not None
    assert await live.receipt_store.of_message(sent["message_id"]) == []
    stranger = live.actor("manager", organization_id="o2")
    for is_forgotten in (False, True):
        if is_forgotten:
            live.forget_traces()
        with pytest.raises(NotFound):
            await live.tracing.trace(stranger, sent["message_id"])


@pytest.mark.gen_test
async def test_a_manager_publishes_into_its_own_organization_alone(live: Live) -> None:
    manager = live.actor("manager", organization_id="o1")
    with pytest.raises(Forbidden, match="o2"):
        await live.publishing.publish(manager, publish("organization", "o2", keep=True))
    with pytest.raises(Forbidden, match="o2"):
        await live.publishing.broadcast(manager, broadcast(keep=True, organization_id="o2"))
    assert (await live.store.head("organization:o2")).offset == 0


@pytest.mark.gen_test
async def test_who_changes_the_organization_loses_the_stream_of_the_old_one(live: Live) -> None:
    client = await live.connect("u1", organization_id="o1")
    await live.publishing.publish(live.actor(), publish("organization", "o1", data=1, keep=True))
    assert data((await resumed(client, ORGANIZATION))[ORGANIZATION]) == [1]
    await client.call("refresh_token", token=live.token("u1", organization_id="o2"))
    answer = await resumed(client, ORGANIZATION, "organization:o2")
    assert answer[ORGANIZATION]["reason"] == "forbidden"
    assert answer["organization:o2"]["recovered"]


@pytest.mark.gen_test
async def test_an_audience_narrows_it(live: Live) -> None:
    boss = live.actor()
    to_o1 = {"keep": True, "organization_id": "o1"}
    await live.publishing.broadcast(boss, broadcast(data="staff", role="manager", **to_o1))
    await live.publishing.broadcast(boss, broadcast(data="others", exclude_users=["u1"], **to_o1))
    await live.publishing.publish(
        boss, publish("organization", "o1", data="third", exclude_users=["u2"], keep=True)
    )
    seen = {
        user: data(
            (
                await resumed(
                    await live.connect(user, role=role, organization_id="o1"), ORGANIZATION
                )
            )[ORGANIZATION]
        )
        for user, role in (("u1", "user"), ("u2", "user"), ("m", "manager"))
    }
    assert seen == {"u1": ["third"], "u2": ["others"], "m": ["staff", "others", "third"]}


@pytest.mark.gen_test
@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_a_trace_says_for_whom_it_was_and_who_has_it(live: Live, is_forgotten: bool) -> None:
    boss, manager = live.actor(), live.actor("manager", organization_id="o1")
    client = await live.connect("u1", organization_id="o1")
    within = await live.publishing.broadcast(manager, broadcast(keep=True))
    direct = await live.publishing.publish(boss, publish("organization", "o1", keep=True))
    reply = await client.call("ack", stream=ORGANIZATION, offset=1)
    assert reply["acknowledged"] == 1
    assert (await client.call("read", ids=[direct["message_id"]]))["acknowledged"] == 1
    if is_forgotten:
        live.forget_traces()
    for sent, target, state in (
        (within, {"type": "broadcast"}, "delivered"),
        (direct, {"type": "organization", "id": "o1"}, "read"),
    ):
        for actor in (boss, manager):
            answer = await live.tracing.trace(actor, sent["message_id"])
            assert (answer["class"], answer["target"]) == ("kept", target)
            assert (answer["organization_id"], answer["stream"]) == ("o1", ORGANIZATION)
            assert answer["epoch"] == sent["epoch"]
            assert answer["offset"] == sent["offset"]
            assert [(r["user_id"], r["state"]) for r in answer["recipients"]] == [("u1", state)]


@pytest.mark.gen_test
async def test_explaining_says_where_it_would_be_kept(live: Live) -> None:
    await live.connect("u1", organization_id="o1")
    for actor, request in (
        (live.actor(), publish("organization", "o1", keep=True)),
        (live.actor("manager", organization_id="o1"), publish("broadcast", keep=True)),
    ):
        answer = await live.publishing.explain(actor, request)
        assert (answer["stream"], answer["matched"]) == (ORGANIZATION, 1)
    assert "stream" not in await live.publishing.explain(live.actor(), publish("broadcast"))


@pytest.mark.gen_test
async def test_broadcasts_kept_by_an_earlier_version_stay_where_they_are(live: Live) -> None:
    """It kept those within an organization in the stream of all broadcasts, with an audience."""
    audience = write_audience(Audience("o1"))
    now = live.clock.wall()
    fields: Json = {"type": "x", "at": now, "expires_at": now + 3600, "audience": audience}
    await live.store.append(
        [
            Append(stream="broadcast", message_id=f"msg_{n}", payload=b'{"type":"x","data":%d}' % n,
                   **fields)
            for n in (1, 2)
        ]
    )  # fmt: skip
    await live.streams.load()
    live.forget_streams()
    new = await live.publishing.broadcast(
        live.actor(), broadcast(data=3, keep=True, organization_id="o1")
    )
    assert (new["stream"], new["offset"]) == (ORGANIZATION, 1)
    mine = await live.connect("u1", organization_id="o1")
    answer = await resumed(mine, "broadcast", ORGANIZATION)
    assert data(answer["broadcast"]) == [1, 2]
    assert data(answer[ORGANIZATION]) == [3]
    theirs = await live.connect("u2", organization_id="o2")
    answer = await resumed(theirs, "broadcast")
    assert (answer["broadcast"]["offset"], answer["broadcast"]["messages"]) == (2, [])
    assert (await theirs.call("ack", ids=["msg_1"]))["acknowledged"] == 0
    assert (await mine.call("ack", stream="broadcast", offset=2))["acknowledged"] == 2
    traced = await live.tracing.trace(live.actor("manager", organization_id="o1"), "msg_1")
    assert (traced["target"], traced["stream"]) == ({"type": "broadcast"}, "broadcast")
    assert traced["organization_id"] == "o1"
    with pytest.raises(NotFound):
        await live.tracing.trace(live.actor("manager", organization_id="o2"), "msg_1")


@pytest.mark.gen_test
async def test_receipts_are_sent_in_small_organizations(live: Live) -> None:
    sender = await live.connect("boss", role="manager", organization_id="o1")
    client = await live.connect("u1", organization_id="o1")
    boss = live.actor("manager", "boss", organization_id="o1")
    sent = [
        await live.publishing.publish(boss, publish("organization", "o1", keep=True))
        for _ in range(2)
    ]
    await client.call("ack", ids=[sent[0]["message_id"]])
    assert [push["type"] for push in await sender.rest()] == ["x", "x", "message_status_update"]
    for number in range(101):
        live.hub.organization_connections.add("o1", fake_connection(f"v{number}"))
    await client.call("ack", ids=[sent[1]["message_id"]])
    assert await sender.rest() == []


def test_an_organization_is_a_target_with_a_name() -> None:
    assert str(Target(TargetType.ORGANIZATION, "o1")) == ORGANIZATION
