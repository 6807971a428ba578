"""Feeds and preferences in storage: pages, exact numbers, markings, migrated rows."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Any

import pytest
import sqlite_utils

from tests.support.notification_rows import NOW, claim, delivery, notification, outcome, record
from wsserver.notifications.preferences import DeliveryRules, changed
from wsserver.protocol.notifications import NO_PREFERENCES, DailyDigest, PreferencesRequest
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.migrations import MIGRATIONS
from wsserver.storage.notifications.deliveries import DeliveryStore
from wsserver.storage.notifications.feed import FeedStore, Marking, cursor_after
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.storage.notifications.preferences import PreferenceStore


@pytest.fixture
def feed(database: Database) -> FeedStore:
    return FeedStore(database)


@pytest.fixture
def store(database: Database) -> NotificationStore:
    return NotificationStore(database)


async def fill(database: Database, count: int, user_id: str = "u1") -> None:
    """Notifications ``n0`` and so on in the inbox of a user, each with an e-mail."""
    store, queue = NotificationStore(database), DeliveryStore(database)
    for number in range(count):
        name = f"{user_id}n{number}"
        await store.accept(
            notification(
                name,
                delivery(f"{name}_msg", user_id, "websocket"),
                delivery(f"{name}_mail", user_id),
                at=NOW + number,
            )
        )
    sent = await claim(queue, channel="websocket")
    await record(queue, *[outcome(each, "sent") for each in sent])


async def listed(feed: FeedStore, **options: Any) -> list[str]:
    options = {"is_archived": False, "is_unread": False, **options}
    part = await feed.page("u1", 10, None, **options)
    return [each.notification_id for each in part.entries]


@pytest.mark.gen_test
async def test_pages_and_numbers_are_of_one_user(database: Database, feed: FeedStore) -> None:
    await fill(database, 3)
    await fill(database, 1, "u2")
    part = await feed.page("u1", 2, None, is_archived=False, is_unread=False)
    assert [each.notification_id for each in part.entries] == ["u1n2", "u1n1"]
    assert (part.has_more, part.total, part.unread) == (True, 3, 3)
    rest = await feed.page(
        "u1", 2, cursor_after(part.entries[-1]), is_archived=False, is_unread=False
    )
    assert [each.notification_id for each in rest.entries] == ["u1n0"]
    assert rest.has_more is False
    assert await feed.unread_of(["u1", "u2", "u3"]) == {"u1": 3, "u2": 1}


@pytest.mark.gen_test
async def test_markings_change_what_they_name_and_can_be_undone(
    database: Database, feed: FeedStore
) -> None:
    await fill(database, 3)
    await fill(database, 1, "u2")
    read = await feed.mark("u1", Marking(["u1n1", "u2n0", "nothing"], None, True, None), NOW)
    assert (read.notification_ids, read.message_ids, read.unread) == (["u1n1"], ["u1n1_msg"], 2)
    assert await listed(feed, is_unread=True) == ["u1n2", "u1n0"]
    kept = await feed.mark("u1", Marking(None, "u1n1", None, True), NOW)
    assert (kept.notification_ids, kept.message_ids, kept.unread) == (["u1n0", "u1n1"], [], 1)
    assert await listed(feed) == ["u1n2"]
    assert await listed(feed, is_archived=True) == ["u1n1", "u1n0"]
    back = await feed.mark("u1", Marking(["u1n1"], None, False, False), NOW)
    assert (back.notification_ids, back.unread) == (["u1n1"], 2)
    assert (await feed.mark("u1", Marking(["u1n1"], None, False, False), NOW)).unread == 2
    assert await feed.unread_of(["u2"]) == {"u2": 1}
    assert (await feed.mark("u1", Marking(None, "nothing", True, None), NOW)).unread == 2


@pytest.mark.gen_test
async def test_what_waits_is_not_in_the_feed_yet(
    database: Database, feed: FeedStore, store: NotificationStore
) -> None:
    await store.accept(notification("n1", delivery("m1", "u1", "websocket")))
    assert await listed(feed) == []
    await claim(DeliveryStore(database), channel="websocket")
    assert await listed(feed) == ["n1"]
    assert (await feed.mark("u1", Marking(["n1"], None, True, None), NOW)).unread == 0


@pytest.mark.gen_test
async def test_preferences_are_changed_in_one_transaction(database: Database) -> None:
    store = PreferenceStore(database)
    assert await store.get("u1") is NO_PREFERENCES
    for channel in ("sms", "email"):
        request = PreferencesRequest(channels={"*": {channel: False}})
        await store.change("u1", partial(changed, request=request), NOW)
    assert (await store.get("u1")).channels == {"*": {"sms": False, "email": False}}
    await store.change("u1", lambda _: NO_PREFERENCES, NOW)
    assert await database.read(
        lambda db: db.execute("SELECT count(*) FROM notification_preferences").fetchall()
    ) == [(0,)]


@pytest.mark.gen_test
async def test_a_claim_goes_by_the_preferences(
    database: Database, store: NotificationStore
) -> None:
    request = PreferencesRequest(channels={"*": {"sms": False}}, daily_digest=DailyDigest("08:00"))
    await PreferenceStore(database).change("u1", partial(changed, request=request), NOW)
    await store.accept(
        notification(
            "n1", delivery("mail"), delivery("sms", channel="sms"), delivery("other", "u2")
        )
    )
    queue = DeliveryStore(database, rules=DeliveryRules())
    assert [each.delivery_id for each in await claim(queue)] == ["other"]
    assert await claim(queue, channel="sms") == []
    found = await store.get("n1")
    assert found is not None
    assert {each.delivery_id: (each.state, each.reason) for each in found.deliveries} == {
        "mail": ("pending", "daily_digest"),
        "sms": ("cancelled", "switched_off"),
        "other": ("sending", None),
    }
    due = await queue.next_due("email", NOW)
    assert due is not None
    (digest,) = await claim(queue, due)
    assert digest.is_daily
    await record(queue, outcome(digest, "sent", due))
    found = await store.get("n1")
    assert found is not None
    assert {each.reason for each in found.deliveries} == {None, "switched_off"}


@pytest.mark.sqlite_only
@pytest.mark.gen_test
async def test_what_was_acknowledged_before_there_was_a_feed_counts_as_read(
    path: Any, make_database: Any
) -> None:
    path.parent.mkdir()
    with closing(sqlite_utils.Database(path)) as db:
        MIGRATIONS.apply(db, stop_before="m0058_notification_preferences")
        for name, state, at in (("n1", "delivered", NOW), ("n2", "sent", None)):
            values = [name, NOW, NOW + 60, "info", "{}", "{}"]
            db.execute(
                "INSERT INTO notifications (notification_id, at, expires_at, type, content,"
                " recipients) VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )
            db.execute(
                "INSERT INTO deliveries (delivery_id, notification, user_id, channel, state,"
                " expires_at, unless_acknowledged, sent_at, acknowledged_at)"
                " VALUES (?, last_insert_rowid(), 'u1', 'websocket', ?, ?, 0, ?, ?)",
                [f"{name}_msg", state, NOW + 60, NOW, at],
            )
    database = make_database()
    await database.open()
    feed = FeedStore(database)
    assert await listed(feed) == ["n2", "n1"]
    assert await listed(feed, is_unread=True) == ["n2"]
