"""Changes while messages of one transaction are published one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.live_server import Client, Live, settle
from wsserver.protocol.targets import session
from wsserver.realtime.messages.message import Message
from wsserver.realtime.observability import events
from wsserver.realtime.streams.stream import Stream

COUNT = 12


async def three(live: Live) -> tuple[Client, Client, Client]:
    """A sender, another client and a plain client in one session."""
    people = [
        await live.in_session("writer"),
        await live.in_session("other"),
        await live.connect("plain", protocol="plain", sessions=["s1"]),
    ]
    await people[2].call("join_session", session_id="s1")
    for client in people:
        await client.rest()
    writer, other, plain = people
    return writer, other, plain


def write(client: Client) -> None:
    """Several messages in one go, so that they are stored together."""
    for number in range(COUNT):
        client.send("send_message", ref=f"r{number}", session_id="s1", content=f"m{number}")


async def until_answered(writer: Client, count: int = COUNT) -> list[dict[str, Any]]:
    """The replies to ``write``; what is pushed meanwhile is in ``writer.pushes``."""
    replies: list[dict[str, Any]] = []
    while len(replies) < count:
        message = await writer.message()
        (replies if "ref" in message else writer.pushes).append(message)
    return replies


async def until_told(live: Live, offset: int) -> Stream:
    stream = await live.streams.open("session:s1")
    while stream.head < offset:
        await asyncio.sleep(0)
    await settle()
    return stream


def said(pushes: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [
        (each["offset"], each["message"]["content"])
        for each in pushes
        if each["type"] == "new_message"
    ]


def when_received(live: Live, text: str, do: Callable[[], object]) -> None:
    """Do something in the middle of the round."""

    def handler(event: dict[str, Any]) -> None:
        if event["message"]["content"] == text:
            do()

    live.events.add_event_handler(events.MESSAGE_RECEIVED, handler)


EVERYTHING = [(number + 1, f"m{number}") for number in range(COUNT)]


@pytest.mark.gen_test
async def test_what_is_published_meanwhile_comes_behind_it(live: Live) -> None:
    writer, other, plain = await three(live)

    def answer() -> None:
        message = {"session_id": "s1", "message": {"content": "answer"}}
        live.router.keep([Message("new_message", message, session("s1"), keep=True)])

    when_received(live, "m0", answer)
    when_received(live, "m3", answer)
    write(writer)
    replies = await until_answered(writer)
    assert [reply["ref"] for reply in replies] == [f"r{number}" for number in range(COUNT)]
    await until_told(live, COUNT + 2)
    heard = said(await writer.rest())
    assert [offset for offset, _ in heard] == list(range(1, COUNT + 3))
    assert [text for _, text in heard if text != "answer"] == [f"m{n}" for n in range(COUNT)]
    assert said(await other.rest()) == said(await plain.rest()) == heard


@pytest.mark.gen_test
@pytest.mark.parametrize("who", ["writer", "other", "plain"])
@pytest.mark.parametrize("how", ["closed", "cut", "removed"])
async def test_a_connection_that_ends_meanwhile_does_not_affect_the_others(
    live: Live, who: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    people = dict(zip(("writer", "other", "plain"), await three(live), strict=True))

    def end() -> None:
        connection = people[who].info
        match how:
            case "closed":
                live.manager.close(connection, 4502, "enough")
            case "cut":
                live.poller._carrier.drop(connection.websocket)
            case _:
                live.manager.sessions.leave(connection, "s1")

    when_received(live, "m4", end)
    with caplog.at_level(logging.WARNING):
        write(people["writer"])
        stream = await until_told(live, COUNT)
        if who != "writer" or how == "removed":
            await until_answered(people["writer"])
        for name, client in people.items():
            if name != who:
                assert said(await client.rest()) == EVERYTHING
    assert caplog.records == []
    late = await live.connect("late", sessions=["s1"])
    position = {"epoch": stream.epoch, "offset": 0}
    joined = await late.call("join_session", session_id="s1", since=position)
    assert said(joined["messages"]) == EVERYTHING


@pytest.mark.gen_test
async def test_a_failing_listener_does_not_affect_others(live: Live) -> None:
    writer, other, _ = await three(live)

    def fail() -> None:
        raise ZeroDivisionError("a fault")

    when_received(live, "m4", fail)
    write(writer)
    replies = await until_answered(writer)
    assert [(reply["type"], reply["offset"]) for reply in replies] == [
        ("ack", offset) for offset, _ in EVERYTHING
    ]
    assert said(await other.rest()) == EVERYTHING
    assert live.statistics.internal_errors == 0
