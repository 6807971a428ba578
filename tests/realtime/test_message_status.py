from __future__ import annotations

import pytest

from tests.support.inbox_messages import pass_time, send_to_user, statuses
from tests.support.live_server import Live
from wsserver.protocol.targets import user
from wsserver.realtime.messages.message import Message


@pytest.mark.gen_test
async def test_the_sender_and_the_monitors_are_notified_of_the_status(live: Live) -> None:
    boss, watcher = await live.connect("boss"), await live.monitor("boss")
    waiting = await send_to_user(live, "a")
    first = await live.connect("u1")
    second = await live.connect("u1")
    live_one = await send_to_user(live, "b")
    plain = await live.connect("u2", protocol="plain")
    plain_one = await send_to_user(live, "c", "u2")
    await live.receipts.settle()
    expected = [
        (waiting.message_id, "u1", "queued"),
        (waiting.message_id, "u1", "sent"),
        (live_one.message_id, "u1", "sent"),
        (plain_one.message_id, "u2", "delivered"),
    ]
    assert statuses(await boss.rest()) == expected
    assert statuses(await watcher.rest()) == expected
    assert statuses([*await first.rest(), *await second.rest(), *await plain.rest()]) == []


@pytest.mark.gen_test
async def test_a_status_names_the_session_of_a_message(live: Live) -> None:
    boss = await live.connect("boss")
    message = Message(
        "new_message",
        {"session_id": "s9", "message": {}},
        user("u1"),
        keep=True,
        sender="boss",
    )
    await live.router.send(message)
    assert (await boss.receive("message_status_update"))["session_id"] == "s9"
    client = await live.connect("u1")
    assert (await boss.receive("message_status_update"))["session_id"] == "s9"
    pushed = await client.receive("new_message")
    await client.call("ack", ids=[pushed["id"]])
    update = await boss.receive("message_status_update")
    assert (update["status"], update["session_id"]) == ("delivered", "s9")
    assert "reason" not in update


@pytest.mark.gen_test
async def test_the_trace_learns_of_what_was_sent_again(live: Live) -> None:
    noted: list[tuple[str, ...]] = []
    live.statuses.add_listener(lambda *note: noted.append(note))
    waiting = await send_to_user(live, "a")
    client = await live.connect("u1")
    live_one = await send_to_user(live, "b")
    assert noted == [(waiting.message_id, "u1", client.id, "sent")]
    await pass_time(live, 10)
    assert noted[1:] == [
        (waiting.message_id, "u1", client.id, "sent"),
        (live_one.message_id, "u1", client.id, "sent"),
    ]
