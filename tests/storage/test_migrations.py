from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlite_utils

from wsserver.paging import LARGEST_INT
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.leased_table import Lease
from wsserver.storage.engine.migrations import MIGRATIONS, applied_names, known_names
from wsserver.storage.engine.sqlite_connection import SqliteConnection
from wsserver.storage.messages import stream_appends
from wsserver.storage.messages.search import Query, SearchStore
from wsserver.storage.messages.search_rows import is_of_this_version
from wsserver.storage.messages.streams import Append, Counts, StreamStore
from wsserver.storage.notifications.contacts import ContactStore
from wsserver.storage.tables.access_lists import MemberStore, OrganizationStore
from wsserver.storage.tables.webhooks import WebhookOutbox

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
    "m0035_idempotency_quotas",
    "m0030_user_organizations",
    "m0031_marks_by_organization",
    "m0040_webhook_leases",
    "m0042_access_changes",
    "m0043_leases",
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


@pytest.mark.gen_test
async def test_organizations_of_contacts_are_not_migrated_to_assigned_organizations(
    path: Path, make_database: Callable[..., Database]
) -> None:
    """A manager's word does not decide where a user belongs; the addresses stay the manager's."""
    path.parent.mkdir()
    with closing(sqlite_utils.Database(path)) as db:
        MIGRATIONS.apply(db, stop_before="m0030_user_organizations")
        db.execute("INSERT INTO contacts VALUES ('u1', 'acme', '{\"user_id\":\"u1\"}', 1.0)")
        db.execute("INSERT INTO known_users VALUES ('u2', 'acme', 'user', 1.0)")
        db.execute("INSERT INTO known_users VALUES ('u3', NULL, 'user', 1.0)")
        for scope in ("user:u2", "user:u3", "user:u4", "organization:acme"):
            db.execute(
                "INSERT INTO quota_marks VALUES (?, 'cost_warning', '2024-01', 80, 1.0)", [scope]
            )
    database = make_database()
    await database.open()
    assert await OrganizationStore(database).all() == []
    found = await ContactStore(database).find(["u1"])
    assert found["u1"].organization_id == "acme"
    marks = await database.read(
        lambda db: [row[0] for row in db.execute("SELECT scope FROM quota_marks ORDER BY 1")]
    )
    # A threshold that u2 was notified of in this period is not notified again by a manager.
    assert marks == [
        *("organization:acme", "user:u2", "user:u2 of organization:acme", "user:u3", "user:u4"),
    ]


@pytest.mark.gen_test
async def test_postings_from_before_there_were_leases_keep_their_state(
    path: Path, make_database: Callable[..., Database]
) -> None:
    path.parent.mkdir()
    with closing(sqlite_utils.Database(path)) as db:
        MIGRATIONS.apply(db, stop_before="m0040_webhook_leases")
        db.execute(
            "INSERT INTO webhook_outbox (posting_id, url, event, body, at, attempts, due_at)"
            " VALUES ('h1', 'u', 'e', x'7b7d', 1.0, 3, 9.0),"
            " ('h2', 'u', 'e', x'7b7d', 2.0, 8, NULL)"
        )
    database = make_database()
    await database.open()
    outbox = WebhookOutbox(database)
    assert await outbox.waiting() == [("u", 1, 2)]
    (one,) = await outbox.claim("u", 9.0, 10, Lease("a", 99.0))
    assert (one.delivery_id, one.attempt) == ("h1", 4)
    page = await outbox.page(10, None, is_given_up=True, event=None)
    assert [each.posting_id for each in page.items] == ["h2"]


@pytest.mark.gen_test
async def test_a_new_index_of_messages_is_filled_from_what_is_stored(
    path: Path, make_database: Callable[..., Database]
) -> None:
    path.parent.mkdir()
    payload = b'{"type":"new_message","message":{"content":"apple"}}'
    message = Append("session:s1", "m1", "new_message", payload, 1.0, 9e9)
    with closing(sqlite3.connect(path, isolation_level=None, factory=SqliteConnection)) as db:
        before = sqlite_utils.Database(db, execute_plugins=False)
        MIGRATIONS.apply(before, stop_before="m0061_trigrams")
        stream_appends.append(db, [message])
        (key,) = db.execute("SELECT key FROM search_queue").fetchone()
        db.execute("DELETE FROM search_queue")
        db.execute("INSERT INTO search_docs (id, key, is_indexed) VALUES (1, ?, 1)", [key])
        db.execute("INSERT INTO search_grams (rowid, grams) VALUES (1, 'app ppl ple')")
        db.execute("INSERT INTO meta (key, value) VALUES ('search_version', 'former')")
    database = make_database()
    await database.open()
    store = SearchStore(database)
    assert not await database.read(is_of_this_version)
    await store.begin()
    while await store.prepare() or await store.index():
        pass
    query = Query(["pple"], None, LARGEST_INT, 2.0, 10)
    assert [hit.found.message_id for hit in (await store.find(query)).hits] == ["m1"]
