"""What operators are shown of responders, accounts and sessions, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from wsserver.extensions.accounts.extension import ACCOUNTS
from wsserver.extensions.accounts.store import (
    AccountOutbox,
    AccountStore,
    ContactSession,
    Outgoing,
    begin_session,
)
from wsserver.extensions.responders.extension import RESPONDERS
from wsserver.extensions.responders.store import LEASE_S, Turn, TurnStore, Waiting
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.extension_schema import POSTGRESQL, apply_steps
from wsserver.storage.messages.conversations import (
    ConversationStore,
    Holder,
    HolderWish,
    SessionFilter,
)

NOW = 1_700_000_000.0


@pytest.mark.gen_test
async def test_what_waits_for_a_responder_and_what_failed(database: Database) -> None:
    await database.run(lambda db: apply_steps(db, database.KIND, [RESPONDERS.schema], NOW))
    store = TurnStore(database)
    for number, session_id in enumerate(("s1", "s2", "s3")):
        await store.note(session_id, "bot", 1, NOW + number)
    await store.note("s4", "other", 1, NOW)
    assert await store.claim("s1", NOW) is not None
    await store.claim("s3", NOW)
    await store.end("s3", 1, failures=1)
    await store.note("s3", "bot", 2, NOW + 9)
    assert await store.waiting() == {"bot": Waiting(3, 1, NOW), "other": Waiting(1, 0, NOW)}
    assert await store.queue("bot", NOW) == [
        Turn("s1", NOW, 0, True),
        Turn("s2", NOW + 1, 0, False),
        Turn("s3", NOW + 9, 1, False),
    ]
    lost = await store.queue("bot", NOW + 2 * LEASE_S)
    assert [each.is_answering for each in lost] == [False] * 3
    for number in range(25):
        await store.note_failure("bot", f"s{number}", "why", NOW + number)
        await store.note_failure("other", "s", "why", NOW)
    kept = await store.failures("bot")
    assert [each.session_id for each in kept] == [f"s{number}" for number in range(24, 4, -1)]
    assert len(await store.failures("other")) == 20


@pytest.mark.gen_test
async def test_what_an_account_has_not_sent(database: Database) -> None:
    await database.run(lambda db: apply_steps(db, database.KIND, [ACCOUNTS.schema], NOW))
    store, outbox = AccountStore(database), AccountOutbox(database)
    await database.run(lambda db: begin_session(db, "s1", "main", "ann", NOW))
    session = ContactSession("s1", "main", "ann", 0)
    await store.add(session, 2, [Outgoing("m1", "bob", b"{}"), Outgoing("m2", None, b"{}")], NOW)
    assert [each.message_id for each in await outbox.unsent("main")] == ["m2", "m1"]
    assert await outbox.unsent("other") == []
    assert await outbox.last_sent() == {}
    await database.run(
        lambda db: db.execute("UPDATE account_outbox SET state = 'sent' WHERE message_id = 'm1'")
    )
    (left,) = await outbox.unsent("main")
    assert (left.message_id, left.contact, left.sender, left.state) == (
        "m2",
        "ann",
        None,
        "pending",
    )
    assert await outbox.last_sent() == {"main": NOW}


@pytest.mark.gen_test
async def test_no_query_of_the_outbox_reads_the_messages_that_were_sent(database: Database) -> None:
    if database.KIND == POSTGRESQL:
        pytest.skip("plans depend on statistics there")
    await database.run(lambda db: apply_steps(db, database.KIND, [ACCOUNTS.schema], NOW))
    unsent = "SELECT message_id FROM account_outbox WHERE account = ? AND state <> 'sent'"
    for sql, index in (
        (f"{unsent} ORDER BY id DESC LIMIT 100", "account_outbox_unsent"),
        (
            "UPDATE account_outbox SET due_at = 0 WHERE account = ? AND state IN ('dead')",
            "account_outbox_by_state",
        ),
    ):
        plan = await database.run(partial(_plan_of, sql))
        assert index in plan


def _plan_of(sql: str, db: Connection) -> str:
    rows = db.execute(f"EXPLAIN QUERY PLAN {sql}", ["main"]).fetchall()
    return str([tuple(row) for row in rows])


@pytest.mark.gen_test
async def test_sessions_by_state_and_holder(database: Database) -> None:
    store = ConversationStore(database)
    for number, session_id in enumerate(("a", "b", "c")):
        change = {"state": "pending"} if session_id != "c" else {"title": "C"}
        await store.change(session_id, change, "ops", NOW + number, lambda db: 0)
    await store.hold("b", HolderWish(Holder("ai", "bot")), "ops", NOW + 9)
    for state, holder, found in (
        ("pending", None, ["b", "a"]),
        ("pending", "none", ["a"]),
        (None, "ai", ["b"]),
        (None, "ai:bot", ["b"]),
        (None, "user", []),
        ("open", None, ["c"]),
    ):
        assert await store.matching(SessionFilter(state, holder)) == found, (state, holder)


@pytest.mark.gen_test
async def test_a_reported_status_is_noted_once_by_whichever_process(database: Database) -> None:
    await database.run(lambda db: apply_steps(db, database.KIND, [ACCOUNTS.schema], NOW))
    one, two = AccountStore(database), AccountStore(database)
    assert await one.note_status("main", "offline", NOW) is None
    assert await two.note_status("main", "offline", NOW + 1) == "offline"
    former = [store.note_status("main", "online", NOW + 2) for store in (one, two)]
    assert sorted(await asyncio.gather(*former), key=str) == ["offline", "online"]
    assert await one.statuses() == await two.statuses() == {"main": "online"}
