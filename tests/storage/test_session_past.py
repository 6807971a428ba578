"""A session as it was at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.support.message_rows import several
from wsserver.storage.engine.database import Database
from wsserver.storage.messages import participants
from wsserver.storage.messages.conversations import (
    ConversationStore,
    Holder,
    HolderWish,
    log_visits,
)
from wsserver.storage.messages.participants import Move
from wsserver.storage.messages.receipts import ReceiptStore
from wsserver.storage.messages.session_past import Past, PastPosition, PastSessions, PastVisit
from wsserver.storage.messages.streams import StreamStore
from wsserver.storage.tables.access_lists import MemberStore, number_members

ALICE, AI = Holder("user", "alice"), Holder("ai", "bot")


async def past(database: Database, at: float, *members: str) -> Past:
    found = await PastSessions(database).read("s1", at, members)
    assert found is not None
    return found


async def change(database: Database, at: float, **values: str | None) -> None:
    number = partial(number_members, session_id="s1")
    await ConversationStore(database).change("s1", values, "boss", at, number)


@pytest.mark.gen_test
async def test_fields_are_those_of_the_last_change_before(database: Database) -> None:
    await change(database, 10.0, title="A")
    await change(database, 20.0, title="B", state="pending", metadata='{"n":1}')
    await change(database, 30.0, title=None, organization_id="o1")
    assert await PastSessions(database).read("s1", 9.9, []) is None
    assert await PastSessions(database).read("never", 9.9, []) is None
    shown: list[dict[str, Any]] = [(await past(database, at)).fields for at in (10, 25, 99)]
    assert [each["title"] for each in shown] == ["A", "B", None]
    assert [each["state"] for each in shown] == ["open", "pending", "pending"]
    assert [each["metadata"] for each in shown] == [{}, {"n": 1}, {"n": 1}]
    assert [each["organization_id"] for each in shown] == [None, None, "o1"]
    changes = (await past(database, 20.0)).changes
    assert [(each.at, each.field) for each in changes] == [
        *((10.0, "title"), (20.0, "title"), (20.0, "state"), (20.0, "metadata"))
    ]


@pytest.mark.gen_test
async def test_the_holder_of_the_time_also_before_the_first_change(database: Database) -> None:
    await StreamStore(database, "bot").append(several("session:s1", "a", at=1.0))
    assert (await past(database, 5.0)).fields["holder"] == AI.view()
    store = ConversationStore(database)
    for at, holder in ((10.0, ALICE), (20.0, None)):
        await store.hold("s1", HolderWish(holder), "alice", at)
    found = [(await past(database, at)).fields for at in (5.0, 10.0, 20.0)]
    assert [each["holder"] for each in found] == [AI.view(), ALICE.view(), None]
    assert [each["term"] for each in found] == [0, 1, 2]


@pytest.mark.gen_test
async def test_members_are_rolled_back(database: Database) -> None:
    members = MemberStore(database)
    for at, users in ((10.0, ["u1", "u2"]), (20.0, ["u2", "u3"]), (30.0, [])):
        await members.replace("s1", users, "boss", at)
    found = [(await past(database, at)).members for at in (10.0, 25.0, 30.0)]
    assert found == [["u1", "u2"], ["u2", "u3"], []]


@pytest.mark.gen_test
async def test_who_was_there(database: Database) -> None:
    await change(database, 1.0, title="A")
    visits = [
        ("s1", 10.0, "u1", "joined"),
        ("s2", 11.0, "u9", "joined"),
        ("s1", 12.0, "u2", "joined"),
        ("s1", 20.0, "u1", "left"),
        ("s1", 25.0, "u1", "joined"),
        ("", 40.0, "", "started"),
        ("s1", 45.0, "u3", "joined"),
    ]
    await database.run(partial(log_visits, visits=visits))

    async def there(at: float) -> list[PastVisit]:
        return (await past(database, at)).present

    assert await there(9.0) == []
    assert await there(15.0) == [PastVisit("u1", 10.0, 20.0), PastVisit("u2", 12.0, 40.0)]
    assert await there(22.0) == [PastVisit("u2", 12.0, 40.0)]
    assert await there(30.0) == [PastVisit("u2", 12.0, 40.0), PastVisit("u1", 25.0, 40.0)]
    assert await there(42.0) == []
    assert await there(50.0) == [PastVisit("u3", 45.0, None)]


@pytest.mark.gen_test
async def test_positions_that_have_moved_since_are_what_was_read_at_least(
    database: Database,
) -> None:
    streams = StreamStore(database)
    await MemberStore(database).replace("s1", ["exact", "moved", "writer", "reader"], "boss", 1.0)
    for number in range(10):
        sender = "writer" if number in (2, 8) else "other"
        rows = several("session:s1", f"m{number}", at=10.0 + number, sender=sender)
        await streams.append(rows)
    for user, offset, at in (("exact", 3, 13.5), ("moved", 2, 12.5), ("moved", 9, 50.0)):
        moves = [Move(user, "s1", offset, at)]
        await database.run(partial(participants.mark, moves=moves))
    receipts = ReceiptStore(database)
    await receipts.record("reader", ["m3"], read=True, at=14.0)
    await receipts.record("reader", ["m7"], read=True, at=60.0)
    await database.run(partial(participants.mark, moves=[Move("reader", "s1", 10, 70.0)]))
    found = await past(database, 15.0)
    assert found.offset == 6
    assert found.positions == [
        PastPosition("exact", 3, True),
        PastPosition("moved", 0, False),
        PastPosition("other", 6, False),
        PastPosition("reader", 4, False),
        PastPosition("writer", 3, False),
    ]
    assert (await past(database, 99.0)).positions[1] == PastPosition("moved", 9, True)
    assert (await past(database, 5.0)).offset == 0
