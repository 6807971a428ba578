from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.realtime.live_server import Client, Live, MakeLive, settle
from wsserver.errors import ConnectionLimit, StorageUnavailable
from wsserver.protocol.targets import user
from wsserver.realtime.catching_up import PAGE
from wsserver.realtime.inbox_ledger import TICK_S
from wsserver.realtime.manager import ConnectionLimits
from wsserver.realtime.message import Message, Sent
from wsserver.wire.frames import build_frame


async def tell(live: Live, text: Any, user_id: str = "u1", **options: Any) -> Sent:
    """A kept message of ``boss`` to a user."""
    options.setdefault("sender", "boss")
    message = Message("note", {"data": text}, user(user_id), keep=True, **options)
    return await live.router.send(message)


async def received(client: Client, count: int) -> list[Any]:
    """The next pushes, which must be that many notes; returns what they say."""
    return [(await client.receive("note"))["data"] for _ in range(count)]


async def wait(live: Live, seconds: float) -> None:
    """Let time pass as the periodic work sees it."""
    for _ in range(round(seconds / TICK_S)):
        live.clock.advance(TICK_S)
        await live.deliveries.inboxes.advance()
    await settle()


def statuses(pushes: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [
        (push["message_id"], push["user_id"], push["status"])
        for push in pushes
        if push["type"] == "message_status_update"
    ]


def notes(pushes: Sequence[dict[str, Any]]) -> list[Any]:
    return [push["data"] for push in pushes if push["type"] == "note"]


@pytest.mark.gen_test
async def test_what_came_meanwhile_follows_the_greeting_oldest_first(live: Live) -> None:
    for number in range(3):
        await tell(live, number)
    client = await live.connect("u1")
    assert client.established["inbox"]["pending"] == 3
    assert client.established["inbox"]["offset"] == 3
    pushes = [await client.receive("note") for _ in range(3)]
    assert [push["data"] for push in pushes] == [0, 1, 2]
    assert [push["offset"] for push in pushes] == [1, 2, 3]
    assert {push["stream"] for push in pushes} == {"user:u1"}
    assert {push["epoch"] for push in pushes} == {client.established["inbox"]["epoch"]}
    assert not any("redelivered" in push for push in pushes)
    await tell(live, 3)
    assert await received(client, 1) == [3]


@pytest.mark.gen_test
async def test_an_empty_inbox_has_nothing_pending(live: Live) -> None:
    client = await live.connect("u1")
    inbox = client.established["inbox"]
    assert (inbox["offset"], inbox["pending"]) == (0, 0)
    assert inbox["epoch"]
    assert await client.rest() == []


@pytest.mark.gen_test
async def test_what_is_not_acknowledged_comes_to_every_new_connection(
    make_live: MakeLive, live: Live
) -> None:
    await tell(live, "a")
    first = await live.connect("u1")
    second = await live.connect("u1")
    assert await received(first, 1) == await received(second, 1) == ["a"]
    await live.stop()
    again = await make_live()
    client = await again.connect("u1")
    assert client.established["inbox"]["pending"] == 1
    message = await client.receive("note")
    await client.call("ack", ids=[message["id"]])
    last = await again.connect("u1")
    assert last.established["inbox"]["pending"] == 0
    assert last.established["inbox"]["offset"] == 1
    assert await last.rest() == []


@pytest.mark.gen_test
async def test_a_plain_client_has_it_once_it_is_written(live: Live) -> None:
    await tell(live, "a")
    plain = await live.connect("u1", protocol="plain")
    await tell(live, "b")
    assert await received(plain, 2) == ["a", "b"]
    await live.deliveries.receipts.settle()
    await wait(live, 60)
    assert await plain.rest() == []
    assert (await live.connect("u1")).established["inbox"]["pending"] == 0


@pytest.mark.gen_test
async def test_what_never_left_for_a_plain_client_stays_pending(live: Live) -> None:
    plain = await live.connect("u1", protocol="plain")
    fill(plain)
    await tell(live, "a")
    await wait(live, 1)
    plain.socket.close()
    await settle()
    await wait(live, 1)
    await live.deliveries.receipts.settle()
    assert (await live.connect("u1")).established["inbox"]["pending"] == 1


@pytest.mark.gen_test
async def test_what_left_late_for_a_plain_client_is_delivered_then(live: Live) -> None:
    plain = await live.connect("u1", protocol="plain")
    filler = fill(plain)
    await tell(live, "a")
    await wait(live, 1)
    assert (await live.receipt_store.inbox("u1", live.clock.wall())).pending == 1
    while (push := await plain.message())["type"] == "filler":
        filler -= 1
    assert (filler, push["data"]) == (0, "a")
    await wait(live, 1)
    await live.deliveries.receipts.settle()
    assert (await live.receipt_store.inbox("u1", live.clock.wall())).pending == 0


@pytest.mark.gen_test
async def test_an_unacknowledged_message_comes_again_three_times(live: Live) -> None:
    client = await live.connect("u1")
    sent = await tell(live, "a")
    first = await client.receive("note")
    assert "redelivered" not in first
    for _ in range(3):
        await wait(live, 9.75)
        assert await client.rest() == []
        await wait(live, 0.25)
        again = await client.receive("note")
        assert again == {**first, "redelivered": True}
    await wait(live, 60)
    assert await client.rest() == []
    assert (await live.connect("u1")).established["inbox"]["pending"] == 1
    assert sent.offset == first["offset"] == 1


@pytest.mark.gen_test
async def test_what_came_with_the_greeting_comes_again_too(live: Live) -> None:
    await tell(live, "a")
    client = await live.connect("u1")
    await received(client, 1)
    await wait(live, 10)
    assert (await client.receive("note"))["redelivered"] is True


@pytest.mark.gen_test
async def test_an_acknowledged_message_does_not_come_again_anywhere(live: Live) -> None:
    first, second = await live.connect("u1"), await live.connect("u1")
    for text in "ab":
        await tell(live, text)
    messages = [await first.receive("note") for _ in range(2)]
    await received(second, 2)
    await wait(live, 5)
    assert (await second.call("ack", ids=[messages[0]["id"]]))["acknowledged"] == 1
    await wait(live, 5)
    assert notes(await first.rest()) == notes(await second.rest()) == ["b"]


@pytest.mark.gen_test
async def test_an_acknowledgement_while_it_is_read_again_stops_it(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await live.connect("u1")
    await tell(live, "a")
    message = await client.receive("note")
    find = live.store.find

    async def acknowledged_meanwhile(ids: Sequence[str], now: float) -> Any:
        found = await find(ids, now)
        monkeypatch.undo()
        await client.call("ack", ids=[message["id"]])
        return found

    monkeypatch.setattr(live.store, "find", acknowledged_meanwhile)
    await wait(live, 30)
    assert await client.rest() == []


@pytest.mark.gen_test
async def test_nothing_comes_again_after_it_has_expired(live: Live) -> None:
    client = await live.connect("u1")
    await tell(live, "a", ttl_s=15.0)
    await received(client, 1)
    await wait(live, 10)
    assert await received(client, 1) == ["a"]
    await wait(live, 60)
    assert await client.rest() == []
    assert (await live.connect("u1")).established["inbox"]["pending"] == 0


@pytest.mark.gen_test
async def test_nothing_comes_again_while_the_client_has_not_taken_the_first(live: Live) -> None:
    client = await live.connect("u1")
    filler = fill(client)
    await tell(live, "a")
    await wait(live, 60)
    while (push := await client.message())["type"] == "filler":
        filler -= 1
    assert (filler, push["data"], "redelivered" in push) == (0, "a", False)
    assert await client.rest() == []
    await wait(live, 10)
    assert (await client.receive("note"))["redelivered"] is True


@pytest.mark.gen_test
async def test_storage_that_fails_puts_it_off(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await live.connect("u1")
    await tell(live, "a")
    await received(client, 1)

    async def broken(ids: Sequence[str], now: float) -> Any:
        raise StorageUnavailable("broken")

    with monkeypatch.context() as patched:
        patched.setattr(live.store, "find", broken)
        with pytest.raises(StorageUnavailable):
            await wait(live, 10)
    await wait(live, 9.75)
    assert await client.rest() == []
    await wait(live, 0.25)
    assert (await client.receive("note"))["redelivered"] is True


@pytest.mark.gen_test
async def test_an_inbox_of_many_pages_comes_in_order_with_what_comes_live(live: Live) -> None:
    count = 3 * PAGE + 7
    for number in range(count):
        await tell(live, number)
    client = await live.connect("u1", greeted=False)
    greeting = await client.receive("connection_established")
    assert greeting["inbox"]["pending"] == count
    await tell(live, count)
    await tell(live, count + 1)
    assert await received(client, count + 2) == list(range(count + 2))
    await wait(live, 1)
    await tell(live, count + 2)
    assert await received(client, 1) == [count + 2]
    assert await client.rest() == []


@pytest.mark.gen_test
async def test_an_inbox_too_large_for_the_queue_comes_as_the_client_takes_it(
    make_live: MakeLive,
) -> None:
    live = await make_live(queue_limit_bytes=256 * 1024)
    count = 120
    for number in range(count):
        await tell(live, [number, "x" * 20_000])
    client = await live.connect("u1", greeted=False)
    await wait(live, 2)
    assert client.info.is_alive
    assert client.info.websocket.queued_bytes <= 256 * 1024 // 8 * 7 + 21_000
    live_one = await tell(live, [count])
    assert live_one.receipt.matched == live_one.receipt.sent == 1
    await client.receive("connection_established")
    seen = []
    while len(seen) < count + 1:
        await wait(live, TICK_S)
        seen += [data[0] for data in notes(await client.rest())]
    assert seen == list(range(count + 1))
    await client.call("ack", stream="user:u1", offset=count + 1)
    assert (await live.connect("u1")).established["inbox"]["pending"] == 0


@pytest.mark.gen_test
async def test_a_message_that_comes_while_the_last_page_is_read_is_not_missed(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(PAGE + 1):
        await tell(live, number)
    pending = live.receipt_store.pending

    async def meanwhile(*args: Any, **options: Any) -> Any:
        page = await pending(*args, **options)
        if len(page) == 1:
            monkeypatch.undo()
            await tell(live, PAGE + 1)
        return page

    monkeypatch.setattr(live.receipt_store, "pending", meanwhile)
    client = await live.connect("u1")
    assert await received(client, PAGE + 2) == list(range(PAGE + 2))
    await wait(live, 1)
    assert len(live.deliveries.inboxes._catching_up) == 0
    assert await client.rest() == []


@pytest.mark.gen_test
async def test_nothing_is_held_of_a_connection_that_has_gone(make_live: MakeLive) -> None:
    live = await make_live(queue_limit_bytes=256 * 1024)
    for _ in range(60):
        await tell(live, "x" * 20_000)
    clients = [
        await live.connect("u1", greeted=False, protocol=protocol)
        for protocol in ("wsserver.v1", "plain")
    ]
    await wait(live, 1)
    inboxes = live.deliveries.inboxes
    assert len(inboxes._ledger) > 0
    assert len(inboxes._catching_up) == 2
    assert inboxes._sending._unwritten
    for client in clients:
        live.manager.close(client.info, 4502, "enough")
        client.socket.close()
    await wait(live, 1)
    assert len(inboxes._ledger) == len(inboxes._catching_up) == 0
    assert not inboxes._sending._unwritten


@pytest.mark.gen_test
async def test_a_message_that_comes_while_the_inbox_is_read_is_not_missed(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tell(live, "a")
    inbox = live.receipt_store.inbox

    async def meanwhile(user_id: str, now: float) -> Any:
        found = await inbox(user_id, now)
        pending = await live.receipt_store.pending(user_id, now)

        async def as_it_was(*args: Any, **options: Any) -> Any:
            monkeypatch.undo()
            return pending

        monkeypatch.setattr(live.receipt_store, "pending", as_it_was)
        await tell(live, "b")
        return found

    monkeypatch.setattr(live.receipt_store, "inbox", meanwhile)
    client = await live.connect("u1")
    assert await received(client, 2) == ["a", "b"]
    await tell(live, "c")
    assert await received(client, 1) == ["c"]
    assert await client.rest() == []


@pytest.mark.gen_test
async def test_a_message_read_before_it_is_published_comes_once(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tell(live, "a")
    publish = live.broker.publish
    clients = []

    async def connected_before(publication: Any) -> Any:
        monkeypatch.undo()
        clients.append(await live.connect("u1"))
        return await publish(publication)

    monkeypatch.setattr(live.streams, "_publish", connected_before)
    await tell(live, "b")
    (client,) = clients
    assert notes([await client.receive("note"), *await client.rest()]) == ["a", "b"]


@pytest.mark.gen_test
async def test_a_refused_newcomer_leaves_nothing_behind(make_live: MakeLive) -> None:
    live = await make_live(limits=ConnectionLimits(per_user=1))
    await tell(live, "a")
    await live.connect("u1")
    with pytest.raises(ConnectionLimit):
        await live.connect("u1")
    assert live.deliveries.inboxes._opening == {}


@pytest.mark.gen_test
async def test_a_message_for_others_in_an_inbox_is_passed_over(live: Live) -> None:
    await tell(live, "a", organization_id="o1")
    await tell(live, "b")
    stranger = await live.connect("u1")
    assert notes([await stranger.receive("note"), *await stranger.rest()]) == ["b"]
    insider = await live.connect("u1", organization_id="o1")
    assert await received(insider, 2) == ["a", "b"]


@pytest.mark.gen_test
async def test_the_sender_and_the_monitors_are_told_how_far_it_has_come(live: Live) -> None:
    boss, watcher = await live.connect("boss"), await live.monitor("boss")
    waiting = await tell(live, "a")
    first = await live.connect("u1")
    second = await live.connect("u1")
    live_one = await tell(live, "b")
    plain = await live.connect("u2", protocol="plain")
    plain_one = await tell(live, "c", "u2")
    await live.deliveries.receipts.settle()
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
    live.deliveries.statuses.add_listener(lambda *note: noted.append(note))
    waiting = await tell(live, "a")
    client = await live.connect("u1")
    live_one = await tell(live, "b")
    assert noted == [(waiting.message_id, "u1", client.id, "sent")]
    await wait(live, 10)
    assert noted[1:] == [
        (waiting.message_id, "u1", client.id, "sent"),
        (live_one.message_id, "u1", client.id, "sent"),
    ]


def fill(client: Client) -> int:
    """Send to a connection until something has to wait for it; returns how many pushes."""
    transport = client.info.websocket
    count = 0
    frame = build_frame(json.dumps({"type": "filler", "x": "x" * 20_000}).encode())
    while not transport.queued_bytes:
        transport.send(frame)
        count += 1
    return count
