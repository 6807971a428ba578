"""Joining with a position, resuming, looking back: over real sockets and a real database."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.fake_stream_store import Gate
from tests.support.live_server import SESSION_LIMIT, Client, Live, MakeLive, settle
from wsserver.errors import Forbidden, StorageUnavailable
from wsserver.protocol.targets import EVERYONE, session, user
from wsserver.realtime.messages.message import Message

Json = dict[str, Any]


async def keep(live: Live, count: int = 1, target: Any = None, **fields: Any) -> None:
    """Publish kept messages, of which each is one group."""
    for _ in range(count):
        message = Message("news", {"data": 1}, target or session("s1"), keep=True, **fields)
        await live.router.send(message)


def hold(live: Live, name: str) -> Gate:
    """Stop every call of a method of the store until the gate is opened."""
    gate, original = Gate(), getattr(live.store, name)

    async def held(*arguments: Any) -> Any:
        await gate.passed()
        return await original(*arguments)

    setattr(live.store, name, held)
    return gate


async def used_before(live: Live) -> None:
    """A stored message, with an empty cache."""
    await keep(live)
    live.forget_streams()


def offsets(messages: list[Json]) -> list[int]:
    return [message["offset"] for message in messages if "offset" in message]


def since(answer: Json, offset: int | None = None) -> Json:
    return {"epoch": answer["epoch"], "offset": answer["offset"] if offset is None else offset}


async def comes_back(live: Live, **members: Any) -> Json:
    """``session_joined`` of a new connection."""
    client = await live.connect("reader", sessions="*")
    return await client.call("join_session", session_id="s1", **members)


# Joining


@pytest.mark.gen_test
@pytest.mark.parametrize("is_cold", [False, True])
async def test_joining_with_a_position_gives_what_was_missed(live: Live, is_cold: bool) -> None:
    client = await live.in_session("u1")
    await keep(live, 5)
    sent = await client.rest()
    position = {"epoch": sent[1]["epoch"], "offset": sent[1]["offset"]}
    if is_cold:
        live.forget_streams()
    answer = await comes_back(live, since=position)
    assert (answer["recovered"], answer["offset"]) == (True, 5)
    assert answer["messages"] == sent[2:]
    assert "reason" not in answer


@pytest.mark.gen_test
async def test_joining_without_a_position_returns_that_of_the_stream(live: Live) -> None:
    first = await comes_back(live)
    assert (first["recovered"], first["offset"], first["messages"]) == (False, 0, [])
    await keep(live, 2)
    answer = await comes_back(live)
    assert (answer["recovered"], answer["offset"], answer["messages"]) == (False, 2, [])
    assert "reason" not in answer
    empty = await comes_back(live, since=since(answer))
    assert (empty["recovered"], empty["messages"]) == (True, [])


@pytest.mark.gen_test
async def test_an_empty_stream_can_be_resumed_from_its_beginning(live: Live) -> None:
    first = await comes_back(live)
    await keep(live, 2)
    answer = await comes_back(live, since=since(first))
    assert offsets(answer["messages"]) == [1, 2]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("epoch", "offset", "reason"),
    [(None, 3, "offset_ahead"), ("epoch_x", 1, "epoch_changed")],
)
async def test_what_cannot_be_recovered_is_said_and_joined_all_the_same(
    live: Live, epoch: str | None, offset: int, reason: str
) -> None:
    await keep(live, 2)
    known = since(await comes_back(live))
    client = await live.connect("u1", sessions="*")
    position = {"epoch": epoch or known["epoch"], "offset": offset}
    answer = await client.call("join_session", session_id="s1", since=position)
    assert (answer["recovered"], answer["reason"], answer["messages"]) == (False, reason, [])
    assert since(answer) == known
    await keep(live)
    assert offsets(await client.rest()) == [3]


@pytest.mark.gen_test
@pytest.mark.parametrize("offset", [-1, 1.5, "5", True, None, 2**60])
async def test_offsets_that_are_none(live: Live, offset: Any) -> None:
    client = await live.connect("u1", sessions="*")
    position = {"epoch": "e", "offset": offset}
    wanted: list[tuple[str, Json]] = [
        ("join_session", {"session_id": "s1", "since": position}),
        ("resume", {"streams": {"session:s1": position}}),
        ("history", {"session_id": "s1", "before": offset}),
        ("history", {"session_id": "s1", "after": offset}),
    ]
    for type_, members in wanted:
        assert await client.error(type_, **members) == "bad_request"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "members",
    [
        {"streams": {}},
        {"streams": []},
        {"streams": {"session:": {"epoch": "e", "offset": 0}}},
        {"streams": {"room:1": {"epoch": "e", "offset": 0}}},
        {"streams": {"session:s1": {"offset": 0}}},
        {"streams": {"session:s1": {"epoch": "e", "offset": 0, "more": 1}}},
        {"streams": {f"session:{n}": {"epoch": "e", "offset": 0} for n in range(101)}},
        {},
    ],
    ids=range(8),
)
async def test_resumes_that_are_none(live: Live, members: Json) -> None:
    client = await live.connect("u1", sessions="*")
    assert await client.error("resume", **members) in ("bad_request", "unknown_field")


@pytest.mark.gen_test
async def test_live_messages_go_on_exactly_where_the_answer_ends(live: Live) -> None:
    first = await comes_back(live)
    await keep(live, 3)
    live.forget_streams()
    gate = hold(live, "read")
    client = await live.connect("late", sessions="*")
    client.send("join_session", ref=1, session_id="s1", since=since(first))
    await gate.reached()
    await keep(live, 2)
    gate.open()
    answer = await client.reply(1)
    assert offsets(answer["messages"]) == [1, 2, 3, 4, 5]
    await keep(live, 1)
    assert offsets(await client.rest()) == [6]


@pytest.mark.gen_test
async def test_what_waits_behind_a_slow_join_is_done_after_it(live: Live) -> None:
    client = await live.connect("u1", sessions="*")
    await used_before(live)
    gate = hold(live, "head")
    client.send("join_session", ref=1, session_id="s1")
    client.send("send_message", ref=2, session_id="s1", content="a")
    await gate.reached()
    gate.open()
    assert (await client.reply(1))["offset"] == 1
    assert (await client.reply(2))["offset"] == 2


@pytest.mark.gen_test
async def test_access_revoked_during_the_read_refuses_the_join(live: Live) -> None:
    await live.members.replace("s1", ["u1"], "admin", 1.0)
    await keep(live, 2)
    live.forget_streams()
    client = await live.connect("u1")
    gate = hold(live, "head")
    client.send("join_session", ref=1, session_id="s1")
    await gate.reached()
    await live.members.replace("s1", [], "admin", 1.0)
    gate.open()
    assert (await client.reply(1))["error"]["code"] == "forbidden"
    assert live.hub.presence("s1") == []


@pytest.mark.gen_test
async def test_who_has_gone_during_the_reading_is_not_joined(live: Live) -> None:
    client = await live.connect("u1", sessions="*")
    await used_before(live)
    gate = hold(live, "head")
    client.send("join_session", session_id="s1")
    await gate.reached()
    await live.manager.disconnect(client.id)
    gate.open()
    await settle()
    await live.streams.open("session:s1")
    await settle()
    assert live.hub.presence("s1") == []


@pytest.mark.gen_test
async def test_storage_that_is_away_is_said_and_can_be_tried_again(live: Live) -> None:
    client = await live.connect("u1", sessions="*")
    await used_before(live)
    original = live.store.head

    async def away(stream: str) -> Any:
        raise StorageUnavailable("locked")

    live.store.head = away  # type: ignore[method-assign]
    for type_, members in (
        ("join_session", {"session_id": "s1"}),
        ("resume", {"streams": {"session:s1": {"epoch": "e", "offset": 0}}}),
        ("history", {"session_id": "s1"}),
    ):
        answer = await client.call(type_, **members)
        assert answer["error"]["code"] == "storage_unavailable"
        assert answer["error"]["temporary"] is True
    live.store.head = original  # type: ignore[method-assign]
    assert (await client.call("join_session", session_id="s1"))["type"] == "session_joined"


# A bound connection


@pytest.mark.gen_test
async def test_a_bound_connection_is_joined_from_the_start_and_to_nothing_else(
    live: Live,
) -> None:
    await keep(live, 3)
    client = await live.connect("u1", endpoint="session", session_id="s1", sessions="*")
    assert (client.joined["offset"], client.joined["recovered"]) == (3, False)
    again = await client.call("join_session", session_id="s1", since=since(client.joined, 1))
    assert offsets(again["messages"]) == [2, 3]
    assert await client.error("join_session", session_id="s2") == "session_bound"
    assert await client.error("history", session_id="s2") == "session_bound"
    position = since(client.joined, 0)
    answer = await client.call("resume", streams={"session:s1": position, "session:s2": position})
    assert answer["streams"]["session:s2"] == {"recovered": False, "reason": "forbidden"}
    assert offsets(answer["streams"]["session:s1"]["messages"]) == [1, 2, 3]
    assert live.hub.presence("s2") == []


@pytest.mark.gen_test
async def test_a_bound_connection_whose_access_goes_while_it_comes_is_refused(live: Live) -> None:
    await live.members.replace("s1", ["u1"], "admin", 1.0)
    await used_before(live)
    gate = hold(live, "head")
    coming = asyncio.ensure_future(live.connect("u1", endpoint="session", session_id="s1"))
    await gate.reached()
    await live.members.replace("s1", [], "admin", 1.0)
    gate.open()
    with pytest.raises(Forbidden):
        await coming


# Resuming


@pytest.mark.gen_test
async def test_many_streams_are_resumed_and_joined(live: Live) -> None:
    client = await live.connect("u1", sessions="*")
    names = {f"s{number}": number for number in range(6)}
    positions = {}
    for name, count in names.items():
        positions[f"session:{name}"] = since(await client.call("join_session", session_id=name))
        await keep(live, count, session(name))
    positions["user:u1"] = {"epoch": positions["session:s0"]["epoch"], "offset": 0}
    positions["broadcast"] = positions["user:u1"]
    await keep(live, 2, user("u1"))
    await keep(live, 1, EVERYONE)
    live.forget_streams()
    again = await live.connect("u1", sessions="*")
    assert offsets(await again.rest()) == [1, 2]  # of the inbox, unacknowledged
    answer = await again.call("resume", streams=positions)
    assert answer["type"] == "resumed"
    assert list(answer["streams"]) == list(positions)
    for name, count in names.items():
        part = answer["streams"][f"session:{name}"]
        assert (part["recovered"], part["offset"]) == (True, count)
        assert offsets(part["messages"]) == list(range(1, count + 1))
    assert offsets(answer["streams"]["user:u1"]["messages"]) == [1, 2]
    assert offsets(answer["streams"]["broadcast"]["messages"]) == [1]
    assert list(again.info.sessions or ()) == list(names)
    await keep(live, 1, session("s3"))
    assert offsets(await again.rest()) == [4]


@pytest.mark.gen_test
async def test_streams_of_others_are_refused_one_by_one(live: Live) -> None:
    await keep(live, 1)
    epoch = (await live.streams.open("session:s1")).epoch
    client = await live.connect("u1", sessions=["s1"])
    start = {"epoch": epoch, "offset": 0}
    answer = await client.call(
        "resume",
        streams=dict.fromkeys(("session:s9", "session:s1", "user:u2", "broadcast"), start),
    )
    refused = {"recovered": False, "reason": "forbidden"}
    assert answer["streams"]["session:s9"] == answer["streams"]["user:u2"] == refused
    assert offsets(answer["streams"]["session:s1"]["messages"]) == [1]
    assert answer["streams"]["broadcast"]["recovered"]
    assert list(client.info.sessions or ()) == ["s1"]
    streams = {"session:s9": start, "user:u2": start}
    assert await client.error("resume", streams=streams) == "forbidden"


@pytest.mark.gen_test
async def test_one_stream_that_cannot_be_recovered_is_joined_beside_the_others(live: Live) -> None:
    await keep(live, 2)
    await keep(live, 2, session("s2"))
    epoch = (await live.streams.open("session:s1")).epoch
    client = await live.connect("u1", sessions="*")
    answer = await client.call(
        "resume",
        streams={
            "session:s1": {"epoch": "epoch_x", "offset": 1},
            "session:s2": {"epoch": epoch, "offset": 1},
        },
    )
    first, second = answer["streams"]["session:s1"], answer["streams"]["session:s2"]
    assert (first["recovered"], first["reason"], first["offset"]) == (False, "epoch_changed", 2)
    assert (first["epoch"], first["messages"]) == (epoch, [])
    assert offsets(second["messages"]) == [2]
    assert set(client.info.sessions or ()) == {"s1", "s2"}


@pytest.mark.gen_test
async def test_access_that_goes_during_a_resume_is_gone(live: Live) -> None:
    await live.members.replace("s1", ["u1"], "admin", 1.0)
    await live.members.replace("s2", ["u1"], "admin", 1.0)
    await keep(live, 2)
    await keep(live, 2, session("s2"))
    epoch = (await live.streams.open("session:s1")).epoch
    live.forget_streams()
    client = await live.connect("u1")
    gate = hold(live, "read")
    start = {"epoch": epoch, "offset": 0}
    client.send("resume", ref=1, streams={"session:s1": start, "session:s2": start})
    await gate.reached()
    await live.members.replace("s1", [], "admin", 1.0)
    gate.open()
    answer = await client.reply(1)
    assert answer["streams"]["session:s1"] == {"recovered": False, "reason": "forbidden"}
    assert offsets(answer["streams"]["session:s2"]["messages"]) == [1, 2]
    assert list(client.info.sessions or ()) == ["s2"]


@pytest.mark.gen_test
async def test_what_does_not_fit_the_connection_is_too_far_behind(make_live: MakeLive) -> None:
    live = await make_live(queue_limit_bytes=8000)
    await keep(live, 60)
    epoch = (await live.streams.open("session:s1")).epoch
    client = await live.connect("u1", sessions="*")
    for offset, reason in ((0, "too_far_behind"), (55, None)):
        position = {"epoch": epoch, "offset": offset}
        answer = await client.call("join_session", session_id="s1", since=position)
        assert answer.get("reason") == reason
        assert len(answer["messages"]) == (0 if reason else 60 - offset)
    assert client.info.is_alive


# Looking back


async def look(client: Client, **members: Any) -> tuple[list[int], bool]:
    answer = await client.call("history", session_id="s1", **members)
    assert answer["type"] == "history", answer
    assert answer["session_id"] == "s1"
    assert answer["epoch"].startswith("epoch_")
    return offsets(answer["messages"]), answer["has_more"]


@pytest.mark.gen_test
async def test_a_connection_is_in_so_many_sessions_and_no_more(live: Live) -> None:
    client = await live.connect("reader", sessions="*")
    for number in range(SESSION_LIMIT):
        joined = await client.call("join_session", session_id=f"s{number}")
    refused = await client.call("join_session", session_id="one_more")
    assert refused["error"]["code"] == "session_limit"
    streams = {f"session:s{number}": since(joined) for number in range(1, SESSION_LIMIT + 1)}
    refused = await client.call("resume", streams=streams)
    assert refused["error"]["code"] == "session_limit"
    assert "one_more" not in live.hub.session_connections
    again = await client.call("join_session", session_id="s0")
    assert again["type"] == "session_joined"
    await client.call("leave_session", session_id="s0")
    resumed = await client.call("resume", streams=streams)
    assert len(resumed["streams"]) == SESSION_LIMIT
    assert client.sessions == {name.removeprefix("session:") for name in streams}


@pytest.mark.gen_test
async def test_history_without_having_joined(live: Live) -> None:
    reader = await live.in_session("reader")
    await keep(live, 60)
    sent = await reader.rest()
    client = await live.connect("u1", sessions=["s1"])
    assert await look(client) == (list(range(11, 61)), True)
    assert await look(client, limit=3) == ([58, 59, 60], True)
    assert await look(client, before=3, limit=3) == ([1, 2], False)
    assert await look(client, after=57, limit=3) == ([58, 59, 60], False)
    assert await look(client, before=0) == ([], False)
    answer = await client.call("history", session_id="s1", limit=2)
    assert answer["messages"] == sent[-2:]
    assert (await client.rest(), client.info.sessions) == ([], None)


@pytest.mark.gen_test
@pytest.mark.parametrize("limit", [0, 201, -1, "5", True, 1.5])
async def test_limits_that_are_none(live: Live, limit: Any) -> None:
    client = await live.connect("u1", sessions=["s1"])
    assert await client.error("history", session_id="s1", limit=limit) == "bad_request"


@pytest.mark.gen_test
async def test_history_asks_for_access_each_time(live: Live) -> None:
    await keep(live, 1)
    await live.members.replace("s1", ["u1"], "admin", 1.0)
    client = await live.connect("u1")
    assert await look(client) == ([1], False)
    await live.members.replace("s1", [], "admin", 1.0)
    assert await client.error("history", session_id="s1") == "forbidden"
    assert await client.error("history", session_id="never-used") == "forbidden"


@pytest.mark.gen_test
async def test_access_that_goes_while_history_is_read_is_gone(live: Live) -> None:
    await keep(live, 1)
    await live.members.replace("s1", ["u1"], "admin", 1.0)
    client = await live.connect("u1")
    gate = hold(live, "read_back")
    client.send("history", ref=1, session_id="s1")
    await gate.reached()
    await live.members.replace("s1", [], "admin", 1.0)
    gate.open()
    assert (await client.reply(1))["error"]["code"] == "forbidden"


@pytest.mark.gen_test
async def test_history_leaves_out_what_is_for_others(live: Live) -> None:
    await keep(live, 2)
    await keep(live, 2, exclude_users=frozenset({"u1"}))
    await keep(live, 1)
    assert await look(await live.connect("u1", sessions="*")) == ([1, 2, 5], False)
    assert await look(await live.connect("u2", sessions="*")) == ([1, 2, 3, 4, 5], False)


@pytest.mark.gen_test
async def test_a_page_that_is_too_much_for_the_connection_is_a_shorter_one(
    make_live: MakeLive,
) -> None:
    live = await make_live(queue_limit_bytes=8000)
    await keep(live, 60)
    client = await live.connect("u1", sessions="*")
    seen: list[int] = []
    before = 61
    while True:
        page, has_more = await look(client, before=before, limit=60)
        seen = page + seen
        assert len(page) < 60
        if not has_more:
            break
        before = page[0]
    assert seen == list(range(1, 61))
    assert client.info.is_alive
