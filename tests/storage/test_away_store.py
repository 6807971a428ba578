"""Who has not seen a message, on both engines: receipts, cursors, read positions, marks."""

from __future__ import annotations

import json

import pytest

from tests.support.message_rows import NOW, RETENTION_S, rows
from wsserver.storage.engine.database import Database
from wsserver.storage.messages import participants
from wsserver.storage.messages.participants import Move
from wsserver.storage.messages.receipts import ReceiptStore
from wsserver.storage.messages.streams import Append, StreamStore
from wsserver.storage.notifications.away import AwayStore
from wsserver.storage.notifications.known_users import KnownUser, KnownUserStore
from wsserver.storage.tables.access_lists import MemberStore

MEMBERS = ["ann", "bob", "cy", "dee"]


def said(message_id: str, sender: str = "ann") -> Append:
    push = {"type": "new_message", "message": {"content": "hi", "sender": {"user_id": sender}}}
    payload = json.dumps(push).encode()
    return Append(
        "session:s1", message_id, "new_message", payload, NOW, NOW + RETENTION_S, sender=sender
    )


@pytest.mark.gen_test
async def test_who_has_not_seen_a_message(database: Database) -> None:
    streams = StreamStore(database, awaits_reading=True)
    receipts, store = ReceiptStore(database), AwayStore(database)
    await MemberStore(database).replace("s1", MEMBERS, "boss", NOW)
    await KnownUserStore(database).note([KnownUser("bob", "o1", "manager", NOW)])
    await streams.append([said("m1"), said("m2")])
    await streams.append([Append("user:u1", "i1", "new_message", b"{}", NOW, NOW + 9)])
    await streams.append([Append("session:s1", "n1", "news", b"{}", NOW, NOW + 9)])
    assert await rows(database, "away_queue") == 2
    assert (await store.due(NOW - 1)).messages == []
    first, second = (await store.due(NOW)).messages
    assert [first.message_id, second.message_id] == ["m1", "m2"]

    async def absent(number: int) -> list[str]:
        return [each.user_id for each in await store.absent((first, second)[number])]

    assert await absent(0) == ["bob", "cy", "dee"]
    bob = (await store.absent(first))[0]
    assert (bob.organization_id, bob.role) == ("o1", "manager")
    await receipts.record("bob", ["m1"], read=False, at=NOW)
    await receipts.advance("cy", "session:s1", 1, NOW)
    assert await absent(0) == ["dee"]
    assert await absent(1) == ["bob", "cy", "dee"]
    await database.run(lambda db: participants.mark(db, [Move("dee", "s1", 1, NOW)]))
    assert await absent(0) == []

    await store.note_notified(second, ["bob", "cy"], "notify_1", NOW)
    assert await rows(database, "away_queue") == 1
    assert await absent(1) == ["dee"]
    await receipts.record("bob", ["m2"], read=True, at=NOW)  # is back, and has seen it
    await store.back(["nobody"])
    await store.back(["cy"])
    assert await absent(1) == ["cy", "dee"]
    await store.done([first.key])
    assert await rows(database, "away_queue") == 0


@pytest.mark.gen_test
async def test_nothing_is_noted_where_nobody_is_told(database: Database) -> None:
    await StreamStore(database).append([said("m1")])
    assert await rows(database, "away_queue") == 0
