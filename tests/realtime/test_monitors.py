from __future__ import annotations

from typing import Any

import pytest

from tests.support.live_server import Client, Live
from wsserver.protocol.requests import BatchRequest, PublishRequest, read_request
from wsserver.realtime.delivery import published
from wsserver.realtime.messages.message import Message, Sent
from wsserver.realtime.observability import events
from wsserver.realtime.observability.monitors import MonitorInterest
from wsserver.storage.tables.snapshots import FIELDS


def types(pushes: list[dict]) -> list[str]:  # type: ignore[type-arg]
    return [push["type"] for push in pushes]


async def subscribe(client: Client, **args: object) -> None:
    assert (await client.call("subscribe", args=args))["type"] == "result"


@pytest.mark.gen_test
async def test_statistics_come_immediately_and_then_every_five_seconds(live: Live) -> None:
    client = await live.monitor()
    await live.manager.monitors.advance()
    (push,) = await client.rest()
    assert push["type"] == "stats_update"
    assert list(push["stats"])[:10] == list(FIELDS)
    assert push["timestamp"]
    for seconds, due in ((4.9, 0), (0.1, 1), (0.0, 0), (12.0, 1), (4.9, 0), (0.1, 1)):
        live.clock.advance(seconds)
        await live.manager.monitors.advance()
        assert len(await client.rest()) == due


@pytest.mark.gen_test
async def test_a_subscription_chooses_the_interval(live: Live) -> None:
    client, other = await live.monitor("a"), await live.monitor("b")
    await live.manager.monitors.advance()
    await subscribe(client, interval_s=0.5)
    for each in (client, other):
        await each.rest()
    counts = {"client": 0, "other": 0}
    for _ in range(40):
        live.clock.advance(0.125)
        await live.manager.monitors.advance()
    counts = {"client": len(await client.rest()), "other": len(await other.rest())}
    assert counts == {"client": 10, "other": 1}


@pytest.mark.gen_test
async def test_events_come_to_those_who_subscribed_by_globs(live: Live) -> None:
    silent = await live.monitor("silent")
    some = await live.monitor("some")
    everything = await live.monitor("everything")
    by_type = await live.monitor("by_type")
    await subscribe(some, events=["session_*", "billing.paid"])
    await subscribe(everything)
    await subscribe(by_type, events=["event"])  # the push's type, for all of them
    for each in (silent, some, everything, by_type):
        await each.rest()
    await live.in_session("u1")
    live.manager.emit("billing.paid", amount=5)
    got = [
        [p["event"]["name"] for p in await each.rest() if p["type"] == "event"]
        for each in (silent, some, everything, by_type)
    ]
    all_names = ["user_connected", "session_joined", "billing.paid"]
    assert got == [[], ["session_joined", "billing.paid"], all_names, all_names]


@pytest.mark.gen_test
async def test_a_new_subscription_takes_the_place_of_the_old(live: Live) -> None:
    client = await live.monitor()
    await subscribe(client, events=["a"])
    await subscribe(client, events=["b"])
    live.manager.emit("a")
    live.manager.emit("b")
    assert [p["event"]["name"] for p in await client.rest()] == ["b"]
    await subscribe(client, events=[])
    live.manager.emit("b")
    assert await client.rest() == []


@pytest.mark.gen_test
async def test_events_are_handled_only_while_a_monitor_subscribes_to_them(live: Live) -> None:
    assert live.events._handlers == []
    client, other = await live.monitor("a"), await live.monitor("b")
    assert live.events._handlers == []
    await subscribe(client)
    await subscribe(other)
    assert len(live.events._handlers) == 1
    assert live.events.hears("billing.paid")
    for each, left in ((client, 1), (other, 0)):
        live.manager.close(each.info, 1000, "")
        assert len(live.events._handlers) == left
    assert len(live.manager.monitors) == 0
    await live.manager.monitors.advance()


@pytest.mark.gen_test
async def test_a_monitor_gets_every_users_status_but_its_own(live: Live) -> None:
    client = await live.monitor("watcher")
    second = await live.monitor("watcher")
    assert types(await client.rest()) == []
    other = await live.connect("u1")
    live.manager.close(other.info, 1000, "")
    for each in (client, second):
        pushes = await each.rest()
        assert [(p["user_id"], p["status"], p["connections"]) for p in pushes] == [
            ("u1", "online", 1),
            ("u1", "offline", 0),
        ]


@pytest.mark.gen_test
async def test_statistics_include_top_talkers_while_a_monitor_is_connected(live: Live) -> None:
    speaker = await live.in_session("u1")
    await speaker.call("send_message", session_id="s1", content="nobody counts this")
    client = await live.monitor()
    live.clock.advance(2.0)
    for text in ("a", "b", "c", "d"):
        await speaker.call("send_message", session_id="s1", content=text)
    await live.manager.monitors.advance()
    (push,) = [p for p in await client.rest() if p["type"] == "stats_update"]
    busiest = push["busiest"]
    assert [(row["user_id"], row["messages_per_s"]) for row in busiest["users"]] == [("u1", 2.0)]
    assert busiest["sessions"] == [{"session_id": "s1", "messages_per_s": 2.0}]
    assert "busiest" not in live.manager.stats()


@pytest.mark.gen_test
async def test_top_talkers_include_backends_and_what_they_send_to_sessions(live: Live) -> None:
    client = await live.monitor()
    live.clock.advance(2.0)
    content = {"content": "你好", "sender": {"user_id": "ai", "username": "小助手"}}
    for body in (
        {"type": "new_message", "target": {"type": "session", "id": "s1"}, **content},
        {"type": "delta", "target": {"type": "session", "id": "s1"}},
        {"type": "price", "target": {"type": "broadcast"}},
    ):
        request = read_request(body, PublishRequest)
        await live.publishing.publish(live.actor("service", "crm"), request)
    await live.manager.monitors.advance()
    (push,) = [p for p in await client.rest() if p["type"] == "stats_update"]
    assert {row["user_id"]: row for row in push["busiest"]["users"]} == {
        "ai": {"user_id": "ai", "username": "小助手", "messages_per_s": 0.5},
        "crm": {"user_id": "crm", "username": None, "messages_per_s": 1.0},
    }
    assert push["busiest"]["sessions"] == [{"session_id": "s1", "messages_per_s": 1.0}]


# What messages say


@pytest.mark.gen_test
async def test_only_who_may_read_messages_sees_what_they_say(live: Live) -> None:
    narrow = frozenset({"monitor"})
    reader = await live.monitor("reader")
    watcher = await live.monitor("watcher", role="service", permissions=narrow)
    speaker = await live.in_session("u1", username="U")
    for client in (reader, watcher):
        await subscribe(client, events=["message_received", "shop.*"])
        await client.rest()
    await speaker.call("send_message", session_id="s1", content="SECRET", client_message_id="c1")
    live.manager.emit("shop.asked", message={"content": {"text": "SECRET"}, "id": 5}, total=2)
    whole, bare = await reader.rest(), await watcher.rest()
    assert types(whole) == types(bare) == ["event", "event"]
    assert [push["event"]["message"].get("content") for push in whole] == [
        "SECRET",
        {"text": "SECRET"},
    ]
    assert "SECRET" not in str(bare)
    message = {**whole[0]["event"]["message"], "content_omitted": True}
    del message["content"]
    assert bare[0]["event"] == {**whole[0]["event"], "message": message}
    assert message["sender"]["username"] == "U"
    assert bare[1]["event"]["message"] == {"id": 5, "content_omitted": True}
    assert bare[1]["event"]["total"] == 2

    # A newer token counts at once, in either direction.
    narrowed = live.token("reader", role="admin", permissions=["monitor"])
    await reader.call("refresh_token", token=narrowed)
    await watcher.call("refresh_token", token=live.token("watcher", role="service"))
    await speaker.call("send_message", session_id="s1", content="SECRET")
    assert "SECRET" not in str(await reader.rest())
    assert "SECRET" in str(await watcher.rest())


@pytest.mark.gen_test
async def test_no_push_to_a_monitor_says_what_messages_say(live: Live) -> None:
    """What a conversation makes the server push: typing, receipts, status, publishes."""
    watcher = await live.monitor("watcher", role="service", permissions=frozenset({"monitor"}))
    await subscribe(watcher, events=["*"], interval_s=0.1)
    speaker, hearer = await live.in_session("u1"), await live.in_session("u2")
    await speaker.call("typing", session_id="s1", is_typing=True)
    sent = await speaker.call("send_message", session_id="s1", content="SECRET")
    await hearer.call("read", ids=[sent["message_id"]])
    publish = {"type": "x", "data": "SECRET", "keep": True, "target": {"type": "user", "id": "u1"}}
    await live.publishing.publish(live.actor(), read_request(publish, PublishRequest))
    live.clock.advance(1)
    await live.manager.monitors.advance()
    pushes = await watcher.rest()
    names = {push["event"]["name"] for push in pushes if push["type"] == "event"}
    assert names >= {
        "typing_status_changed",
        "message_received",
        "message_delivered",
        "message_published",
    }
    assert {"stats_update", "user_status_update", "message_status_update"} <= set(types(pushes))
    assert "SECRET" not in str(pushes)


# What is published


async def storm(live: Live, count: int) -> None:
    messages = [{"type": "x", "target": {"type": "broadcast"}}] * count
    for start in range(0, count, 1000):
        batch = BatchRequest(messages[start : start + 1000])
        await live.publishing.batch(live.actor(), batch)


@pytest.mark.gen_test
async def test_a_storm_of_publishes_is_cut_short_and_counted(live: Live) -> None:
    client = await live.monitor()
    await subscribe(client, events=["message_published"])
    seen = live.watch("message_published")  # handlers inside get them all
    await storm(live, 1003)
    pushes = [push for push in await client.rest() if push["type"] == "event"]
    assert len(pushes) == 1000
    assert len(seen) == 1003
    live.clock.advance(0.05)
    await storm(live, 2)
    told = [push["event"] for push in await client.rest() if push["type"] == "event"]
    assert [event.get("skipped") for event in told] == [3, None]
    assert all("skipped" not in event for event in seen)


@pytest.mark.gen_test
async def test_events_that_are_held_back_are_not_built(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def fields(message: Message, sent: Sent) -> dict[str, Any]:
        built.append(sent.message_id)
        return {}

    monkeypatch.setattr(published, "_fields", fields)
    await storm(live, 10)
    assert built == []
    client = await live.monitor()
    await subscribe(client)
    await storm(live, 1003)
    assert len(built) == 1000


@pytest.mark.gen_test
async def test_other_events_are_never_held_back(live: Live) -> None:
    client = await live.monitor()
    await subscribe(client)
    await storm(live, 1500)
    live.manager.emit("alert_raised")
    pushes = [push for push in await client.rest() if push["type"] == "event"]
    assert pushes[-1]["event"]["name"] == "alert_raised"


@pytest.mark.gen_test
async def test_after_a_gap_all_events_are_wanted_until_other_nodes_have_repeated_theirs(
    live: Live,
) -> None:
    monitors = live.manager.monitors
    monitors.interest_missed()
    monitors.interested(MonitorInterest("n2", ("billing.*",)))
    wanted: list[tuple[bool, bool]] = []
    for _ in range(7):
        hears = live.events.hears
        wanted.append((hears(events.MESSAGE_PUBLISHED), hears("billing.paid")))
        live.clock.advance(1.1)
        await monitors.advance()
    assert wanted == [*[(True, True)] * 3, *[(False, True)] * 3, (False, False)]
    assert not monitors.has_any


@pytest.mark.gen_test
async def test_after_a_gap_a_node_repeats_at_once_what_its_monitors_want(live: Live) -> None:
    monitors = live.manager.monitors
    await subscribe(await live.monitor(), events=["alert_*"])
    await monitors.advance()
    notices: list[MonitorInterest] = []
    live.control.add_listener(MonitorInterest, notices.append)
    await monitors.advance()
    assert notices == []
    monitors.interest_missed()
    await monitors.advance()
    assert [each.globs for each in notices] == [("alert_*",)]


@pytest.mark.gen_test
async def test_events_that_no_monitor_wants_are_not_made(live: Live) -> None:
    client = await live.monitor()
    await subscribe(client, events=["alert_*"])
    assert live.events.hears("alert_raised")
    assert not live.events.hears("message_published")
    await subscribe(client, events=["alert_*", "message_*"])
    assert live.events.hears("message_published")
    await subscribe(client, events=["event"])  # the push's type stands for all of them
    assert live.events.hears("message_published")
