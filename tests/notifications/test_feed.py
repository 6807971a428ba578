"""The feed of notifications: what is in it, marking, exact numbers, two devices in step."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.live_notifications import LiveNotifications
from tests.support.live_server import Client
from wsserver.notifications.feed_api import mark_faults
from wsserver.notifications.recipients import users
from wsserver.notifications.service import Sending
from wsserver.protocol.notifications import MarkNotificationsRequest


async def send(notified: LiveNotifications, title: str, *channels: Any, **options: Any) -> str:
    """A text for u1 that is delivered by the time that this returns; its id."""
    sending = Sending(channels=channels or None, **options)
    sent = await notified.service.send_notification(users("u1"), title, "M", sending=sending)
    assert sent is not None
    await notified.idle()
    return sent.notification_id


async def feed(client: Client, **fields: Any) -> dict[str, Any]:
    answer = await client.call("notifications", **fields)
    assert answer["type"] == "notifications", answer
    return answer


async def following(notified: LiveNotifications, user_id: str = "u1") -> Client:
    """A connection that has listed its user's notifications, and gets their changes."""
    client = await notified.live.connect(user_id)
    await feed(client)
    return client


def titles(page: dict[str, Any]) -> list[str]:
    return [each["title"] for each in page["notifications"]]


async def unread(client: Client, count: int) -> list[dict[str, Any]]:
    """The pushes until one says that so many are unread; the number is exact sooner or later."""
    while True:
        await client.call("ping")
        pushes = client.feed_changes
        if pushes and pushes[-1]["unread"] == count:
            client.feed_changes = []
            return pushes


@pytest.mark.gen_test
async def test_what_came_by_socket_is_listed_page_by_page(notified: LiveNotifications) -> None:
    await notified.reach("u1", locale="en")
    ids = [await send(notified, f"n{number}") for number in range(5)]
    await send(notified, "by e-mail alone", "email")
    client = await notified.live.connect("u1")
    page = await feed(client, limit=2)
    assert (titles(page), page["unread"], page["total"]) == (["n4", "n3"], 5, 5)
    (newest, _) = page["notifications"]
    assert newest == {
        "id": ids[4],
        "title": "n4",
        "message": "M",
        "type": "info",
        "action_url": None,
        "auto_close": True,
        "timestamp": newest["timestamp"],
        "template": None,
        "read_at": None,
        "archived_at": None,
    }
    await send(notified, "newer")
    page = await feed(client, limit=2, cursor=page["next_cursor"])
    assert titles(page) == ["n2", "n1"]
    page = await feed(client, limit=2, cursor=page["next_cursor"])
    assert (titles(page), page["next_cursor"]) == (["n0"], None)
    other = await notified.live.connect("u2")
    assert (await feed(other))["notifications"] == []
    assert (await client.call("notifications", cursor="x"))["error"]["code"] == "bad_request"


@pytest.mark.gen_test
async def test_marking_is_in_step_on_two_devices(notified: LiveNotifications) -> None:
    phone, desk = [await following(notified) for _ in range(2)]
    ids = [await send(notified, f"n{number}") for number in range(3)]
    await unread(desk, 3)
    answer = await phone.call("mark_notifications", ids=[ids[0], "nothing"], read=True)
    assert (answer["changed"], answer["unread"]) == (1, 2)
    *_, push = await unread(desk, 2)
    assert (push["notification_ids"], push["read"]) == ([ids[0]], True)
    assert "archived" not in push
    again = await phone.call("mark_notifications", ids=[ids[0]], read=True)
    assert (again["changed"], again["unread"]) == (0, 2)
    # One of them and all older ones: what came later stays as it is.
    answer = await desk.call("mark_notifications", up_to=ids[1], archived=True, read=True)
    assert (answer["changed"], answer["unread"]) == (2, 1)
    *_, push = await unread(phone, 1)
    assert (sorted(push["notification_ids"]), push["archived"]) == (sorted(ids[:2]), True)
    assert titles(await feed(phone)) == ["n2"]
    assert titles(await feed(phone, archived=True)) == ["n1", "n0"]
    answer = await phone.call("mark_notifications", ids=ids[:1], archived=False, read=False)
    assert (answer["changed"], answer["unread"]) == (1, 2)
    assert titles(await feed(phone, unread=True)) == ["n2", "n0"]
    await unread(desk, 2)


@pytest.mark.gen_test
async def test_what_is_read_is_acknowledged(notified: LiveNotifications) -> None:
    await notified.reach("u1")
    name = await send(notified, "n", "websocket", escalate=[(60, "email")])
    client = await notified.live.connect("u1")
    await client.call("mark_notifications", ids=[name], read=True)
    assert await notified.states(name) == {"websocket": "read", "email": "cancelled"}
    again = await notified.live.connect("u1")  # it does not pop up once more
    assert again.established["inbox"]["pending"] == 0


@pytest.mark.parametrize("by", ["notification", "message"])
@pytest.mark.gen_test
async def test_the_command_read_marks_the_feed_too(notified: LiveNotifications, by: str) -> None:
    phone, desk = [await following(notified) for _ in range(2)]
    name = await send(notified, "n")
    message = (await phone.receive("notification"))["id"]
    await phone.call("ack", ids=[message])
    await unread(desk, 1)  # received is not read
    await phone.call("read", ids=[name if by == "notification" else message])
    *_, push = await unread(desk, 0)
    assert (push["notification_ids"], push["read"]) == ([name], True)
    (entry,) = (await feed(desk))["notifications"]
    assert entry["read_at"] is not None


@pytest.mark.gen_test
async def test_it_survives_restarts_and_outlasts_the_inbox(
    notified: LiveNotifications,
) -> None:
    name = await send(notified, "n", expires_in_s=60)
    await notified.pass_time(61)
    await notified.until(name, websocket="expired")
    client = await notified.live.connect("u1")
    assert titles(await feed(client)) == ["n"]
    await client.call("mark_notifications", ids=[name], read=True)
    assert (await feed(client))["unread"] == 0
    await notified.until(name, websocket="expired")


@pytest.mark.gen_test
async def test_an_escalation_to_the_inbox_is_no_second_entry(
    notified: LiveNotifications,
) -> None:
    name = await send(notified, "n", "websocket", escalate=[(60, "websocket")])
    await notified.pass_time(60)
    client = await notified.live.connect("u1")
    page = await feed(client)
    assert (titles(page), page["unread"], page["total"]) == (["n"], 1, 1)
    answer = await client.call("mark_notifications", ids=[name], read=True)
    assert (answer["changed"], answer["unread"]) == (1, 0)
    assert (await feed(client, unread=True))["notifications"] == []


@pytest.mark.gen_test
async def test_many_are_marked_in_parts_and_a_page_fits_the_connection(
    notified: LiveNotifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsserver.storage.notifications.feed.MARKED_AT_ONCE", 2)
    names = [await send(notified, f"n{number} {'x' * 200}") for number in range(5)]
    client = await notified.live.connect("u1")
    notified.parts.commands._replay_budget = 1000
    page = await feed(client)
    assert len(page["notifications"]) == 2
    seen = titles(page)
    while page["next_cursor"] is not None:
        page = await feed(client, cursor=page["next_cursor"])
        seen += titles(page)
    assert [each[:2] for each in seen] == ["n4", "n3", "n2", "n1", "n0"]
    answer = await client.call("mark_notifications", up_to=names[-1], read=True)
    assert (answer["changed"], answer["unread"]) == (5, 0)


@pytest.mark.gen_test
async def test_an_erased_feed_is_empty_on_open_devices(notified: LiveNotifications) -> None:
    client = await following(notified)
    await send(notified, "n")
    await unread(client, 1)
    await notified.live.user_records.erase(notified.live.actor(), "u1")
    await unread(client, 0)
    assert (await feed(client))["notifications"] == []


@pytest.mark.parametrize(
    ("fields", "faulty"),
    [
        ({}, ["ids", "read"]),
        ({"ids": ["n1"]}, ["read"]),
        ({"read": True}, ["ids"]),
        ({"ids": ["n1"], "up_to": "n1", "archived": True}, ["up_to"]),
        ({"up_to": "n1", "read": False}, []),
    ],
)
def test_a_marking_says_what_and_how(fields: dict[str, Any], faulty: list[str]) -> None:
    faults = mark_faults(MarkNotificationsRequest(**fields))
    assert [each["field"] for each in faults] == faulty
