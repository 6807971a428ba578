"""Counts of stored messages and pending deliveries."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.message_rows import message
from tests.support.notification_rows import (
    DAY_S,
    NOW,
    claim,
    delivery,
    notification,
    outcome,
    record,
)
from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.database import Database
from wsserver.storage.maintenance.storage_statistics import (
    LATE_S,
    ChannelBacklog,
    StorageStatistics,
)
from wsserver.storage.messages.streams import StreamStore
from wsserver.storage.notifications.deliveries import DeliveryStore
from wsserver.storage.notifications.notifications import NotificationStore


@pytest.mark.gen_test
async def test_an_empty_database_has_nothing_but_room(database: Database, path: Path) -> None:
    found = await StorageStatistics(database).read(NOW)
    assert found.disk_total_bytes == shutil.disk_usage(path.parent).total
    assert 0 < found.disk_free_bytes <= found.disk_total_bytes
    assert (found.streams, found.messages, found.late, found.channels) == (0, 0, 0, {})


@pytest.mark.gen_test
async def test_messages_are_late_long_after_their_time(database: Database) -> None:
    store = StreamStore(database)
    await store.append([message("session:s1", "msg_1", expires_at=NOW)])
    await store.append([message("session:s2", "msg_2", expires_at=NOW + LATE_S)])
    look = StorageStatistics(database).read
    for now, late in ((NOW, 0), (NOW + LATE_S, 0), (NOW + LATE_S + 1, 1)):
        found = await look(now)
        assert (found.streams, found.messages, found.late) == (2, 2, late)


@pytest.mark.gen_test
async def test_pending_deliveries_are_counted_by_channel(database: Database) -> None:
    await NotificationStore(database).accept(
        notification(
            "n1",
            delivery("d1", due_at=NOW - 60),
            delivery("d2", due_at=NOW - 10, user_id="u2"),
            delivery("d3", channel="sms", due_at=NOW + 60),
            delivery("d4", channel="push", state="not_configured", due_at=None),
        )
    )
    found = await StorageStatistics(database).read(NOW)
    assert found.channels == {
        "email": ChannelBacklog(waiting=2, due_since=NOW - 60),
        "sms": ChannelBacklog(waiting=1),
        "push": ChannelBacklog(not_configured=1),
    }


@pytest.mark.gen_test
async def test_failed_deliveries_are_counted_for_a_day(database: Database) -> None:
    queue = DeliveryStore(database)
    await NotificationStore(database).accept(notification("n1", delivery("d1")))
    (claimed,) = await claim(queue)
    await record(queue, outcome(claimed, "failed", outcome="failed"))
    look = StorageStatistics(database).read
    assert (await look(NOW + DAY_S)).channels == {"email": ChannelBacklog(failed=1)}
    assert (await look(NOW + DAY_S + 1)).channels == {}


@pytest.mark.gen_test
async def test_a_database_that_is_closed_says_so(database: Database) -> None:
    await database.close()
    with pytest.raises(StorageUnavailable):
        await StorageStatistics(database).read(NOW)
