from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.inbox_messages import (
    ack,
    notes,
    pass_time,
    pending_count,
    raise_storage_unavailable,
    send_to_session,
    send_to_user,
    statuses,
)
from tests.support.live_server import Live, MakeLive
from wsserver.errors import StorageUnavailable
from wsserver.protocol.targets import EVERYONE
from wsserver.realtime.inbox import receipt_recorder
from wsserver.realtime.messages.message import Message


@pytest.mark.gen_test
async def test_the_other_devices_the_sender_and_the_monitors_are_notified_once(live: Live) -> None:
    boss, watcher = await live.connect("boss"), await live.monitor()
    first, second = await live.connect("u1"), await live.connect("u1")
    sent = await send_to_user(live, "a")
    for client in (boss, watcher, first, second):
        await client.rest()
    await ack(first, sent)
    await ack(second, sent)
    update = (sent.message_id, "u1", "delivered")
    assert statuses(await boss.rest()) == [update]
    assert statuses(await watcher.rest()) == [update]
    assert statuses(await second.rest()) == [update]
    assert await first.rest() == []


@pytest.mark.gen_test
async def test_what_is_read_is_received_too(live: Live) -> None:
    boss = await live.connect("boss")
    client, other = await live.connect("u1"), await live.connect("u1")
    one, two = await send_to_user(live, "a"), await send_to_user(live, "b")
    await ack(client, one)
    for each in (boss, other):
        await each.rest()
    reply = await client.call("read", ids=[one.message_id, two.message_id])
    assert reply["acknowledged"] == 2
    assert await pending_count(live) == 0
    updates = [(one.message_id, "u1", "read"), (two.message_id, "u1", "read")]
    assert statuses(await boss.rest()) == updates
    assert statuses(await other.rest()) == updates
    await client.call("read", ids=[one.message_id])
    await ack(client, two)
    assert await boss.rest() == []
    await pass_time(live, 30)
    assert notes(await client.rest()) == ["a", "b"]


@pytest.mark.gen_test
async def test_an_offset_acknowledges_everything_up_to_it(live: Live) -> None:
    boss, client, other = [await live.connect(u) for u in ("boss", "u1", "u1")]
    sent = [await send_to_user(live, number) for number in range(3)]
    for each in (boss, other):
        await each.rest()
    reply = await client.call("ack", stream="user:u1", offset=2)
    assert reply["acknowledged"] == 2
    updates = [(each.message_id, "u1", "delivered") for each in sent[:2]]
    assert statuses(await boss.rest()) == updates
    assert statuses(await other.rest()) == updates
    await client.rest()
    await pass_time(live, 10)
    assert notes(await client.rest()) == [2]
    assert (await client.call("ack", stream="user:u1", offset=0))["acknowledged"] == 0


@pytest.mark.gen_test
async def test_an_offset_past_the_end_acknowledges_nothing(live: Live) -> None:
    client = await live.connect("u1")
    await send_to_user(live, "a")
    answer = await client.call("ack", stream="user:u1", offset=2)
    assert (answer["error"]["code"], answer["error"]["field"]) == ("bad_request", "offset")
    assert await pending_count(live) == 1


@pytest.mark.gen_test
async def test_a_user_cannot_acknowledge_for_another(live: Live) -> None:
    boss, thief = await live.connect("boss"), await live.connect("u2")
    mine, secret = await send_to_user(live, "a"), await send_to_session(live, "b")
    await boss.rest()
    noted: list[Any] = []
    live.statuses.add_listener(lambda *note: noted.append(note))
    assert await ack(thief, mine, secret) == 0
    assert (await thief.call("read", ids=[mine.message_id]))["acknowledged"] == 0
    assert await thief.error("ack", stream="user:u1", offset=1) == "forbidden"
    assert await thief.error("ack", stream="session:s1", offset=1) == "forbidden"
    assert await thief.error("ack", stream="session:unknown", offset=0) == "forbidden"
    assert await pending_count(live) == 1
    assert await boss.rest() == noted == []


@pytest.mark.gen_test
async def test_an_unknown_id_is_passed_on_to_the_listeners_only(live: Live) -> None:
    client, watcher = await live.connect("u1"), await live.monitor()
    noted: list[Any] = []
    live.statuses.add_listener(lambda *note: noted.append(note))
    assert (await client.call("ack", ids=["msg_live", "msg_live"]))["acknowledged"] == 0
    await client.call("read", ids=["msg_live"])
    assert noted == [
        ("msg_live", "u1", client.id, "delivered"),
        ("msg_live", "u1", client.id, "read"),
    ]
    assert await watcher.rest() == []


@pytest.mark.gen_test
async def test_a_message_in_a_session_is_acknowledged_by_each_user(live: Live) -> None:
    boss = await live.in_session("boss")
    ann, ben = await live.in_session("ann"), await live.in_session("ben")
    sent = await send_to_session(live, "a")
    for client in (boss, ann, ben):
        await client.rest()
    assert [await ack(each, sent) for each in (ann, ben, boss)] == [1, 1, 1]
    updates = await boss.rest()
    assert statuses(updates) == [
        (sent.message_id, "ann", "delivered"),
        (sent.message_id, "ben", "delivered"),
    ]
    assert {update["session_id"] for update in updates} == {"s1"}
    assert await ann.rest() == await ben.rest() == []


@pytest.mark.gen_test
async def test_a_session_is_acknowledged_up_to_an_offset(live: Live) -> None:
    boss, ann = await live.in_session("boss"), await live.in_session("ann")
    first = await send_to_session(live, "a")
    await send_to_session(live, "not for ann", exclude_users=frozenset(("ann",)))
    third = await send_to_session(live, "c")
    await boss.rest()
    reply = await ann.call("ack", stream="session:s1", offset=3)
    assert reply["acknowledged"] == 2
    assert statuses(await boss.rest()) == [
        (first.message_id, "ann", "delivered"),
        (third.message_id, "ann", "delivered"),
    ]


@pytest.mark.gen_test
async def test_a_kept_broadcast_is_acknowledged(live: Live) -> None:
    boss, ann = await live.connect("boss"), await live.connect("ann")
    sent = await live.router.send(Message("note", {}, EVERYONE, keep=True, sender="boss"))
    await boss.rest()
    assert await ack(ann, sent) == 1
    (update,) = await boss.rest()
    assert (update["user_id"], update["session_id"]) == ("ann", None)
    assert (await ann.call("ack", stream="broadcast", offset=1))["acknowledged"] == 0


@pytest.mark.gen_test
async def test_plain_clients_in_a_session_have_a_message_once_it_is_written(live: Live) -> None:
    boss = await live.in_session("boss", protocol="plain")
    watcher = await live.monitor()
    await live.in_session("ann", protocol="plain")
    await live.in_session("ann", protocol="plain")
    await live.in_session("ben", protocol="plain")
    await live.in_session("ben")  # acknowledges for ben
    await live.in_session("cid")
    for client in (boss, watcher):
        await client.rest()
    sent = await send_to_session(live, "a")
    expected = [(sent.message_id, "ann", "delivered")]
    assert statuses(await boss.rest()) == statuses(await watcher.rest()) == expected


@pytest.mark.gen_test
async def test_an_event_alone_is_reason_enough_to_look(live: Live) -> None:
    await live.in_session("ann", protocol="plain")
    seen = live.watch("message_delivered")
    sent = await send_to_session(live, "a")
    (event,) = seen
    assert (event["message_id"], event["user_id"]) == (sent.message_id, "ann")


@pytest.mark.gen_test
async def test_in_a_large_audience_receipts_are_not_sent_individually(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipt_recorder, "INDIVIDUALLY", 2)
    boss = await live.in_session("boss")
    ann = await live.in_session("ann")
    await live.in_session("ben", protocol="plain")
    sent = await send_to_session(live, "a")
    await boss.rest()
    assert await ack(ann, sent) == 1
    assert await boss.rest() == []
    (receipt,) = await live.receipt_store.of_message(sent.message_id)
    assert receipt.user_id == "ann"
    broadcast = await live.router.send(Message("note", {}, EVERYONE, keep=True, sender="boss"))
    await boss.rest()
    assert await ack(ann, broadcast) == 1
    assert await boss.rest() == []


@pytest.mark.gen_test
async def test_a_receipt_of_a_message_to_oneself_is_sent_to_the_other_devices(live: Live) -> None:
    first, second = await live.connect("u1"), await live.connect("u1")
    watcher = await live.monitor()
    sent = await send_to_user(live, "a", sender="u1")
    assert statuses(await first.rest()) == statuses(await second.rest()) == []
    await watcher.rest()
    await ack(first, sent)
    update = [(sent.message_id, "u1", "delivered")]
    assert statuses(await second.rest()) == statuses(await watcher.rest()) == update
    assert await first.rest() == []


@pytest.mark.gen_test
async def test_an_event_is_emitted_for_each_delivery(live: Live) -> None:
    ann = await live.in_session("ann")
    seen = live.watch("message_delivered")
    sent, whispered = await send_to_session(live, "a"), await send_to_user(live, "b", "ann")
    await ack(ann, sent)
    await ack(ann, sent)
    await ann.call("read", ids=[whispered.message_id])
    for event in seen:
        del event["timestamp"], event["name"]
    common = {"user_id": "ann", "sender": "boss"}
    assert seen == [
        {
            "message_id": sent.message_id,
            "session_id": "s1",
            "status": "delivered",
            **common,
        },
        {
            "message_id": whispered.message_id,
            "session_id": None,
            "status": "read",
            **common,
        },
    ]


@pytest.mark.gen_test
async def test_a_storage_that_fails_is_no_acknowledgement(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss, client = await live.connect("boss"), await live.connect("u1")
    sent = await send_to_user(live, "a")
    await boss.rest()
    await client.receive("note")
    with monkeypatch.context() as patched:
        patched.setattr(live.receipt_store, "record", raise_storage_unavailable)
        assert await client.error("ack", ids=[sent.message_id]) == "storage_unavailable"
    assert await boss.rest() == []
    await pass_time(live, 10)
    assert (await client.receive("note"))["redelivered"] is True


@pytest.mark.gen_test
async def test_receipts_of_plain_clients_are_tried_again(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipt_recorder, "RETRY_S", 0.0)
    record, calls = live.receipt_store.record, []

    async def broken_once(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise StorageUnavailable("broken")
        return await record(*args, **options)

    monkeypatch.setattr(live.receipt_store, "record", broken_once)
    await live.connect("u1", protocol="plain")
    await send_to_user(live, "a")
    while live.receipts._recorder is not None:
        await live.database.settle()
    assert len(calls) == 2
    assert await pending_count(live) == 0


@pytest.mark.gen_test
async def test_receipts_of_plain_clients_wait_in_bounded_number(
    make_live: MakeLive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    live = await make_live()
    monkeypatch.setattr(receipt_recorder, "WAITING_LIMIT", 1)
    for text in "abc":
        await send_to_user(live, text)
    await live.connect("u1", protocol="plain")
    await live.receipts.settle()
    assert live.receipts.unrecorded == 2
    assert await pending_count(live) == 2  # they come once more
    assert "dropped total=2" in caplog.text


@pytest.mark.gen_test
async def test_a_storm_of_receipts_is_recorded_in_few_writes(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, sizes = live.receipt_store.record, []

    async def counted(user_id: str, ids: Sequence[str], **options: Any) -> Any:
        sizes.append(len(ids))
        return await record(user_id, ids, **options)

    monkeypatch.setattr(live.receipt_store, "record", counted)
    for number in range(50):
        await send_to_user(live, number)
    await live.connect("u1", protocol="plain")
    await live.receipts.settle()
    assert sizes == [50]
