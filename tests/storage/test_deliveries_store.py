"""The delivery queue: no delivery is lost or sent twice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from tests.support.database_processes import enter_process, remove_process
from tests.support.notification_rows import (
    DAY_S,
    NOW,
    claim,
    delivery,
    notification,
    outcome,
    record,
    states,
)
from wsserver.protocol.notifications import Contact, Device, PushKeys, PushSubscription, QuietHours
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.leased_table import Lease
from wsserver.storage.notifications.contacts import ContactStore
from wsserver.storage.notifications.deliveries import DeliveryStore
from wsserver.storage.notifications.known_users import KnownUser, KnownUserStore
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.storage.tables.access_lists import OrganizationStore

PUSH = PushSubscription("https://push.example/1", PushKeys("p", "a"))
CONTACT = Contact(
    user_id="u1",
    email="u1@example.com",
    phone="+8613800138000",
    push=(PUSH, PushSubscription("https://push.example/2", PushKeys("q", "b"))),
    devices=(Device("apns", "t", "one"), Device("apns", "t", "two")),
    locale="en",
    quiet_hours=QuietHours("22:00", "07:00", "Asia/Shanghai"),
)


@pytest.fixture
def store(database: Database) -> NotificationStore:
    return NotificationStore(database)


@pytest.fixture
def queue(database: Database) -> DeliveryStore:
    return DeliveryStore(database)


@pytest.mark.gen_test
async def test_what_is_due_is_leased_once_in_its_order(
    store: NotificationStore, queue: DeliveryStore, database: Database
) -> None:
    await ContactStore(database).put(CONTACT, None, NOW)
    await store.accept(
        notification(
            "n1",
            delivery("later", due_at=NOW + 60),
            delivery("second", due_at=NOW - 1),
            delivery("first", "u2", due_at=NOW - 2),
            delivery("other", channel="sms"),
            delivery("gone", expires_at=NOW),
            delivery("never", state="no_address", due_at=None),
        )
    )
    first, second = await claim(queue)
    assert (first.delivery_id, first.contact) == ("first", Contact(user_id="u2"))
    assert (second.delivery_id, second.contact) == ("second", CONTACT)
    assert (second.notification_id, second.attempt, second.number) == ("n1", 1, 0)
    assert await claim(queue) == []
    assert [each.delivery_id for each in await claim(queue, NOW + 60)] == ["later"]
    assert await queue.next_due("email", NOW) is None
    assert await queue.next_due("sms", NOW) == NOW
    assert await queue.next_due("push", NOW) is None


@pytest.mark.gen_test
async def test_a_claim_takes_no_more_than_it_may(
    store: NotificationStore, queue: DeliveryStore
) -> None:
    await store.accept(notification("n1", *[delivery(f"d{n}", f"u{n}") for n in range(5)]))
    assert [each.delivery_id for each in await claim(queue, limit=2)] == ["d0", "d1"]
    assert [each.delivery_id for each in await claim(queue, limit=9)] == ["d2", "d3", "d4"]


@pytest.mark.gen_test
async def test_attempts_are_counted_and_what_is_to_be_tried_again_is_due_again(
    store: NotificationStore, queue: DeliveryStore
) -> None:
    await store.accept(notification("n1", delivery("d1")))
    (one,) = await claim(queue)
    recorded = await record(queue, outcome(one, "pending", due_at=NOW + 2, detail="421 busy"))
    assert recorded == {one.id: "pending"}
    assert await queue.next_due("email", NOW) == NOW + 2
    (two,) = await claim(queue, NOW + 2)
    assert two.attempt == 2
    assert await record(queue, outcome(two, "sent", NOW + 3)) == {one.id: "sent"}
    found = await store.get("n1")
    assert found is not None
    (each,) = found.deliveries
    assert (each.state, each.sent_at, each.due_at) == ("sent", NOW + 3, None)
    assert [tuple(a) for a in each.attempts] == [
        (1, NOW, "retry", "421 busy"),
        (2, NOW + 3, "sent", ""),
    ]


@pytest.mark.gen_test
async def test_what_is_put_off_without_being_tried_counts_no_attempt(
    store: NotificationStore, queue: DeliveryStore
) -> None:
    await store.accept(notification("n1", delivery("d1")))
    (one,) = await claim(queue)
    await record(queue, outcome(one, "pending", due_at=NOW + 900, outcome=None))
    (again,) = await claim(queue, NOW + 900)
    assert again.attempt == 1


@pytest.mark.gen_test
async def test_an_outcome_without_a_lease_changes_nothing(
    store: NotificationStore, queue: DeliveryStore
) -> None:
    await store.accept(notification("n1", delivery("d1")))
    (one,) = await claim(queue)
    assert await record(queue, outcome(one, "sent"), lease=Lease("another run", NOW + 60)) == {}
    assert await states(store, "n1") == {"d1": "sending"}


@pytest.mark.gen_test
async def test_what_another_run_was_sending_is_due_again_and_says_so(
    database: Database, store: NotificationStore, queue: DeliveryStore
) -> None:
    await store.accept(notification("n1", delivery("d1"), delivery("d2", "u2")))
    await claim(queue, limit=1, lease=Lease("the run before", NOW + 60))
    now = NOW + 5
    assert await queue.release(now, ending_by=math.inf) == 1
    assert await states(store, "n1") == {"d1": "pending", "d2": "pending"}
    other, again = await claim(queue, now)
    assert (again.delivery_id, again.attempt) == ("d1", 2)
    assert (other.delivery_id, other.attempt) == ("d2", 1)
    found = await store.get("n1")
    assert found is not None
    assert [a.outcome for a in found.deliveries[0].attempts] == ["interrupted"]


@pytest.mark.gen_test
async def test_a_lease_of_this_run_that_ran_out_is_given_back(
    store: NotificationStore, queue: DeliveryStore
) -> None:
    await store.accept(notification("n1", delivery("d1")))
    (leased,) = await claim(queue)
    assert await queue.release(NOW + 59) == 0
    assert await queue.release(NOW + 60, leased.ids) == 0  # this run is still at it
    assert await queue.release(NOW + 60) == 1


@pytest.mark.gen_test
async def test_what_another_process_is_sending_is_due_again_once_that_is_lost(
    database: Database, store: NotificationStore, queue: DeliveryStore
) -> None:
    await store.accept(notification("n1", delivery("d1")))
    await claim(queue, lease=Lease("other", NOW + 60))
    database.is_shared = True
    await enter_process(database, "other")
    now = NOW + 5
    assert await queue.release(now, ending_by=math.inf) == 0
    assert await queue.release(NOW + 3600) == 0  # this clock may be fast
    await remove_process(database, "other")
    assert await queue.release(now) == 1
    assert await states(store, "n1") == {"d1": "pending"}


@pytest.mark.gen_test
async def test_what_was_cancelled_while_it_was_sent_does_not_come_back_after_a_crash(
    store: NotificationStore, queue: DeliveryStore
) -> None:
    await store.accept(notification("n1", delivery("d1")))
    await claim(queue, lease=Lease("the run before", NOW + 60))
    await store.cancel("n1")
    await queue.release(NOW + 5, ending_by=math.inf)
    assert await states(store, "n1") == {"d1": "cancelled"}


@pytest.mark.gen_test
async def test_waiting_deliveries_and_those_never_claimed_expire(
    store: NotificationStore, queue: DeliveryStore
) -> None:
    await store.accept(
        notification(
            "n1",
            delivery("waits", due_at=NOW + 2 * DAY_S),
            delivery("inbox", "u2", "websocket"),
            delivery("mailed", "u3", "sms"),
            delivery("longer", "u4", expires_at=NOW + 2 * DAY_S, due_at=NOW + DAY_S + 1),
        )
    )
    for channel in ("websocket", "sms"):
        (one,) = await claim(queue, channel=channel)
        await record(queue, outcome(one, "sent"))
    assert await queue.expire(NOW + DAY_S - 1) == []
    ended = await queue.expire(NOW + DAY_S)
    assert {(each.delivery_id, each.is_pending) for each in ended} == {("waits", 1), ("inbox", 0)}
    assert await states(store, "n1") == {
        "waits": "expired",
        "inbox": "expired",
        "mailed": "sent",
        "longer": "pending",
    }
    assert await queue.expire(NOW + DAY_S) == []
    assert await queue.next_due("email", NOW + DAY_S) == NOW + DAY_S + 1


@pytest.mark.gen_test
async def test_one_too_many_of_a_kind_waits_and_they_go_as_one(
    store: NotificationStore, database: Database
) -> None:
    seen: list[int] = []

    def two_in_a_window(sent_at: Sequence[float], now: float) -> float | None:
        seen.append(len(sent_at))
        return NOW + 300 if len(sent_at) >= 2 else None

    queue = DeliveryStore(database, two_in_a_window)
    for number in range(5):
        await store.accept(notification(f"n{number}", delivery(f"d{number}", digest="risk_alert")))
    await store.accept(notification("other", delivery("o", "u2", digest="risk_alert")))
    await store.accept(notification("plain", delivery("p")))
    claimed = await claim(queue)
    assert [each.delivery_id for each in claimed] == ["d0", "d1", "o", "p"]
    assert seen == [0, 1, 2, 0]  # who comes after one that waits goes with it
    await record(queue, *[outcome(each, "sent") for each in claimed])
    assert await claim(queue, NOW + 299) == []
    (digest,) = await claim(queue, NOW + 300)
    assert [digest.delivery_id, *[each.delivery_id for each in digest.companions]] == [
        "d2",
        "d3",
        "d4",
    ]
    assert len(digest.ids) == 3
    await record(queue, outcome(digest, "pending", due_at=NOW + 302))
    (again,) = await claim(queue, NOW + 302)
    assert len(again.companions) == 2
    await record(queue, outcome(again, "sent", NOW + 303))
    for name in ("n2", "n3", "n4"):
        assert list((await states(store, name)).values()) == ["sent"]


@pytest.mark.gen_test
async def test_a_delivery_that_would_expire_while_waiting_is_due_immediately(
    store: NotificationStore, database: Database
) -> None:
    await store.accept(notification("n1", delivery("d1", digest="t", expires_at=NOW + 100)))
    (one,) = await claim(DeliveryStore(database, lambda sent_at, now: NOW + 100))
    assert one.delivery_id == "d1"


@pytest.mark.gen_test
async def test_contacts_are_kept_and_gone_browsers_let_go_of(database: Database) -> None:
    contacts = ContactStore(database)
    assert await contacts.find(["u1"]) == {}
    await contacts.put(CONTACT, "acme", NOW)
    assert await contacts.find(["u1", "u2"]) == {"u1": (CONTACT, "acme")}
    assert await contacts.forget_subscription("u1", PUSH.endpoint) is True
    assert await contacts.forget_subscription("u1", PUSH.endpoint) is False
    assert await contacts.forget_subscription("nobody", PUSH.endpoint) is False
    assert await contacts.forget_device("u1", Device("apns", "t")) is False
    assert await contacts.forget_device("u1", Device("apns", "t", "one")) is True
    found = (await contacts.find(["u1"]))["u1"]
    assert [each.app for each in found.contact.devices] == ["two"]
    assert [each.endpoint for each in found.contact.push] == ["https://push.example/2"]
    assert found.contact.email == CONTACT.email
    await contacts.put(Contact(user_id="u1"), None, NOW)
    assert await contacts.find(["u1"]) == {"u1": (Contact(user_id="u1"), None)}


@pytest.mark.gen_test
async def test_users_are_known_by_organization_and_role_until_they_stay_away(
    database: Database,
) -> None:
    known = KnownUserStore(database)
    await known.note(
        [
            KnownUser("u1", "acme", "user", NOW),
            KnownUser("u2", "acme", "manager", NOW),
            KnownUser("u3", None, "user", NOW - 100 * DAY_S),
        ]
    )
    assert await known.find(10) == ["u1", "u2", "u3"]
    assert await known.find(2) == ["u1", "u2"]
    assert await known.find(10, organization_id="acme") == ["u1", "u2"]
    assert await known.find(10, role="user") == ["u1", "u3"]
    assert await known.find(10, organization_id="acme", role="user") == ["u1"]
    assert await known.organizations(["u1", "u3", "u9"]) == {"u1": "acme", "u3": None}
    await known.note([KnownUser("u1", None, "user", NOW)])
    assert await known.find(10, organization_id="acme") == ["u2"]
    assert await known.prune(NOW) == 1
    assert await known.find(10) == ["u1", "u2"]


@pytest.mark.gen_test
async def test_of_two_tokens_that_are_stored_out_of_order_the_later_one_counts(
    database: Database,
) -> None:
    known = KnownUserStore(database)
    for organization_id, seen_at, now in (
        ("new", NOW, "new"),
        ("late", NOW - 1, "new"),  # of another process that stores it later
        ("same", NOW, "same"),
        ("back", NOW - 3600, "back"),  # a clock that was set back
    ):
        await known.note([KnownUser("u1", organization_id, "user", seen_at)])
        assert await known.organizations(["u1"]) == {"u1": now}


@pytest.mark.gen_test
async def test_users_are_found_by_the_organization_that_was_entered(database: Database) -> None:
    known, entered = KnownUserStore(database), OrganizationStore(database)
    await known.note(
        [
            KnownUser("u1", "acme", "user", NOW),
            KnownUser("u2", "else", "manager", NOW),
            KnownUser("u3", "acme", "user", NOW),
        ]
    )
    for user_id, organization_id in (("u2", "acme"), ("u3", "else"), ("u4", "acme"), ("u5", "x")):
        await entered.put(user_id, organization_id, "boss", NOW)
    await entered.put("u5", None, "boss", NOW)
    assert dict(await entered.all()) == {"u2": "acme", "u3": "else", "u4": "acme"}
    assert await known.find(10, organization_id="acme") == ["u1", "u2", "u4"]
    assert await known.find(2, organization_id="acme") == ["u1", "u2"]
    assert await known.find(10, organization_id="acme", role="manager") == ["u2"]
    assert await known.find(10, organization_id="else") == ["u3"]
    assert await known.find(10) == ["u1", "u2", "u3"]


@pytest.mark.gen_test
async def test_whose_contacts_a_manager_has_entered_is_not_forgotten(database: Database) -> None:
    known, contacts = KnownUserStore(database), ContactStore(database)
    long_ago = NOW - 100 * DAY_S
    await known.note([KnownUser(user, "acme", "user", long_ago) for user in ("u1", "u2", "u3")])
    await contacts.put(Contact(user_id="u1"), "acme", NOW)
    await contacts.put(Contact(user_id="u2"), None, NOW)
    assert await known.prune(NOW) == 2
    assert await known.find(10) == ["u1"]
