"""The table of calls, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.extensions.test_call_model import ALICE, LIMITS, NOW, call
from wsserver.errors import RateLimited
from wsserver.extensions.calls import model
from wsserver.extensions.calls.errors import BadCallState, CallBusy
from wsserver.extensions.calls.extension import CALLS
from wsserver.extensions.calls.model import Party
from wsserver.extensions.calls.store import CALLS_A_MINUTE, CallStore
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.extension_schema import apply_steps


async def opened(database: Database) -> CallStore:
    await database.run(lambda db: apply_steps(db, database.KIND, [CALLS.schema], NOW))
    return CallStore(database, LIMITS)


@pytest.mark.gen_test
async def test_a_session_and_a_connection_have_one_call_at_a_time(database: Database) -> None:
    store = await opened(database)
    await store.add(call())
    assert await store.get("call_1") == call()
    assert await store.get("call_2") is None
    for other in (
        call(call_id="call_2", caller=Party("dora", None, "conn_d", NOW)),
        call(call_id="call_2", session_id="s2"),
    ):
        with pytest.raises(CallBusy) as busy:
            await store.add(other)
        assert busy.value.details == {"call_id": "call_1"}
    assert await store.change("call_9", model.notified) is None
    await store.change("call_1", lambda each: model.cancelled(each, "alice", None, NOW))
    await store.add(call(call_id="call_2"))


@pytest.mark.gen_test
async def test_of_devices_that_answer_at_once_one_has_the_call(database: Database) -> None:
    store = await opened(database)
    await store.add(call())

    def answer(number: int) -> Any:
        party = Party("bob", None, f"conn_{number}", NOW)
        return store.change("call_1", lambda each: model.answered(each, party, NOW))

    outcomes = await asyncio.gather(*map(answer, range(6)), return_exceptions=True)
    assert [type(each) for each in outcomes].count(BadCallState) == 5
    found = await store.get("call_1")
    assert found is not None
    assert found.callee is not None
    callee = found.callee.connection_id
    assert await store.of_connections(["conn_x", callee]) == [found]
    assert await store.confirm(["conn_x", callee], NOW + 5) == {callee}
    confirmed = await store.get("call_1")
    assert confirmed is not None
    assert confirmed.callee == Party("bob", None, callee, NOW + 5)
    assert await store.open_calls() == [confirmed]


@pytest.mark.gen_test
async def test_one_user_begins_so_many_calls_a_minute(database: Database) -> None:
    store = await opened(database)
    for number in range(CALLS_A_MINUTE):
        await store.add(call("ended", call_id=f"call_{number}", created_at=NOW + number))
    with pytest.raises(RateLimited) as limited:
        await store.add(call(call_id="call_x", created_at=NOW + 30))
    assert limited.value.details == {"retry_after_ms": 30_001}
    await store.add(call(call_id="call_x", created_at=NOW + 60.5))


@pytest.mark.gen_test
async def test_calls_are_due_in_time_and_deleted_long_after(database: Database) -> None:
    store = await opened(database)
    await store.add(call())
    assert await store.due(NOW + 44) == []
    assert await store.due(NOW + 45) == [call()]
    later = NOW + 45
    await store.change("call_1", lambda each: model.passed(each, LIMITS, later))
    (missed,) = await store.due(later)
    assert missed.state == "missed"
    await store.change("call_1", model.notified)
    assert await store.due(later + 999) == []
    await store.add(call(call_id="call_2", caller=ALICE, created_at=later))
    await store.prune(later)
    assert await store.get("call_1") is not None
    await store.prune(later + 1)
    assert await store.get("call_1") is None
    assert await store.get("call_2") is not None
    rows = await database.read(lambda db: db.execute("SELECT * FROM call_users").fetchall())
    assert sorted(map(tuple, rows)) == [("call_2", each) for each in ("alice", "bob", "carol")]
