"""``message_published``: one event for each message, whoever publishes it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.channel_jobs import job
from tests.support.live_server import Live
from wsserver.errors import StorageUnavailable
from wsserver.notifications.channels.websocket import WebSocketChannel
from wsserver.protocol.targets import session
from wsserver.realtime.messages.message import Message


def told(seen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events without their time and size."""
    return [
        {name: value for name, value in event.items() if name not in ("timestamp", "bytes")}
        for event in seen
    ]


@pytest.mark.gen_test
async def test_a_message_of_a_client_is_one_with_its_sender_and_session(live: Live) -> None:
    speaker = await live.in_session("u1")
    await live.in_session("u2")
    seen = live.watch("message_published")
    fields = {"session_id": "s1", "content": "SECRET", "client_message_id": "c1"}
    sent = await speaker.call("send_message", **fields)
    await speaker.call("send_message", **fields)  # a repetition is no message
    await speaker.call("typing", session_id="s1", is_typing=True)
    assert told(seen) == [
        {
            "name": "message_published",
            "message_id": sent["message_id"],
            "type": "new_message",
            "class": "kept",
            "target": {"type": "session", "id": "s1"},
            "session_id": "s1",
            "sender": "u1",
            "matched": 2,
            "sent": 2,
        }
    ]
    assert seen[0]["bytes"] > len("SECRET")


@pytest.mark.gen_test
async def test_a_push_of_a_plugin_is_one_without_a_sender(live: Live) -> None:
    await live.connect("u1")
    seen = live.watch("message_published")
    for sent in (
        await live.manager.send_to_user("u1", "price", session_id=["no", "id"]),
        await live.manager.send_to_session("s1", "price", data={"session_id": "s9"}),
        await live.manager.broadcast("price"),
    ):
        assert sent.message_id == seen.pop(0)["message_id"]
        assert sent.receipt.matched in (0, 1)
    await live.manager.send_to_session("s1", "price")
    assert told(seen)[0] | {"message_id": ""} == {
        "name": "message_published",
        "message_id": "",
        "type": "price",
        "class": "live",
        "target": {"type": "session", "id": "s1"},
        "session_id": "s1",
        "matched": 0,
        "sent": 0,
    }


@pytest.mark.gen_test
async def test_a_notification_in_an_inbox_is_one(live: Live) -> None:
    seen = live.watch("message_published")
    expires_at = live.clock.wall() + 60.0
    notified = job(delivery_id="msg_1", title="SECRET", message="SECRET", expires_at=expires_at)
    await WebSocketChannel(live.router, live.clock).send(notified)
    (event,) = seen
    assert (event["message_id"], event["type"]) == ("msg_1", "notification")
    assert event["target"] == {"type": "user", "id": "u1"}
    assert "SECRET" not in str(event)


@pytest.mark.gen_test
async def test_what_was_not_stored_is_none(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = live.watch("message_published")
    message = Message("new_message", {"session_id": "s1"}, session("s1"), keep=True)
    await live.streams.finish()
    with pytest.raises(StorageUnavailable):
        await live.router.send(message)
    assert seen == []
