"""Archived messages, read session by session."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.message_rows import NOW, message
from wsserver.storage.engine.database import Database
from wsserver.storage.messages import message_exports
from wsserver.storage.messages.message_exports import MessageExports, Selection
from wsserver.storage.messages.streams import Append, StreamStore

EVERYTHING = Selection()


@pytest.fixture
def streams(database: Database) -> StreamStore:
    return StreamStore(database)


@pytest.fixture
def exports(database: Database) -> MessageExports:
    return MessageExports(database)


async def exported(
    exports: MessageExports, selection: Selection = EVERYTHING, limit: int = 1000, now: float = NOW
) -> list[str]:
    """The ids of the messages of all sessions, page by page."""
    found: list[str] = []
    sessions = await exports.sessions(0, selection.since, 100)
    position: int | None = 0
    while position is not None:
        part = await exports.read(sessions, selection, position, now, limit)
        assert len(part.rows) <= limit
        found += [row["message_id"] for row in part.rows]
        position = part.position
    return found


async def fill(streams: StreamStore) -> None:
    """Two sessions that take turns, and what is not exported."""
    for number in range(6):
        session = f"session:s{number % 2}"
        at = NOW + number
        await streams.append([message(session, f"m{number}", at=at, sender=f"u{number % 3}")])
    await streams.append([message("user:u1", "note"), message("broadcast", "all")])


@pytest.mark.gen_test
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
async def test_messages_come_session_by_session(
    streams: StreamStore, exports: MessageExports, limit: int
) -> None:
    await fill(streams)
    assert await exported(exports, limit=limit) == ["m0", "m2", "m4", "m1", "m3", "m5"]


@pytest.mark.gen_test
async def test_they_are_chosen_by_time_and_sender(
    streams: StreamStore, exports: MessageExports
) -> None:
    await fill(streams)
    assert await exported(exports, Selection(since=NOW + 3)) == ["m4", "m3", "m5"]
    assert await exported(exports, Selection(until=NOW + 2)) == ["m0", "m1"]
    assert await exported(exports, Selection(NOW + 1, NOW + 5, "u1"), limit=1) == ["m4", "m1"]
    assert await exported(exports, Selection(sender="nobody")) == []
    one = await exports.session("s1")
    part = await exports.read(one, EVERYTHING, 0, NOW, 100)
    assert [row["message_id"] for row in part.rows] == ["m1", "m3", "m5"]
    assert await exports.session("never") == []


@pytest.mark.gen_test
async def test_sessions_are_paged_too_and_those_without_newer_messages_left_out(
    streams: StreamStore, exports: MessageExports
) -> None:
    for number in range(5):
        await streams.append([message(f"session:s{number}", f"m{number}", at=NOW + number)])
    first = await exports.sessions(0, None, 2)
    assert [each.session_id for each in first] == ["s0", "s1"]
    rest = await exports.sessions(first[-1].end, None, 100)
    assert [each.session_id for each in rest] == ["s1", "s2", "s3", "s4"]
    assert [each.session_id for each in await exports.sessions(0, NOW + 3, 9)] == ["s3", "s4"]


@pytest.mark.gen_test
async def test_one_read_looks_at_so_many_messages(
    streams: StreamStore, exports: MessageExports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_exports, "SCAN_ROWS", 4)
    for session in ("s1", "s2"):
        await streams.append(
            [message(f"session:{session}", f"{session}-{n}", sender="u1") for n in range(5)]
        )
    await streams.append([message("session:s2", "wanted", sender="u2")])
    sessions = await exports.sessions(0, None, 100)
    part = await exports.read(sessions, Selection(sender="u2"), 0, NOW, 100)
    assert part.rows == []
    assert part.position is not None
    assert await exported(exports, Selection(sender="u2")) == ["wanted"]
    assert len(await exported(exports)) == 11


@pytest.mark.gen_test
async def test_a_page_ends_at_a_number_of_bytes(
    streams: StreamStore, exports: MessageExports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_exports, "PAGE_BYTES", 50)
    await streams.append([message("session:s1", f"m{n}") for n in range(5)])
    part = await exports.read(await exports.session("s1"), EVERYTHING, 0, NOW, 100)
    assert [row["message_id"] for row in part.rows] == ["m0", "m1"]
    assert await exported(exports) == ["m0", "m1", "m2", "m3", "m4"]


@pytest.mark.gen_test
async def test_what_has_expired_or_is_for_others_is_left_out(
    streams: StreamStore, exports: MessageExports
) -> None:
    await streams.append(
        [
            message("session:s1", "short", expires_at=NOW + 1, has_ttl=True),
            message("session:s1", "old", expires_at=NOW + 1),
            message("session:s1", "theirs", audience="{}"),
            message("session:s1", "mine"),
        ]
    )
    mine = Selection(admits=lambda audience: audience is None)
    assert await exported(exports, mine, now=NOW + 1) == ["mine"]
    assert await exported(exports) == ["short", "old", "theirs", "mine"]


def push(type_: str, **members: Any) -> bytes:
    return json.dumps({"type": type_, "id": "m", "timestamp": "…", **members}).encode()


@pytest.mark.gen_test
async def test_a_row_has_what_chat_messages_have(
    streams: StreamStore, exports: MessageExports
) -> None:
    said = {
        "id": "m1", "session_id": "s1", "content": {"text": "=1+1"}, "content_type": "x/y",
        "sender": {"user_id": "bot", "username": None, "role": "service"}, "reply_to": "m0",
        "edited_at": "2024-01-15T14:30:00Z", "edited_by": "u9", "state": "completed",
    }  # fmt: skip
    gone = {"id": "m2", "session_id": "s1", "deleted": True, "created_at": "2024-01-15T14:30:00Z"}
    payloads = [
        ("new_message", push("new_message", session_id="s1", message=said)),
        ("new_message", push("new_message", session_id="s1", message=gone)),
        ("price", push("price", data=7)),
        ("price", push("price")),
    ]
    await streams.append(
        [
            Append("session:s1", f"m{n}", type_, payload, NOW + n, NOW + 99, sender="u1")
            for n, (type_, payload) in enumerate(payloads, 1)
        ]
    )
    rows = (await exports.read(await exports.session("s1"), EVERYTHING, 0, NOW, 9)).rows
    nothing = dict.fromkeys(
        ("user_id", "username", "role", "content_type", "content", "reply_to", "state",
         "edited_at", "edited_by")
    )  # fmt: skip
    place = {"session_id": "s1", "deleted": False, "type": "new_message"}
    assert rows == [
        {
            **place, "message_id": "m1", "offset": 1, "created_at": NOW + 1, "user_id": "bot",
            "username": None, "role": "service", "content_type": "x/y", "reply_to": "m0",
            "content": {"text": "=1+1"}, "state": "completed", "edited_by": "u9",
            "edited_at": "2024-01-15T14:30:00Z",
        },
        {**nothing, **place, "message_id": "m2", "offset": 2, "created_at": NOW + 2,
         "deleted": True},
        {**nothing, **place, "message_id": "m3", "offset": 3, "created_at": NOW + 3,
         "type": "price", "user_id": "u1", "content": 7},
        {**nothing, **place, "message_id": "m4", "offset": 4, "created_at": NOW + 4,
         "type": "price", "user_id": "u1", "content": {}},
    ]  # fmt: skip
