from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlite_utils

from wsserver.storage.database import Database
from wsserver.storage.members import MemberStore
from wsserver.storage.migrations import MIGRATIONS
from wsserver.storage.schema_steps import applied_names, known_names
from wsserver.storage.streams import Counts, StreamStore

RELEASED = {
    "m0001_snapshots",
    "m0002_audit",
    "m0003_revocations",
    "m0004_idempotency",
    "m0005_session_members",
    "m0006_audit_by_outcome",
    "m0007_streams",
    "m0008_receipts",
    "m0009_notifications",
    "m0020_webhook_outbox",
    "m0022_deliveries_ended",
    "m0023_exports",
}


def test_applying_again_changes_nothing() -> None:
    with sqlite_utils.Database(memory=True) as db:
        MIGRATIONS.apply(db)
        before = db.schema
        MIGRATIONS.apply(db)
        assert db.schema == before
        assert applied_names(db) == sorted(known_names())


def test_no_released_step_is_renamed_or_removed() -> None:
    assert known_names() >= RELEASED


@pytest.mark.gen_test
async def test_a_file_from_before_there_were_streams_keeps_its_data(
    path: Path, make_database: Callable[..., Database]
) -> None:
    path.parent.mkdir()
    with closing(sqlite_utils.Database(path)) as db:
        MIGRATIONS.apply(db, stop_before="m0007_streams")
        assert "streams" not in db.table_names()
        db.execute("INSERT INTO session_members VALUES ('s1', 'u1', 'admin', 1.0)")
    database = make_database()
    await database.open()
    assert await MemberStore(database).all() == [("s1", "u1")]
    streams = StreamStore(database)
    assert await streams.count() == Counts(0, 0)
    epoch = (await streams.head("session:s1")).epoch
    await database.close()
    again = make_database()
    await again.open()
    assert (await StreamStore(again).head("session:s1")).epoch == epoch
