"""Pages of every stored list are limited in bytes, and continue without a gap."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.notification_rows import NOW, claim, delivery, notification, outcome, record
from wsserver import paging
from wsserver.storage.engine.database import Database
from wsserver.storage.notifications import notification_rows
from wsserver.storage.notifications.deliveries import DeliveryStore
from wsserver.storage.notifications.notification_rows import Filters
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.storage.tables.audit import AuditEntry, AuditLog
from wsserver.storage.tables.exports import ExportBatch, ExportRange, Exports
from wsserver.storage.tables.webhooks import Posting, WebhookOutbox

COUNT = 12
TEXT = "长" * 1000


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE_BYTES", 15_000)


async def pages(read: Callable[[str | None], Awaitable[Any]]) -> list[list[Any]]:
    """All pages of a list."""
    found = []
    cursor: str | None = None
    while True:
        page = await read(cursor)
        assert page.total == COUNT
        assert page.items
        found.append(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return found


async def fill_audit(database: Database) -> AuditLog:
    audit = AuditLog(database)
    for number in range(COUNT):
        audit.record(
            AuditEntry(
                at=NOW + number, actor="u1", role="admin", action="x", detail={"reason": TEXT}
            )
        )
    audit.flush()
    await database.settle()
    return audit


async def fill_notifications(database: Database) -> NotificationStore:
    store = NotificationStore(database)
    for number in range(COUNT):
        text = f'{{"title":"T","message":"{TEXT}"}}'
        await store.accept(
            notification(f"n{number}", delivery(f"d{number}", due_at=None), content=text)
        )
    return store


@pytest.mark.gen_test
async def test_the_audit_trail(database: Database) -> None:
    audit = await fill_audit(database)
    found = await pages(lambda cursor: audit.page(1000, cursor))
    assert len(found) >= 3
    assert [each.at - NOW for page in found for each in page] == list(range(11, -1, -1))


@pytest.mark.gen_test
async def test_notifications(database: Database) -> None:
    store = await fill_notifications(database)
    found = await pages(lambda cursor: store.page(1000, cursor, Filters()))
    assert len(found) >= 3
    names = [each.notification_id for page in found for each in page]
    assert names == [f"n{number}" for number in range(11, -1, -1)]


@pytest.mark.gen_test
async def test_deliveries_of_webhooks(database: Database) -> None:
    outbox = WebhookOutbox(database)
    url = "https://example.org/" + "x" * 2000
    await outbox.add([Posting(f"h{n}", url, "e", b"{}", NOW) for n in range(COUNT)])
    found = await pages(lambda cursor: outbox.page(1000, cursor, None, None))
    assert len(found) >= 2
    names = [each.posting_id for page in found for each in page]
    assert names == [f"h{number}" for number in range(11, -1, -1)]


async def all_batches(read: Callable[[ExportRange], Awaitable[ExportBatch]]) -> list[ExportBatch]:
    """All answers of an export, one taking up where the one before has ended."""
    batches = [await read(ExportRange())]
    while batches[-1].position < batches[-1].end:
        batches.append(await read(ExportRange(batches[-1].position)))
    return batches


@pytest.mark.gen_test
async def test_exports_go_on_where_the_bytes_ended(database: Database) -> None:
    await fill_audit(database)
    await fill_notifications(database)
    exports = Exports(database)
    batches = await all_batches(exports.audit)
    assert len(batches) >= 3
    assert [row["at"] - NOW for each in batches for _, row in each.rows] == list(range(12))
    batches = await all_batches(exports.deliveries)
    assert len(batches) >= 3
    names = [row["delivery_id"] for each in batches for _, row in each.rows]
    assert names == [f"d{number}" for number in range(12)]
    assert (await exports.snapshots(ExportRange())).rows == []


@pytest.mark.gen_test
async def test_one_notification_lists_what_fits(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, queue = NotificationStore(database), DeliveryStore(database)
    some = [delivery(f"d{number:02}", f"u{number:02}") for number in range(40)]
    await store.accept(notification("n", *some))
    found = await store.get("n")
    assert found is not None
    assert 5 < len(found.deliveries) < 30
    assert [each.delivery_id for each in found.deliveries] == [
        f"d{number:02}" for number in range(len(found.deliveries))
    ]
    assert found.states == {"pending": 40}  # counted are all
    # Retried by hand again and again, a delivery shows its latest attempts.
    monkeypatch.setattr(notification_rows, "ATTEMPTS_LISTED", 3)
    await store.accept(notification("m", delivery("e", "u99", due_at=NOW - 1)))
    for number in range(5):
        for claimed in await claim(queue, limit=100):
            if claimed.ids and claimed.delivery_id == "e":
                await record(queue, outcome(claimed, "pending", due_at=NOW, detail=f"try {number}"))
    again = await store.get("m")
    assert again is not None
    assert [each.detail for each in again.deliveries[0].attempts] == ["try 2", "try 3", "try 4"]
