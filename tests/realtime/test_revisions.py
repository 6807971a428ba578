"""Messages that are changed in place: what clients see live, and whoever reads later."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.fake_stream_store import Gate
from tests.support.live_server import Live, settle
from wsserver.errors import Forbidden, NotFound
from wsserver.protocol.revisions import replace_message
from wsserver.protocol.targets import session
from wsserver.protocol.types import Position
from wsserver.realtime.messages.message import Message, Sent
from wsserver.storage.messages.message_rows import Revise
from wsserver.storage.messages.streams import Found, Revised, Revision, Subject

S1 = "session:s1"


async def say(live: Live, text: str, **fields: Any) -> str:
    """A kept message; its id."""
    members = {"session_id": "s1", "message": {"content": text}}
    message = Message("new_message", members, session("s1"), keep=True, **fields)
    return (await live.router.send(message)).message_id


def to(text: str) -> Revise:
    def revise(subject: Subject) -> Revised:
        return Revised(replace_message(subject.payload, json.dumps({"content": text}).encode()))

    return revise


async def find(live: Live, message_id: str) -> Found:
    found, _ = await live.store.find([message_id], live.clock.wall(), 1 << 20)
    return found[0]


async def change(live: Live, message_id: str, revise: Revise) -> Sent:
    members = {"session_id": "s1"}
    found = await find(live, message_id)
    return (await live.revisions.record(found, "message_updated", members, revise))[0]


def texts(pushes: list[Any]) -> dict[int, str]:
    decoded = [each if isinstance(each, dict) else json.loads(each) for each in pushes]
    return {each["offset"]: each["message"]["content"] for each in decoded if "message" in each}


async def resumed(live: Live, offset: int = 0, budget: int = 1 << 20) -> dict[int, str]:
    epoch = (await live.streams.open(S1)).epoch
    wanted = {S1: Position(epoch, offset)}
    recovery = (await live.streams.recover(wanted, live.claims("me"), budget))[S1]
    assert recovery.reason is None
    return texts(recovery.messages)


async def looked_back(live: Live, **fields: Any) -> dict[int, str]:
    return texts((await live.streams.history(S1, None, **fields)).messages)


@pytest.mark.gen_test
@pytest.mark.parametrize("is_cold", [False, True])
async def test_a_change_is_a_push_and_the_message_is_its_newest_version(
    live: Live, is_cold: bool
) -> None:
    client = await live.in_session("u1")
    first = await say(live, "one")
    await say(live, "other")
    sent = await change(live, first, to("two"))
    assert (sent.stream, sent.offset) == (S1, 3)
    await change(live, first, to("three"))
    pushes = await client.rest()
    assert texts(pushes) == {1: "one", 2: "other", 3: "two", 4: "three"}
    assert [each["type"] for each in pushes[2:]] == ["message_updated"] * 2
    assert pushes[2]["id"] == sent.message_id
    if is_cold:
        live.forget_streams()
    newest = {1: "three", 2: "other", 3: "three", 4: "three"}
    assert await resumed(live) == newest
    assert await resumed(live, 2) == {3: "three", 4: "three"}
    assert await looked_back(live) == {1: "three", 2: "other"}
    assert await looked_back(live, with_changes=True) == newest


@pytest.mark.gen_test
async def test_a_joining_client_gets_messages_without_the_records(live: Live) -> None:
    client = await live.in_session("u1")
    first = await say(live, "one")
    await change(live, first, to("two"))
    pushes = await client.rest()
    late = await live.connect("u2", sessions="*")
    since = {"epoch": pushes[0]["epoch"], "offset": 0}
    answer = await late.call("join_session", session_id="s1", since=since)
    assert (answer["offset"], texts(answer["messages"])) == (2, {1: "two"})
    answer = await late.call("resume", streams={S1: since})
    assert texts(answer["streams"][S1]["messages"]) == {1: "two", 2: "two"}


@pytest.mark.gen_test
async def test_a_record_is_for_the_readers_of_its_message(live: Live) -> None:
    mine = await live.in_session("u1")
    others = await live.in_session("u2")
    first = await say(live, "one", exclude_users=frozenset({"u2"}))
    await change(live, first, to("two"))
    assert texts(await mine.rest()) == {1: "one", 2: "two"}
    assert texts(await others.rest()) == {}


@pytest.mark.gen_test
async def test_what_refuses_a_change_reaches_the_caller(live: Live) -> None:
    def refuse(subject: Subject) -> Revised:
        raise Forbidden("not yours")

    client = await live.in_session("u1")
    first = await say(live, "one")
    with pytest.raises(Forbidden, match="not yours"):
        await change(live, first, refuse)
    found = await find(live, first)
    gone = found._replace(message_id="msg_gone")
    with pytest.raises(NotFound):
        await live.revisions.record(gone, "message_updated", {}, to("two"))
    assert await say(live, "next")
    assert texts(await client.rest()) == {1: "one", 2: "next"}


@pytest.mark.gen_test
async def test_text_is_rewritten_without_a_record(live: Live) -> None:
    client = await live.in_session("u1")
    first = await say(live, "one")
    await resumed(live)
    outcomes = await live.revisions.rewrite(
        [Revision(S1, first, to("two")), Revision(S1, "msg_gone", to("x"))]
    )
    assert isinstance(outcomes[0], tuple)
    assert isinstance(outcomes[1], NotFound)
    assert texts(await client.rest()) == {1: "one"}  # no push
    assert await resumed(live) == {1: "two"}
    live.forget_streams()
    assert await resumed(live) == {1: "two"}


@pytest.mark.gen_test
async def test_other_nodes_read_a_rewritten_message_again(live: Live) -> None:
    first = await say(live, "one")
    await say(live, "other")
    stream = live.streams.peek(S1)
    assert stream is not None
    live.streams.outdate(S1, stream.epoch, 1, 0)  # not newer than what is there
    assert stream.after(0) is not None
    await live.store.revise([Revision(S1, first, to("two"))])  # as another node does
    live.streams.outdate(S1, stream.epoch, 1, 1)
    assert await resumed(live) == {1: "two", 2: "other"}


@pytest.mark.gen_test
async def test_an_older_version_never_replaces_a_newer_one(live: Live) -> None:
    await say(live, "one")
    stream = live.streams.peek(S1)
    assert stream is not None
    stream.change(1, 2, b'{"content":"newer"}')
    stream.change(1, 1, b'{"content":"older"}')
    assert await resumed(live) == {1: "newer"}


def held(live: Live, name: str, calls: int = 1) -> Gate:
    """Stop what the store has read in the nth call until the gate is opened."""
    gate, original, left = Gate(), getattr(live.store, name), [calls]

    async def late(*arguments: Any) -> Any:
        found = await original(*arguments)
        left[0] -= 1
        if left[0] == 0:
            await gate.passed()
        return found

    setattr(live.store, name, late)
    return gate


@pytest.mark.gen_test
async def test_what_was_read_before_a_change_is_not_given_after_it(live: Live) -> None:
    first = await say(live, "one")
    live.forget_streams()
    gate = held(live, "read")
    reading = asyncio.ensure_future(resumed(live))
    await gate.reached()
    await change(live, first, to("two"))
    gate.open()
    assert await reading == {1: "two", 2: "two"}


@pytest.mark.gen_test
async def test_nor_what_was_read_for_one_reader_alone(live: Live) -> None:
    first = await say(live, "one")
    await say(live, "x" * 9000, exclude_users=frozenset({"me"}))
    live.forget_streams()
    gate = held(live, "read", 2)  # all messages together exceed the budget
    reading = asyncio.ensure_future(resumed(live, budget=2000))
    await gate.reached()
    await change(live, first, to("two"))
    gate.open()
    assert await reading == {1: "two", 3: "two"}


@pytest.mark.gen_test
async def test_a_page_read_before_a_change_is_read_again(live: Live) -> None:
    first = await say(live, "one")
    gate = held(live, "read_back")
    reading = asyncio.ensure_future(looked_back(live))
    await gate.reached()
    await change(live, first, to("two"))
    gate.open()
    assert await reading == {1: "two"}
    await settle()
