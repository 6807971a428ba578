"""A copy of a SQLite database in PostgreSQL goes on where the file ended."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scripts.backends.postgres import PostgresServer
from tests.support.built_in import EXTENSIONS
from tests.support.fake_clock import FakeClock
from tests.support.message_rows import message, offsets, several
from tests.support.notification_rows import LEASE, NOW, claim, delivery, notification, outcome
from tests.support.snapshot_rows import snapshot
from wsserver.paging import LARGEST_INT
from wsserver.protocol.notifications import Contact
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.errors import DatabaseInUse, DatabaseUnusable
from wsserver.storage.engine.extension_schema import ExtensionSchema, Migration, apply_steps
from wsserver.storage.engine.postgres.connecting import Server
from wsserver.storage.engine.postgres.database import PostgresDatabase
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.maintenance.copying import copy_database
from wsserver.storage.messages.conversations import (
    ConversationStore,
    Holder,
    HolderWish,
    log_visits,
)
from wsserver.storage.messages.receipts import ReceiptStore
from wsserver.storage.messages.search import Query, SearchStore
from wsserver.storage.messages.streams import Append, StreamStore
from wsserver.storage.notifications.contacts import ContactStore
from wsserver.storage.notifications.deliveries import DeliveryStore
from wsserver.storage.notifications.known_users import KnownUser, KnownUserStore
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.storage.tables.access_lists import MemberStore, OrganizationStore, RevocationStore
from wsserver.storage.tables.audit import AuditEntry, AuditLog
from wsserver.storage.tables.exports import ExportRange, Exports
from wsserver.storage.tables.idempotency import IdempotencyStore, Quota
from wsserver.storage.tables.snapshots import Snapshots
from wsserver.storage.tables.webhooks import Posting, WebhookOutbox

pytestmark = pytest.mark.slow

QUOTA = Quota("u1", 100)


@pytest.fixture
def target(postgres: PostgresServer) -> Iterator[str]:
    url = postgres.create_database(is_empty=True)
    yield url
    postgres.drop_database(url)


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[Database]:
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def fill(database: Database, clock: FakeClock) -> None:
    """Rows in every table."""
    streams = StreamStore(database)
    await streams.append(several("session:s1", "a", "b", "c"))
    await streams.append([message("user:u1", "d", dedup=("u2", "key"), has_ttl=True)])
    await streams.expire(NOW + 9e9)
    await streams.append(several("session:s1", "e"))
    await streams.append(several("user:u1", "f", "g"))
    receipts = ReceiptStore(database)
    await receipts.record("u1", ["f"], read=True, at=NOW)
    await receipts.advance("u1", "user:u1", 2, NOW)
    notifications = NotificationStore(database)
    await notifications.accept(notification("n1", delivery("d1"), delivery("d2", "u2")))
    queue = DeliveryStore(database)
    for claimed in await claim(queue):
        await queue.record(LEASE, outcome(claimed, "sent"))
    await ContactStore(database).put(Contact(user_id="u1", email="a@b.example"), None, NOW)
    await KnownUserStore(database).note([KnownUser("u1", "o1", "user", NOW)])
    await MemberStore(database).replace("s1", ["u1", "u2"], "boss", NOW)
    await OrganizationStore(database).put("u1", "o1", "boss", NOW)
    await RevocationStore(database).add("jti", "t1", NOW)
    store = IdempotencyStore(database)
    await store.claim("u1 POST /x", "k", "f", clock.wall(), QUOTA)
    await store.finish("u1 POST /x", "k", "f", 201, {"a": "鞋"}, b"\x00\xffbody")
    audit = AuditLog(database)
    audit.record(AuditEntry(at=NOW, actor="boss", role="admin", action="x", detail={"名": 1}))
    audit.close()
    snapshots = Snapshots(database)
    for number in range(3):
        await snapshots.add(snapshot(clock.wall() - 40 * 86_400 + number, number, rate=1.5))
    await snapshots.prune(clock.wall(), 30)
    await snapshots.add(snapshot(clock.wall(), 9))
    await WebhookOutbox(database).add([Posting("hook_1", "http://x/", "e", b"{}", NOW)])
    await ConversationStore(database).hold("s1", HolderWish(Holder("ai", "fastgpt")), "admin", NOW)
    await database.run(lambda db: log_visits(db, [("s1", NOW, "u1", "joined")]))
    await database.settle()


def everything(db: Connection) -> dict[str, list[Any]]:
    """All rows by table, in the order of their texts."""
    names = (
        "meta", "streams", "messages", "dedup", "receipts", "cursors", "notifications",
        "deliveries", "attempts", "outcomes", "quota_marks", "contacts", "known_users",
        "session_members", "user_organizations", "revocations", "access_changes",
        "idempotency",
        "idempotency_quotas", "audit", "snapshot_hours", "webhook_outbox",
        "conversations", "conversation_changes", "participants", "away_queue", "away_marks",
        "away_notices", "notification_preferences",
    )  # fmt: skip
    found = {}
    for name in names:
        cursor = db.execute(f"SELECT * FROM {name}")
        columns = [column[0] for column in cursor.description or ()]
        rows = [dict(sorted(zip(columns, row, strict=True))) for row in cursor]
        found[name] = sorted(map(repr, rows))
    return found


@pytest.mark.gen_test(timeout=20)
async def test_a_copy_has_all_rows_and_goes_on_where_the_file_ended(
    path: Path, target: str, clock: FakeClock
) -> None:
    async with opened(SqliteDatabase(path, clock=clock)) as file:
        await fill(file, clock)
        with pytest.raises(DatabaseInUse):
            copy_database(path, Server(target), clock)
        before = await file.read(everything)
        export = await Exports(file).audit(ExportRange())
    made = copy_database(path, Server(target), clock)
    assert made.rows["messages"] == 3
    assert (made.rows["participants"], made.rows["conversation_changes"]) == (2, 3)
    async with opened(PostgresDatabase(target, clock=clock)) as copy:
        assert await copy.read(everything) == before
        again = await Exports(copy).audit(ExportRange(export.position))
        assert (again.rows, again.end, again.epoch) == ([], export.end, export.epoch)
        streams = StreamStore(copy)
        (position,) = await streams.append(several("session:s1", "h"))
        assert position.offset == 5
        assert position.epoch == (await streams.head("user:u1")).epoch
        assert await offsets(streams, "session:s1") == {4: "e", 5: "h"}
        (new,) = await streams.append(several("session:new", "i"))
        assert new.offset == 1
        assert await IdempotencyStore(copy).claim("u1 POST /x", "k", "f", clock.wall(), QUOTA)
        notifications = NotificationStore(copy)
        await notifications.accept(notification("n2", delivery("d3")))
        assert (await Exports(copy).deliveries(ExportRange())).end == 3
    with pytest.raises(DatabaseUnusable, match="has rows already"):
        copy_database(path, Server(target), clock)


@pytest.mark.gen_test
async def test_what_postgresql_cannot_hold_is_named_and_nothing_is_copied(
    path: Path, target: str, postgres: PostgresServer, clock: FakeClock
) -> None:
    async with opened(SqliteDatabase(path, clock=clock)) as file:
        await RevocationStore(file).add("jti", "a\x00b", NOW)
        await MemberStore(file).replace("s1", ["u1"], "boss", NOW)
    with pytest.raises(
        DatabaseUnusable, match=r"table (revocations|access_changes) has a row.*NUL"
    ):
        copy_database(path, Server(target), clock)
    name = target.rpartition("/")[2]
    assert postgres.execute("SELECT count(*) FROM session_members", name) == [(0,)]


def test_a_missing_file_is_refused(path: Path, target: str, clock: FakeClock) -> None:
    with pytest.raises(DatabaseUnusable, match="there is no database"):
        copy_database(path, Server(target), clock)


@pytest.mark.gen_test
async def test_an_older_file_is_refused(path: Path, target: str, clock: FakeClock) -> None:
    async with opened(SqliteDatabase(path, clock=clock)):
        pass
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("DELETE FROM _sqlite_migrations WHERE name = 'm0040_webhook_leases'")
    with pytest.raises(DatabaseUnusable, match="schema is older"):
        copy_database(path, Server(target), clock)


@pytest.mark.gen_test(timeout=20)
async def test_tables_of_extensions_are_copied_where_the_extension_is_installed(
    path: Path, target: str, clock: FakeClock
) -> None:
    schema = ExtensionSchema(
        "notes", (NOTES, Migration("0002_later", ("CREATE TABLE x (y TEXT)",)))
    )
    older = ExtensionSchema("notes", (NOTES,))
    async with opened(SqliteDatabase(path, clock=clock)) as file:
        await file.run(lambda db: apply_steps(db, file.KIND, [older], NOW))
        await file.run(lambda db: db.insert("notes", "text", [("a",), ("b",)]))
    for known in ((), (ExtensionSchema("notes", ()),)):
        with pytest.raises(DatabaseUnusable, match="notes"):
            copy_database(path, Server(target), clock, known)
    made = copy_database(path, Server(target), clock, (schema,))
    assert (made.rows["notes"], made.rows["extension_migrations"]) == (2, 1)
    async with opened(PostgresDatabase(target, clock=clock)) as copy:
        await copy.run(lambda db: apply_steps(db, copy.KIND, [schema], NOW))
        await copy.run(lambda db: db.insert("notes", "text", [("c",)]))
        rows = await copy.read(lambda db: db.execute("SELECT id, text FROM notes").fetchall())
        assert sorted(map(tuple, rows)) == [(1, "a"), (2, "b"), (3, "c")]


NOTES = Migration(
    "0001_notes", ("CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL)",)
)


@pytest.mark.gen_test(timeout=20)
async def test_messages_are_found_in_a_copy(path: Path, target: str, clock: FakeClock) -> None:
    payload = b'{"message":{"content":"an apple"}}'
    said = Append("session:s1", "a", "new_message", payload, NOW, NOW + 9)
    async with opened(SqliteDatabase(path, clock=clock)) as file:
        await StreamStore(file).append([said])
        await SearchStore(file).begin()
        while await SearchStore(file).prepare() or await SearchStore(file).index():
            pass
    copy_database(path, Server(target), clock)
    async with opened(PostgresDatabase(target, clock=clock)) as copy:
        store = SearchStore(copy)
        await store.begin()
        while await store.prepare() or await store.index():
            pass
        query = Query(["apple"], None, LARGEST_INT, NOW, 9)
        assert [hit.snippet for hit in (await store.find(query)).hits] == ["an apple"]


@pytest.mark.gen_test(timeout=20)
async def test_numbers_of_the_outbox_of_accounts_go_on(
    path: Path, target: str, clock: FakeClock
) -> None:
    def add(db: Connection, message_id: str) -> list[Any]:
        columns = "message_id, account, session_id, contact, content, at, due_at"
        db.insert("account_outbox", columns, [[message_id, "a", "s", "ann", b"{}", NOW, NOW]])
        rows = db.execute("SELECT id, message_id FROM account_outbox ORDER BY id").fetchall()
        return list(map(tuple, rows))

    async with opened(SqliteDatabase(path, clock=clock)) as file:
        await file.run(lambda db: apply_steps(db, file.KIND, EXTENSIONS.schemas, NOW))
        for name in ("m1", "m2"):
            await file.run(partial(add, message_id=name))
    made = copy_database(path, Server(target), clock, EXTENSIONS.schemas)
    assert made.rows["account_outbox"] == 2
    async with opened(PostgresDatabase(target, clock=clock)) as copy:
        rows = await copy.run(partial(add, message_id="m3"))
    assert rows == [(1, "m1"), (2, "m2"), (3, "m3")]
