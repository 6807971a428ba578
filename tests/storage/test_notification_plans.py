"""Query plans: notifications are found by an index, however many are stored."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.message_rows import in_every_reader
from tests.support.notification_rows import NOW, claim, delivery, notification, outcome, record
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.leased_table import Lease, Result
from wsserver.storage.notifications.acknowledgements import (
    Acknowledgement,
    AcknowledgementStore,
)
from wsserver.storage.notifications.deliveries import DeliveryStore
from wsserver.storage.notifications.feed import FeedStore, Marking
from wsserver.storage.notifications.notification_rows import Filters
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.storage.tables.webhooks import Posting, WebhookOutbox

SCAN = re.compile(
    r"\bSCAN (n|d|m|notifications|deliveries|attempts|messages|webhook_outbox)\b(?! USING INDEX)"
)
RARE = ("pending", "sending", "failed", "cancelled", "expired", "not_configured", "no_address")


@pytest.mark.gen_test
async def test_every_statement_finds_its_rows_by_an_index(database: Database) -> None:
    store, queue = NotificationStore(database), DeliveryStore(database)
    receipts = AcknowledgementStore(database)
    statements: set[str] = set()

    def watch(db: Any) -> None:
        db.set_trace_callback(statements.add)

    await database.run(watch)
    await in_every_reader(database, watch)
    await store.accept(
        notification("n1", delivery("m1", channel="websocket"), delivery("d1", digest="x"))
    )
    for channel in ("websocket", "email"):
        await queue.next_due(channel, NOW)
        for each in await claim(queue, channel=channel):
            await record(queue, outcome(each, "sent"))
    outbox, lease = WebhookOutbox(database), Lease("me", NOW + 60)
    await outbox.add([Posting(name, "https://a.example/", "e", b"{}", NOW) for name in "ab"])
    await outbox.next_due("https://a.example/", NOW)
    postings = await outbox.claim("https://a.example/", NOW, 9, lease)
    for state, posting in zip(("sent", "failed"), postings, strict=True):
        await outbox.record(lease, Result(posting.ids, state, None, NOW, state))
    for table in (queue, outbox):
        await table.release(NOW)
        await table.bring_forward(1.0, NOW, NOW)
    await queue.expire(NOW)
    await receipts.reconcile()
    await receipts.acknowledge([Acknowledgement("u1", ["m1"], "read", NOW)])
    await receipts.messages_of("u1", ["n1"])
    feed = FeedStore(database)
    for is_archived, is_unread in ((False, False), (False, True), (True, False)):
        await feed.page("u1", 10, None, is_archived=is_archived, is_unread=is_unread)
    await feed.unread_of(["u1", "u2"])
    await feed.mark("u1", Marking(["n1"], None, False, True), NOW)
    await feed.mark("u1", Marking(None, "n1", True, False), NOW)
    await store.get("n1")
    await store.retry("n1", NOW)
    await store.cancel("n1")
    asked: list[dict[str, Any]] = [{"user_id": "u1"}, {"user_id": "u1", "channel": "email"}]
    for filters in [
        *asked,
        *[{"state": state} for state in RARE],
        {"user_id": "u1", "state": "sent"},
    ]:
        await store.page(10, None, Filters(**filters))
    await store.prune(NOW, 1.0)

    slow: dict[str, list[str]] = {}

    def explain(db: Any) -> None:
        db.set_trace_callback(None)
        explained = [sql for sql in statements if sql.startswith(("SELECT", "UPDATE", "DELETE"))]
        assert len(explained) > 40
        for sql in explained:
            steps = [detail for *_, detail in db.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()]
            if SCAN.search(" / ".join(steps)):
                slow[sql] = steps

    await database.run(explain)
    assert slow == {}
