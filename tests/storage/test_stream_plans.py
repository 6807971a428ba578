"""Query plans: no operation of a message or a connection scans a table."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.message_rows import NOW, in_every_reader, message, several, wanted
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.receipts import ReceiptStore
from wsserver.storage.messages.streams import StreamStore

TABLES = re.compile(r"\bSCAN (m|s|r|c|messages|streams|receipts|cursors|dedup)\b")


@pytest.mark.gen_test
async def test_every_statement_finds_its_rows_by_an_index(database: Database) -> None:
    streams, receipts = StreamStore(database), ReceiptStore(database)
    assert await streams.trim(3) == []  # the first one looks at all streams
    statements: set[str] = set()

    def watch(db: Any) -> None:
        db.set_trace_callback(statements.add)

    await database.run(watch)
    await in_every_reader(database, watch)
    await streams.append(several("user:u1", *"abcdef", expires_at=NOW + 10))
    await streams.append([message("session:s1", name, dedup=("s", name)) for name in "stuvwx"])
    await receipts.record("u1", ["a", "b"], read=True, at=NOW)
    await receipts.advance("u1", "user:u1", 3, NOW)
    await receipts.pending("u1", NOW, 9999)
    await receipts.inbox("u1", NOW)
    await receipts.of_message("a")
    await streams.head("session:s1")
    await streams.heads(["session:s1", "user:u1", "user:u2"])
    await streams.gap("session:s1", "", 2, NOW, 2, 9999)
    await streams.read(wanted("session:s1"))
    await streams.read_back(wanted("session:s1"))
    await streams.find(["a", "t"], NOW, 9999)
    await streams.locate(["a", "t"], NOW)
    await streams.span("session:s1", NOW, NOW + 1)
    await streams.writers(["session:s1"])
    await streams.shorten(90_000.0)
    assert len(await streams.trim(4)) == 4
    assert len(await streams.expire(NOW + 10, session_s=90_000.0)) == 4

    plans: dict[str, list[str]] = {}

    def explain(db: Any) -> None:
        db.set_trace_callback(None)
        for sql in statements:
            if sql.startswith(("SELECT", "UPDATE", "DELETE")):
                steps = db.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
                plans[sql] = [detail for *_, detail in steps]

    await database.run(explain)
    assert len(plans) > 20
    slow = {sql: steps for sql, steps in plans.items() if TABLES.search(" / ".join(steps))}
    assert slow == {}
    by_expiry = [sql for sql, steps in plans.items() if "messages_by_expiry" in " / ".join(steps)]
    assert [sql for sql in by_expiry if "ORDER BY m.expires_at" not in sql] == []
