"""Data of a user in all tables, exported and erased in small jobs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from msgspec import Raw
from msgspec.json import decode

from tests.support.message_rows import NOW, RETENTION_S
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.maintenance import erasure, user_data
from wsserver.storage.maintenance.erasure import UserErasure
from wsserver.storage.maintenance.user_data import UserData
from wsserver.storage.messages import user_messages
from wsserver.storage.messages.streams import Append, StreamStore
from wsserver.storage.messages.user_messages import UserMessages

ROWS: dict[str, tuple[str, list[list[Any]]]] = {
    "contacts": (
        "user_id, organization_id, contact, changed_at",
        [["u1", None, '{"user_id":"u1","email":"a@b"}', NOW], ["u2", None, "{}", NOW]],
    ),
    "known_users": (
        "user_id, organization_id, role, seen_at",
        [["u1", "acme", "user", NOW], ["u2", "acme", "user", NOW]],
    ),
    "user_organizations": (
        "user_id, organization_id, entered_by, entered_at",
        [["u1", "acme", "boss", NOW], ["u2", "acme", "boss", NOW]],
    ),
    "away_marks": ("user_id, key, at", [["u1", 1, NOW], ["u2", 1, NOW]]),
    "notification_preferences": (
        "user_id, preferences, changed_at",
        [["u1", '{"channels":{"*":{"sms":false}}}', NOW], ["u2", "{}", NOW]],
    ),
    "console_sessions": (
        "digest, user_id, claims, created_at, ends_at",
        [["d1", "u1", '{"sub":"u1"}', NOW, NOW], ["d2", "u2", "{}", NOW, NOW]],
    ),
    "quota_marks": (
        "scope, kind, period, threshold, at",
        [
            [scope, "k", "p", 1, NOW]
            for scope in ("user:u1", "user:u1 of organization:acme", "user:u10", "user:u2")
        ],
    ),
    "session_members": (
        "session_id, user_id, added_by, added_at",
        [["s1", "u1", "boss", NOW], ["s1", "u2", "boss", NOW]],
    ),
    "participants": (
        "user_id, session_id, start_offset, read_offset, seen, read_at, is_member, has_joined,"
        " has_written",
        [
            ["u1", "s1", 0, 3, 3, NOW, 1, 0, 1],
            ["u1", "s2", 0, 3, 3, NOW, 0, 1, 0],
            ["u2", "s1", 0, 3, 3, NOW, 1, 0, 1],
        ],
    ),
    "conversation_changes": (
        "session_id, at, changed_by, field, value",
        [
            ["s1", NOW, who, field, value]
            for who in ("u1", "u2", "u10")
            for field, value in (
                ("joined", f'"{who}"'),
                ("state", '"closed"'),
                ("left", f'"{who}"'),
            )
        ],
    ),
    "notifications": (
        "id, notification_id, at, expires_at, type, content, recipients, sender",
        [
            [1, "n1", NOW, NOW, "info", '{"title":"mine"}', '{"user_ids":["u1"]}', "u2"],
            [2, "n2", NOW, NOW, "info", '{"title":"ours"}', '{"user_ids":["u2","u1"]}', None],
            [3, "n3", NOW, NOW, "info", '{"title":"all"}', '{"broadcast":true}', "u1"],
        ],
    ),
    "deliveries": (
        "id, delivery_id, notification, user_id, channel, state, expires_at, unless_acknowledged",
        [
            [number, f"d{number}", notification, user, "push", "sent", NOW, 0]
            for number, (notification, user) in enumerate(
                [(1, "u1"), (2, "u1"), (2, "u2"), (3, "u1"), (3, "u2")], start=1
            )
        ],
    ),
    "attempts": (
        "delivery, number, at, outcome, detail",
        [[1, 1, NOW, "failed", "why"], [1, 2, NOW, "sent", ""], [3, 1, NOW, "sent", ""]],
    ),
    "answers": (
        "message_id, session_id, state, term, owner, node, length, started_at, watchers",
        [
            ["m1", "s1", "done", 1, "", "n", 0, NOW, '[["u1",1.0,2.0],["u2",1.0,null]]'],
            ["m2", "s1", "done", 1, "", "n", 0, NOW, '[["u10",1.0,2.0]]'],
        ],
    ),
    "audit": (
        "at, actor, role, action, target, detail, outcome, request_id, remote_ip",
        [[NOW, who, "user", "ping", "user:u2", '{"a":1}', "ok", "r", ""] for who in ("u1", "u2")],
    ),
}
ERASED = {
    "answers": 1,
    "attempts": 2,
    "away_marks": 1,
    "console_sessions": 1,
    "contacts": 1,
    "conversation_changes": 2,
    "cursors": 2,
    "deliveries": 3,
    "known_users": 1,
    "notification_preferences": 1,
    "notifications": 2,
    "participants": 2,
    "quota_marks": 2,
    "receipts": 3,
}


async def fill(database: Database) -> None:
    """Rows of u1 and u2 in all tables, and messages in streams of others."""

    def insert(db: Connection) -> None:
        for table, (columns, rows) in ROWS.items():
            db.insert(table, columns, rows)

    await database.run(insert)
    store = StreamStore(database)
    for stream in ("session:s1", "session:s2", "user:u1"):
        await store.append([said(stream, f"{stream}-{number}") for number in range(3)])

    def read(db: Connection) -> None:
        keys = [key for (key,) in db.execute("SELECT key FROM messages ORDER BY key")]
        receipts = [[key, user, NOW, None] for key in keys[::3] for user in ("u1", "u2")]
        db.insert("receipts", "key, user_id, delivered_at, read_at", receipts)
        cursors = [[key >> 38, user, 2, NOW] for key in keys[2:8:3] for user in ("u1", "u2")]
        db.insert("cursors", 'stream_id, user_id, "offset", at', cursors)

    await database.run(read)


def said(stream: str, message_id: str, sender: str = "u1", **fields: Any) -> Append:
    payload = b'{"type":"new_message","message":{"content":"%b"}}' % message_id.encode()
    return Append(
        stream, message_id, "new_message", payload, NOW, NOW + RETENTION_S, sender=sender, **fields
    )


async def exported(database: Database, user_id: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    async for table, rows in UserData(database).rows(user_id):
        found.setdefault(table, []).extend(rows)
    return found


@pytest.fixture(params=[1, 2, 100], ids=lambda size: f"{size} at once")
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that see one row, two, or all of them."""
    monkeypatch.setattr(user_data, "PAGE_ROWS", request.param)
    monkeypatch.setattr(user_data, "SCAN_ROWS", request.param)
    monkeypatch.setattr(erasure, "BATCH_ROWS", request.param)
    monkeypatch.setattr(erasure, "DELIVERIES_AT_ONCE", request.param)


@pytest.mark.gen_test
@pytest.mark.usefixtures("sizes")
async def test_rows_of_a_user_are_exported_and_none_of_others(database: Database) -> None:
    await fill(database)
    found = await exported(database, "u1")
    assert Counter({table: len(rows) for table, rows in found.items()}) == {
        **dict.fromkeys(("contacts", "known_users", "user_organizations", "answers"), 1),
        **dict.fromkeys(("console_sessions", "audit", "notifications"), 1),
        **{"participants": 2, "cursors": 2, "receipts": 3, "deliveries": 3, "attempts": 2},
        **{"conversation_changes": 3, "notification_preferences": 1},
    }
    (contact,) = found["contacts"]
    assert isinstance(contact["contact"], Raw)
    assert decode(contact["contact"]) == {"user_id": "u1", "email": "a@b"}
    assert contact["changed_at"].endswith("Z")
    assert [row["session_id"] for row in found["participants"]] == ["s1", "s2"]
    places = [(row["stream"], row["offset"]) for row in found["receipts"]]
    assert places == [("session:s1", 1), ("session:s2", 1), ("user:u1", 1)]
    assert [row["delivery_id"] for row in found["deliveries"]] == ["d1", "d2", "d4"]
    assert [(row["delivery_id"], row["number"]) for row in found["attempts"]] == [
        ("d1", 1),
        ("d1", 2),
    ]
    assert found["answers"] == [
        {
            "message_id": "m1",
            "from_at": "1970-01-01T00:00:01.000Z",
            "until_at": "1970-01-01T00:00:02.000Z",
        }
    ]
    assert await exported(database, "u") == {}


@pytest.mark.gen_test
@pytest.mark.usefixtures("sizes")
async def test_rows_of_a_user_are_erased_and_those_of_others_stay(database: Database) -> None:
    await fill(database)
    others = await exported(database, "u2")
    del others["notifications"]  # what u2 has sent to u1 alone goes, too
    assert dict(await UserErasure(database).erase("u1", NOW)) == ERASED
    left = await exported(database, "u1")
    assert set(left) == {"user_organizations", "participants", "conversation_changes", "audit"}
    (change,) = left["conversation_changes"]
    assert (change["field"], decode(change["value"])) == ("state", "closed")
    (position,) = left["participants"]  # of a member, as if added now
    assert (position["session_id"], position["read_offset"], position["has_written"]) == (
        "s1",
        3,
        0,
    )
    assert await exported(database, "u2") == others

    def read(db: Connection) -> list[Any]:
        select = "SELECT notification_id, recipients, sender FROM notifications ORDER BY id"
        return db.execute(select).fetchall()

    assert await database.read(read) == [
        ("n2", '{"user_ids":["u2"]}', None),
        ("n3", '{"broadcast":true}', None),
    ]
    again = await UserErasure(database).erase("u1", NOW)
    assert {name: count for name, count in again.items() if count} == {"participants": 1}


@pytest.mark.gen_test
async def test_messages_are_found_part_by_part(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_messages, "SCAN_ROWS", 3)
    store, messages = StreamStore(database), UserMessages(database)
    published = '{"user_id":"u1","role":"admin","organization_id":"acme","via":"rest","id":"r"}'
    await store.append(
        [
            said("session:s1", "a"),
            said("session:s1", "b", "u2"),
            said("session:s1", "c", "u2", origin=published),
            said("session:s2", "d", "u10"),
            said("session:s2", "e", origin=published),
            said("user:u2", "f"),
            said("user:u1", "g", "u2"),
        ]
    )
    found = []
    position: int | None = 0
    steps = 0
    while position is not None:
        part, position = await messages.sent("u1", position)
        found += part
        steps += 1
    assert [each.message_id for each in found] == ["a", "c", "e", "f"]
    assert steps == 3
    (inbox,) = await messages.inbox("u1", 0, 10)
    assert await messages.inbox("u1", inbox, 10) == []
    assert await messages.inbox("nobody", 0, 10) == []

    keys = [each.key for each in found]
    await messages.unlink("u1", keys)
    assert (await messages.sent("u1", 0)).messages == []
    writers = (await store.writers(["session:s2"]))["session:s2"]
    # The session still belongs to the organization.
    assert (None, "acme") in [(each.user_id, each.organization_id) for each in writers]
    gone = await messages.delete([keys[3], inbox])
    assert {(each.stream, each.is_pending) for each in gone} == {
        ("user:u2", True),
        ("user:u1", True),
    }


@pytest.mark.gen_test
async def test_large_messages_are_read_a_few_at_a_time(database: Database) -> None:
    store, messages = StreamStore(database), UserMessages(database)
    large = b'{"message":"%b"}' % (b"x" * 200_000)
    await store.append(
        [
            Append(
                "session:s1",
                f"m{number}",
                "new_message",
                large,
                NOW,
                NOW + RETENTION_S,
                sender="u1",
            )
            for number in range(3)
        ]
    )
    keys = [each.key for each in (await messages.sent("u1", 0)).messages]
    sizes = []
    while keys:
        rows, keys = await messages.rows(keys)  # type: ignore[assignment]
        sizes.append(len(rows))
    assert sizes == [1, 1, 1]
