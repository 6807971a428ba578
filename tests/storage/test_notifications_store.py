"""Notifications are stored atomically and once, and read with deliveries and attempts."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.support.message_rows import rows
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
from wsserver.errors import BadRequest
from wsserver.storage.engine.database import Database
from wsserver.storage.notifications.deliveries import DeliveryStore
from wsserver.storage.notifications.notification_rows import Filters
from wsserver.storage.notifications.notifications import Marks, NotificationStore, _prune_deliveries


@pytest.fixture
def store(database: Database) -> NotificationStore:
    return NotificationStore(database)


@pytest.fixture
def queue(database: Database) -> DeliveryStore:
    return DeliveryStore(database)


@pytest.mark.gen_test
async def test_a_notification_is_read_back_as_it_was_stored(store: NotificationStore) -> None:
    new = notification(
        "notify_1",
        delivery("msg_1", channel="websocket"),
        delivery("delivery_1", state="no_address", due_at=None),
        delivery("delivery_2", channel="sms", due_at=NOW + 60, unless_acknowledged=1),
        organization_id="acme",
    )
    assert await store.accept(new) == "notify_1"
    found = await store.get("notify_1")
    assert found is not None
    assert found[1:10] == new[:9]
    assert [each[1:8] for each in found.deliveries] == [
        ("msg_1", "u1", "websocket", "pending", NOW, NOW + DAY_S, 0),
        ("delivery_1", "u1", "email", "no_address", None, NOW + DAY_S, 0),
        ("delivery_2", "u1", "sms", "pending", NOW + 60, NOW + DAY_S, 1),
    ]
    assert found.states == {"pending": 2, "no_address": 1}
    assert await store.get("notify_1", "acme") == found
    assert await store.get("notify_1", "other") is None
    assert await store.get("notify_2") is None


@pytest.mark.gen_test
async def test_a_failure_stores_nothing_at_all(
    store: NotificationStore, database: Database
) -> None:
    with pytest.raises(Exception, match="UNIQUE"):
        await store.accept(notification("notify_1", delivery("same"), delivery("same", "u2")))
    assert (await rows(database, "notifications"), await rows(database, "deliveries")) == (0, 0)


@pytest.mark.gen_test
async def test_the_same_key_is_the_same_notification_for_a_day(store: NotificationStore) -> None:
    async def accept(name: str, at: float = NOW, once: Any = ("scope", "key")) -> str | None:
        return await store.accept(notification(name, delivery(name + "d"), at=at, once=once))

    assert await accept("notify_1") == "notify_1"
    assert await accept("notify_2") == "notify_1"
    assert await accept("notify_3", once=("scope", "other")) == "notify_3"
    assert await accept("notify_4", once=("other", "key")) == "notify_4"
    assert await accept("notify_5", at=NOW + DAY_S) == "notify_5"
    assert await accept("notify_6", at=NOW + DAY_S + 1) == "notify_5"
    assert await store.get("notify_2") is None


def warning(name: str, *thresholds: int, users: str = "u1", period: str = "2024-01") -> Any:
    marks = Marks("cost_warning", period, thresholds, {u: f"user:{u}" for u in users.split()})
    deliveries = [delivery(f"{name}_{user}", user) for user in users.split()]
    return notification(name, *deliveries, marks=marks)


@pytest.mark.gen_test
async def test_each_threshold_is_notified_once_per_user_and_period(
    store: NotificationStore,
) -> None:
    assert await store.accept(warning("n1", 80)) == "n1"
    assert await store.accept(warning("n2", 80)) is None
    assert await store.get("n2") is None
    assert await store.accept(warning("n3", 80, 95)) == "n3"
    assert await store.accept(warning("n4", 80)) is None
    assert await store.accept(warning("n5", 80, period="2024-02")) == "n5"
    # Of two users only the one not notified yet is notified.
    assert await store.accept(warning("n6", 80, users="u1 u2")) == "n6"
    assert await states(store, "n6") == {"n6_u2": "pending"}


@pytest.mark.gen_test
async def test_a_skipped_threshold_is_not_notified_afterwards(
    store: NotificationStore,
) -> None:
    assert await store.accept(warning("n1", 80, 95, 100)) == "n1"
    assert await store.accept(warning("n2", 80, 95)) is None


@pytest.mark.gen_test
async def test_marks_are_remembered_by_the_next_run(make_database: Any) -> None:
    for name, expected in (("n1", "n1"), ("n2", None)):
        database = make_database()
        await database.open()
        assert await NotificationStore(database).accept(warning(name, 80)) == expected
        await database.close()


@pytest.mark.gen_test
async def test_marks_for_many_on_one_account_are_made_once(store: NotificationStore) -> None:
    marks = Marks("cost_warning", "p", [80], {"u1": "organization:acme", "u2": "organization:acme"})
    deliveries = (delivery("d1", "u1"), delivery("d2", "u2"))
    assert await store.accept(notification("n1", *deliveries, marks=marks)) == "n1"
    assert set(await states(store, "n1")) == {"d1", "d2"}


@pytest.mark.gen_test
async def test_pages_go_back_in_time_and_pass_what_fits(store: NotificationStore) -> None:
    for number in range(5):
        await store.accept(
            notification(
                f"n{number}",
                delivery(f"d{number}", f"u{number % 2}", "sms" if number == 3 else "email"),
                delivery(f"e{number}", "u9", state="failed", due_at=None),
                at=NOW + number,
                type="error" if number == 4 else "info",
                template="maintenance" if number == 2 else None,
                organization_id="acme" if number == 1 else None,
            )
        )

    async def names(**filters: Any) -> list[str]:
        page = await store.page(100, None, Filters(**filters))
        assert page.total == len(page.items)
        return [each.notification_id for each in page.items]

    assert await names() == ["n4", "n3", "n2", "n1", "n0"]
    assert await names(since=NOW + 1, until=NOW + 3) == ["n2", "n1"]
    assert await names(type="error") == ["n4"]
    assert await names(template="maintenance") == ["n2"]
    assert await names(organization_id="acme") == ["n1"]
    assert await names(user_id="u1") == ["n3", "n1"]
    assert await names(channel="sms") == ["n3"]
    assert await names(user_id="u1", channel="email") == ["n1"]
    assert await names(state="failed", user_id="u0") == []
    first = await store.page(2, None, Filters())
    assert [each.notification_id for each in first.items] == ["n4", "n3"]
    await store.accept(notification("n5", at=NOW + 9))
    second = await store.page(2, first.next_cursor, Filters())
    assert [each.notification_id for each in second.items] == ["n2", "n1"]
    assert second.total == 6
    last = await store.page(2, second.next_cursor, Filters())
    assert [each.notification_id for each in last.items] == ["n0"]
    assert last.next_cursor is None
    with pytest.raises(BadRequest):
        await store.page(2, "nonsense", Filters())


@pytest.mark.gen_test
async def test_a_list_shows_the_first_deliveries_and_counts_them_all(
    store: NotificationStore,
) -> None:
    await store.accept(notification("n1", *[delivery(f"d{n}", f"u{n}") for n in range(8)]))
    page = await store.page(10, None, Filters(), deliveries=3)
    assert [each.user_id for each in page.items[0].deliveries] == ["u0", "u1", "u2"]
    assert page.items[0].states == {"pending": 8}
    page = await store.page(10, None, Filters(user_id="u7"))
    assert [each.user_id for each in page.items[0].deliveries] == ["u7"]
    assert page.items[0].states == {"pending": 1}


@pytest.mark.gen_test
async def test_cancelling_calls_off_what_has_not_been_sent(
    store: NotificationStore, queue: DeliveryStore
) -> None:
    await store.accept(
        notification(
            "n1", delivery("d1"), delivery("d2", "u2"), delivery("d3", "u3", due_at=NOW + 9)
        )
    )
    going, sent = await claim(queue)
    await record(queue, outcome(sent, "sent"))
    assert await store.cancel("n1") == 1
    assert await states(store, "n1") == {"d1": "sending", "d2": "sent", "d3": "cancelled"}
    await record(queue, outcome(going, "pending", due_at=NOW + 2))
    assert (await states(store, "n1"))["d1"] == "cancelled"
    assert await claim(queue, NOW + 100) == []
    assert await store.cancel("nothing") == 0


@pytest.mark.gen_test
async def test_a_retry_makes_dead_letters_due_with_all_their_attempts(
    store: NotificationStore, queue: DeliveryStore
) -> None:
    await store.accept(
        notification(
            "n1",
            delivery("d1"),
            delivery("d2", "u2", state="no_address", due_at=None),
            delivery("d3", "u3", due_at=NOW + 9),
        )
    )
    (only,) = await claim(queue)
    await record(queue, outcome(only, "failed", outcome="failed", detail="550 no such user"))
    assert await store.retry("n1", NOW + 5) == 2
    again = await claim(queue, NOW + 5)
    assert [(each.delivery_id, each.attempt) for each in again] == [("d1", 1), ("d2", 1)]
    await record(queue, *[outcome(each, "sent", NOW + 6) for each in again])
    found = await store.get("n1")
    assert found is not None
    assert [tuple(each) for each in found.deliveries[0].attempts] == [
        (1, NOW, "failed", "550 no such user"),
        (2, NOW + 6, "sent", ""),
    ]
    assert await store.retry("n1", NOW) == 0


@pytest.mark.gen_test
async def test_a_retry_past_the_time_gives_as_much_time_again(
    store: NotificationStore, queue: DeliveryStore
) -> None:
    await store.accept(notification("n1", delivery("d1", state="failed", due_at=None)))
    late = NOW + 3 * DAY_S
    assert await store.retry("n1", late) == 1
    (again,) = await claim(queue, late)
    assert again.expires_at == late + DAY_S


@pytest.mark.gen_test
async def test_what_is_old_and_settled_goes_with_its_attempts(
    store: NotificationStore, queue: DeliveryStore, database: Database
) -> None:
    await store.accept(notification("old", *[delivery(f"o{n}", f"u{n}") for n in range(700)]))
    claimed = await claim(queue, limit=1000)
    await record(queue, *[outcome(each, "sent") for each in claimed])
    await store.accept(notification("waiting", delivery("w", due_at=NOW + 1)))
    await store.accept(notification("empty"))
    await store.accept(notification("new", delivery("n"), at=NOW + 10))
    assert await store.prune(NOW + 100, 95) == 700
    assert await store.get("old") is None
    assert await store.get("empty") is None
    assert await store.get("waiting") is not None
    assert await store.get("new") is not None
    assert await rows(database, "attempts") == 0


@pytest.mark.gen_test
async def test_a_batch_leaves_nothing_for_the_next_one_to_pass_over(
    store: NotificationStore, database: Database
) -> None:
    for n in range(301):
        await store.accept(notification(f"n{n}", delivery(f"d{n}", state="no_address")))
    assert await database.run(partial(_prune_deliveries, before=NOW + 1)) == 300
    assert await rows(database, "notifications") == 1


@pytest.mark.gen_test
async def test_marks_go_after_more_than_a_year(store: NotificationStore) -> None:
    await store.accept(warning("n1", 80))
    await store.prune(NOW + 399 * DAY_S, 90 * DAY_S)
    assert await store.accept(warning("n2", 80)) is None
    await store.prune(NOW + 401 * DAY_S, 90 * DAY_S)
    assert await store.accept(warning("n3", 80)) == "n3"
