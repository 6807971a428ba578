"""Rows after a position are exactly those committed since, whatever their times."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils

from tests.support.fake_clock import FakeClock
from tests.support.notification_rows import (
    DAY_S,
    NOW,
    claim,
    delivery,
    notification,
    outcome,
    record,
)
from tests.support.snapshot_rows import snapshot
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.migrations import MIGRATIONS
from wsserver.storage.engine.sqlite_connection import SqliteConnection
from wsserver.storage.maintenance.backup import back_up
from wsserver.storage.notifications.acknowledgements import (
    Acknowledgement,
    AcknowledgementStore,
)
from wsserver.storage.notifications.deliveries import DeliveryStore
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.storage.tables.audit import AuditEntry, AuditLog
from wsserver.storage.tables.exports import ExportBatch, ExportRange, Exports
from wsserver.storage.tables.snapshots import FIELDS, Snapshots

HOUR_S = 3600.0


@pytest.fixture
def exports(database: Database) -> Exports:
    return Exports(database)


def sequences(batch: ExportBatch) -> list[int | None]:
    return [row["sequence"] for _, row in batch.rows]


def names(batch: ExportBatch) -> list[str]:
    return [row["delivery_id"] for _, row in batch.rows]


@pytest.mark.gen_test
async def test_a_snapshot_of_an_earlier_time_comes_after_the_position_too(
    database: Database, exports: Exports
) -> None:
    snapshots = Snapshots(database)
    for number in range(3):
        await snapshots.add(snapshot(NOW + number, number))
    seen = await exports.snapshots(ExportRange())
    assert sequences(seen) == [0, 1, 2]
    assert seen.position == seen.end
    await snapshots.add(snapshot(NOW - 9999, 3))  # the clock was set back
    await snapshots.add(snapshot(NOW - 9999, 3))  # a retry
    later = await exports.snapshots(ExportRange(seen.position))
    assert sequences(later) == [3]
    assert (await exports.snapshots(ExportRange(later.position))).rows == []


@pytest.mark.gen_test
async def test_pages_and_times(database: Database, exports: Exports) -> None:
    snapshots = Snapshots(database)
    for number in range(7):
        await snapshots.add(snapshot(NOW + number, number, p99_ms=0.5))
    found, part = list[int | None](), ExportRange(limit=3, since=NOW + 1, until=NOW + 6)
    while True:
        batch = await exports.snapshots(part)
        found += sequences(batch)
        part = part._replace(after=batch.position)
        if batch.position == batch.end:
            break
    assert found == [1, 2, 3, 4, 5]
    (_, row), *_ = batch.rows or (await exports.snapshots(ExportRange())).rows
    assert {"timestamp", "node", "sequence", "samples", "p99_ms", *FIELDS} == set(row)


@pytest.mark.gen_test
async def test_means_stand_in_only_for_what_left_the_retention_unseen(
    database: Database, exports: Exports
) -> None:
    snapshots = Snapshots(database)
    start = NOW // HOUR_S * HOUR_S
    for number in range(6):
        await snapshots.add(snapshot(start + number * HOUR_S / 2, number))
    seen = await exports.snapshots(ExportRange(limit=3))
    assert sequences(seen) == [0, 1, 2]
    await snapshots.prune(start + DAY_S + 2 * HOUR_S, 1)  # four of them become two means
    rest = await exports.snapshots(ExportRange(seen.position))
    assert [(row["sequence"], row["samples"]) for _, row in rest.rows] == [
        (None, 2), (4, 1), (5, 1)
    ]  # fmt: skip
    assert rest.rows[0][1]["timestamp"] == start + HOUR_S
    await snapshots.prune(start + 3 * DAY_S, 1)
    assert (await exports.snapshots(ExportRange(rest.position))).rows == []
    await snapshots.prune(start + 500 * DAY_S, 1)
    await snapshots.add(snapshot(start, 6))
    assert sequences(await exports.snapshots(ExportRange(rest.position))) == [6]


@pytest.mark.gen_test
async def test_the_audit_trail_in_the_order_of_storing(
    database: Database, exports: Exports
) -> None:
    audit = AuditLog(database)
    for number in range(5):
        audit.record(
            AuditEntry(at=NOW - number, actor="u", role="admin", action="x", detail={"n": number})
        )
    audit.flush()
    seen = await exports.audit(ExportRange(limit=2))
    assert [row["detail"]["n"] for _, row in seen.rows] == [0, 1]
    rest = await exports.audit(ExportRange(seen.position))
    assert [row["detail"]["n"] for _, row in rest.rows] == [2, 3, 4]
    assert [position for position, _ in rest.rows] == [row["id"] for _, row in rest.rows]
    within = await exports.audit(ExportRange(since=NOW - 3, until=NOW - 1))
    assert [row["detail"]["n"] for _, row in within.rows] == [2, 3]
    assert (await exports.audit(ExportRange(since=NOW + 1))).rows == []


@pytest.mark.gen_test
async def test_deliveries_come_in_the_order_in_which_they_end(
    database: Database, exports: Exports
) -> None:
    store, queue = NotificationStore(database), DeliveryStore(database)
    await store.accept(
        notification(
            "n1",
            delivery("open", channel="sms"),
            delivery("mail"),
            delivery("inbox", channel="websocket"),
            delivery("nowhere", "u2", state="no_address", due_at=None),
        )
    )
    assert names(await exports.deliveries(ExportRange())) == ["open", "mail", "inbox", "nowhere"]
    first = await exports.outcomes(ExportRange())
    assert names(first) == ["nowhere"]
    await record(queue, *[outcome(e, "sent") for e in await claim(queue, channel="websocket")])
    assert (
        names(await exports.outcomes(ExportRange(first.position))) == []
    )  # it is in the inbox only
    await record(queue, *[outcome(each, "sent", NOW + 5) for each in await claim(queue)])
    receipts = AcknowledgementStore(database)
    await receipts.acknowledge([Acknowledgement("u1", ["inbox"], "delivered", NOW + 9)])
    second = await exports.outcomes(ExportRange(first.position))
    assert names(second) == ["mail", "inbox"]
    mail, inbox = (row for _, row in second.rows)
    assert (mail["state"], mail["sent_at"], inbox["state"]) == ("sent", NOW + 5, "delivered")
    assert mail["attempts"] == [{"at": NOW + 5, "outcome": "sent", "detail": ""}]
    assert (mail["title"], mail["message"], mail["params"]) == ("T", "M", None)
    await receipts.acknowledge([Acknowledgement("u1", ["inbox"], "read", NOW + 10)])
    assert (await exports.outcomes(ExportRange(second.position))).rows == []
    assert await store.cancel("n1") == 1
    assert names(await exports.outcomes(ExportRange(second.position))) == ["open"]


@pytest.mark.gen_test
async def test_what_is_tried_again_by_hand_comes_again_when_it_has_ended_again(
    database: Database, exports: Exports
) -> None:
    store, queue = NotificationStore(database), DeliveryStore(database)
    await store.accept(notification("n1", delivery("a"), delivery("b")))
    await record(queue, *[outcome(each, "failed") for each in await claim(queue)])
    failed = await exports.outcomes(ExportRange())
    assert names(failed) == ["a", "b"]
    assert await store.retry("n1", NOW + 60) == 2
    assert (await exports.outcomes(ExportRange())).rows == []
    claimed = await claim(queue, NOW + 60)
    await record(queue, *[outcome(each, "sent", NOW + 61) for each in reversed(claimed)])
    again = await exports.outcomes(ExportRange(failed.position))
    assert [(row["delivery_id"], row["state"]) for _, row in again.rows] == [
        ("b", "sent"), ("a", "sent")
    ]  # fmt: skip
    await store.prune(NOW + 99 * DAY_S, DAY_S)
    gone = await exports.outcomes(ExportRange())
    assert (gone.rows, gone.end) == ([], again.end)


@pytest.mark.gen_test
async def test_deliveries_of_a_time_and_an_organization(
    database: Database, exports: Exports
) -> None:
    store = NotificationStore(database)
    for number in range(4):
        params = {"template": "device_status", "content": json.dumps({"device_id": number})}
        await store.accept(
            notification(
                f"n{number}",
                delivery(f"d{number}", state="no_address", due_at=None),
                at=NOW + number,
                organization_id="acme" if number % 2 else None,
                **params,
            )
        )
    for read in (exports.deliveries, exports.outcomes):
        assert names(await read(ExportRange(since=NOW + 1, until=NOW + 3))) == ["d1", "d2"]
        assert names(await read(ExportRange(), "acme")) == ["d1", "d3"]
        assert names(await read(ExportRange(limit=1, since=NOW + 2))) == ["d2"]
    (_, row), *_ = (await exports.deliveries(ExportRange())).rows
    assert (row["params"], row["title"]) == ({"device_id": 0}, None)


@pytest.mark.sqlite_only
@pytest.mark.gen_test
async def test_a_backup_has_a_numbering_of_its_own(
    database: Database, exports: Exports, path: Path, tmp_path: Path
) -> None:
    await Snapshots(database).add(snapshot(NOW, 1))
    epoch = (await exports.snapshots(ExportRange())).epoch
    assert (await exports.audit(ExportRange())).epoch == epoch
    back_up(path, tmp_path / "copy.sqlite3", FakeClock())
    with closing(sqlite_utils.Database(tmp_path / "copy.sqlite3")) as copy:
        (other,) = copy.execute("SELECT value FROM meta WHERE key = 'export_epoch'").fetchone()
    assert other != epoch


@pytest.mark.sqlite_only
@pytest.mark.gen_test
async def test_a_file_from_before_exports_is_numbered_as_it_is(
    path: Path, make_database: Callable[..., Database]
) -> None:
    path.parent.mkdir()
    columns, marks = ", ".join(FIELDS), ", ".join("7" * len(FIELDS))
    with closing(sqlite_utils.Database(path)) as db:
        MIGRATIONS.apply(db, stop_before="m0023_exports")
        for hour in (7200, 3600):
            db.execute(
                f"INSERT INTO snapshot_hours (hour, node, samples, {columns}, extra)"
                f" VALUES ({hour}, 'n1', 2, {marks}, '{{}}')"
            )
        for at in (90_000.5, 80_000.5):
            db.execute(
                f"INSERT INTO snapshots (at, node, sequence, {columns})"
                f" VALUES ({at}, 'n1', 1, {marks})"
            )
        db.execute(
            "INSERT INTO notifications (notification_id, at, expires_at, type, content, recipients)"
            " VALUES ('n1', 1, 2, 'info', '{}', '{}')"
        )
        for name, state in (("a", "pending"), ("b", "failed"), ("c", "sent"), ("d", "read")):
            db.execute(
                "INSERT INTO deliveries (delivery_id, notification, user_id, channel, state,"
                " expires_at, unless_acknowledged) VALUES (?, 1, 'u', 'websocket', ?, 2, 0)",
                [name, state],
            )
    database = make_database()
    await database.open()
    exports = Exports(database)
    seen = await exports.snapshots(ExportRange())
    assert [row["timestamp"] for _, row in seen.rows] == [3600, 7200, 80_000.5, 90_000.5]
    assert [position for position, _ in seen.rows] == [1, 2, 3, 4]
    assert seen.rows[0][1]["errors"] == 3.5
    assert names(await exports.outcomes(ExportRange())) == ["b", "d"]
    await Snapshots(database).add(snapshot(NOW, 9))
    assert sequences(await exports.snapshots(ExportRange(seen.position))) == [9]


@pytest.mark.sqlite_only
@pytest.mark.gen_test
async def test_numbers_begin_above_the_means_where_there_is_nothing_else(
    path: Path, make_database: Callable[..., Database]
) -> None:
    path.parent.mkdir()
    columns, marks = ", ".join(FIELDS), ", ".join("7" * len(FIELDS))
    with closing(sqlite_utils.Database(path)) as db:
        MIGRATIONS.apply(db, stop_before="m0023_exports")
        db.execute(
            f"INSERT INTO snapshot_hours (hour, node, samples, {columns}, extra)"
            f" VALUES (3600, 'n1', 2, {marks}, '{{}}')"
        )
    database = make_database()
    await database.open()
    exports = Exports(database)
    seen = await exports.snapshots(ExportRange())
    await Snapshots(database).add(snapshot(NOW, 9))
    assert sequences(await exports.snapshots(ExportRange(seen.position))) == [9]


@pytest.mark.sqlite_only
@pytest.mark.gen_test
@pytest.mark.parametrize("what", ["snapshots", "audit", "outcomes", "deliveries"])
async def test_no_page_is_sorted_or_counted(
    database: Database, exports: Exports, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page costs what is on it: its plan has no sorting, and no scan but in order."""
    plans: list[str] = []

    async def read(fn: Callable[[Connection], Any]) -> Any:
        def traced(db: Connection) -> Any:
            assert isinstance(db, SqliteConnection)
            statements: list[str] = []
            db.set_trace_callback(statements.append)
            try:
                return fn(db)
            finally:
                db.set_trace_callback(None)
                for sql in statements:
                    rows = db.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
                    plans.extend(row[3] for row in rows)

        return await Database.read(database, traced)

    monkeypatch.setattr(database, "read", read)
    await getattr(exports, what)(ExportRange(5, since=1.0, until=2.0))
    assert plans
    assert not [plan for plan in plans if "TEMP B-TREE" in plan or plan.startswith("SCAN audit")]
