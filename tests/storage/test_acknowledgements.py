"""Acknowledgements settle the delivery to the inbox, and cancel escalations."""

from __future__ import annotations

import pytest

from tests.support.message_rows import message
from tests.support.notification_rows import (
    NOW,
    claim,
    delivery,
    notification,
    outcome,
    record,
    states,
)
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.leased_table import Lease
from wsserver.storage.messages.receipts import ReceiptStore
from wsserver.storage.messages.streams import StreamStore
from wsserver.storage.notifications.acknowledgements import (
    Acknowledged,
    Acknowledgement,
    AcknowledgementStore,
)
from wsserver.storage.notifications.deliveries import DeliveryStore
from wsserver.storage.notifications.notifications import NotificationStore


@pytest.fixture
def store(database: Database) -> NotificationStore:
    return NotificationStore(database)


@pytest.fixture
def queue(database: Database) -> DeliveryStore:
    return DeliveryStore(database)


@pytest.fixture
def receipts(database: Database) -> AcknowledgementStore:
    return AcknowledgementStore(database)


async def accept(store: NotificationStore, name: str = "n1", user: str = "u1") -> None:
    """A notification in the inbox, with an e-mail at once and an SMS after a minute."""
    await store.accept(
        notification(
            name,
            delivery(f"{name}_msg", user, "websocket"),
            delivery(f"{name}_mail", user),
            delivery(f"{name}_sms", user, "sms", due_at=NOW + 60, unless_acknowledged=1),
        )
    )


async def send(queue: DeliveryStore) -> None:
    await record(queue, *[outcome(e, "sent") for e in await claim(queue, channel="websocket")])


def ack(*ids: str, user: str = "u1", read: bool = False, at: float = 7) -> Acknowledgement:
    return Acknowledgement(user, ids, "read" if read else "delivered", NOW + at)


@pytest.mark.gen_test
async def test_an_acknowledgement_calls_off_the_escalation_and_nothing_else(
    store: NotificationStore, queue: DeliveryStore, receipts: AcknowledgementStore
) -> None:
    await accept(store)
    await send(queue)
    assert await receipts.acknowledge([ack("n1_msg")]) == [Acknowledged("n1_msg", 7)]
    assert await states(store, "n1") == {
        "n1_msg": "delivered",
        "n1_mail": "pending",
        "n1_sms": "cancelled",
    }
    assert await receipts.acknowledge([ack("n1_msg")]) == []
    read = Acknowledged("n1_msg", None, ("u1", "n1"))
    assert await receipts.acknowledge([ack("n1_msg", read=True)]) == [read]
    assert await receipts.acknowledge([ack("n1_msg")]) == []
    found = await store.get("n1")
    assert found is not None
    assert (found.deliveries[0].state, found.deliveries[0].acknowledged_at) == ("read", NOW + 7)


@pytest.mark.gen_test
async def test_the_acknowledgement_of_another_user_changes_nothing(
    store: NotificationStore, queue: DeliveryStore, receipts: AcknowledgementStore
) -> None:
    await accept(store)
    await send(queue)
    assert await receipts.acknowledge([ack("n1_msg", user="u2")]) == []
    by_name = ack("n1", user="u2")._replace(by_notification=True)
    assert await receipts.acknowledge([by_name, ack("nothing")]) == []
    assert (await states(store, "n1"))["n1_sms"] == "pending"


@pytest.mark.gen_test
async def test_a_notification_may_be_named_itself_also_before_it_is_sent(
    store: NotificationStore, queue: DeliveryStore, receipts: AcknowledgementStore
) -> None:
    await accept(store)
    await accept(store, "n2")
    by_name = ack("n1")._replace(by_notification=True)
    assert await receipts.acknowledge([by_name]) == []
    assert (await states(store, "n1"))["n1_sms"] == "cancelled"
    assert (await states(store, "n1"))["n1_msg"] == "pending"
    await send(queue)
    assert await receipts.acknowledge([by_name]) == [Acknowledged("n1_msg", 7)]
    assert (await states(store, "n2"))["n2_sms"] == "pending"
    assert await receipts.messages_of("u1", ["n1", "n2", "n3"]) == ["n1_msg", "n2_msg"]
    assert await receipts.messages_of("u2", ["n1"]) == []


@pytest.mark.gen_test
async def test_an_acknowledgement_before_the_outcome_is_kept(
    store: NotificationStore, queue: DeliveryStore, receipts: AcknowledgementStore
) -> None:
    await accept(store)
    (sending,) = await claim(queue, channel="websocket")
    assert await receipts.acknowledge([ack("n1_msg")]) == [Acknowledged("n1_msg", 7)]
    await record(queue, outcome(sending, "sent"))
    found = await store.get("n1")
    assert found is not None
    assert found.deliveries[0].state == "delivered"
    assert [each.outcome for each in found.deliveries[0].attempts] == ["sent"]


@pytest.mark.gen_test
async def test_a_retry_by_hand_escalates_only_to_those_who_have_not_acknowledged(
    store: NotificationStore, queue: DeliveryStore, receipts: AcknowledgementStore
) -> None:
    steps = [
        each
        for user in ("u1", "u2")
        for each in (
            delivery(f"{user}_msg", user, "websocket"),
            delivery(f"{user}_sms", user, "sms", unless_acknowledged=1),
        )
    ]
    await store.accept(notification("n1", *steps))
    await send(queue)
    for each in await claim(queue, channel="sms"):
        await record(queue, outcome(each, "failed"))
    await receipts.acknowledge([ack("u1_msg")])
    assert await store.retry("n1", NOW + 9) == 1
    found = await states(store, "n1")
    assert (found["u1_sms"], found["u2_sms"]) == ("failed", "pending")


@pytest.mark.gen_test
async def test_an_escalation_that_is_being_sent_is_not_tried_again(
    store: NotificationStore, queue: DeliveryStore, receipts: AcknowledgementStore
) -> None:
    await accept(store)
    await send(queue)
    (sms,) = await claim(queue, NOW + 60, "sms")
    await receipts.acknowledge([ack("n1_msg", at=61)])
    recorded = await record(queue, outcome(sms, "pending", due_at=NOW + 70))
    assert recorded == {sms.id: "cancelled"}
    assert await queue.next_due("sms", NOW) is None


@pytest.mark.gen_test
async def test_what_was_acknowledged_before_a_crash_is_noted_at_the_start(
    store: NotificationStore,
    queue: DeliveryStore,
    receipts: AcknowledgementStore,
    database: Database,
) -> None:
    for name, user in (("n1", "u1"), ("n2", "u1"), ("n3", "u3"), ("n4", "u4")):
        await accept(store, name, user)
    await claim(queue, channel="websocket", limit=1, lease=Lease("the run before", NOW + 60))
    await send(queue)
    streams, inboxes = StreamStore(database), ReceiptStore(database)
    await streams.append(
        [
            message("user:u1", "n1_msg"),
            message("user:u1", "n2_msg"),
            message("user:u3", "n3_msg"),
            message("user:u4", "n4_msg"),
        ]
    )
    await inboxes.record("u1", ["n1_msg"], read=False, at=NOW + 5)
    await inboxes.record("u1", ["n2_msg"], read=True, at=NOW + 6)
    await inboxes.advance("u3", "user:u3", 1, NOW + 7)
    assert await receipts.reconcile() == 3
    assert [(await states(store, f"n{n}"))[f"n{n}_msg"] for n in (1, 2, 3, 4)] == [
        "delivered",
        "read",
        "delivered",
        "sent",
    ]
    assert (await states(store, "n3"))["n3_sms"] == "cancelled"
    assert (await states(store, "n4"))["n4_sms"] == "pending"
    assert await receipts.reconcile() == 0


@pytest.mark.gen_test
async def test_an_escalation_is_not_claimed_once_the_inbox_is_acknowledged(
    database: Database, store: NotificationStore, queue: DeliveryStore
) -> None:
    """The node that applies the acknowledgement to the notification may have crashed before."""
    await accept(store)
    await accept(store, "n2", "u2")
    await accept(store, "n3", "u3")
    await send(queue)
    inbox = ReceiptStore(database)
    messages = [message(f"user:u{n}", f"n{n}_msg") for n in (1, 2, 3)]
    await StreamStore(database).append(messages)
    await inbox.record("u1", ["n1_msg"], read=True, at=NOW + 7)
    await inbox.advance("u2", "user:u2", 1, NOW + 8)
    claimed = await claim(queue, channel="sms", now=NOW + 60)
    assert [each.delivery_id for each in claimed] == ["n3_sms"]
    assert await states(store, "n1") == {
        "n1_msg": "read",
        "n1_mail": "pending",
        "n1_sms": "cancelled",
    }
    assert (await states(store, "n2"))["n2_sms"] == "cancelled"
    assert await claim(queue, channel="sms", now=NOW + 61) == []
