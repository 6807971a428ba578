"""What is left of deleted contents: in rows, in the file, in its write-ahead log."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from tests.support.message_rows import NOW, RETENTION_S, message, several
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.streams import Append, Revised, Revision, StreamStore
from wsserver.storage.tables.webhooks import Posting, WebhookOutbox, remove_contents

S1 = "session:s1"
numbers = count()


def said(message_id: str, text: str) -> Append:
    payload = b'{"type":"new_message","message":{"content":"%s"}}' % text.encode()
    return Append(S1, message_id, "new_message", payload, NOW, NOW + RETENTION_S)


def change(message_id: str, text: str, deleted_at: float | None = None) -> Append:
    revised = Revised(said(message_id, text).payload, deleted_at)
    revision = Revision(S1, message_id, lambda _: revised)
    return message(S1, f"record_{next(numbers)}", revision=revision)


def files(path: Path) -> bytes:
    return path.read_bytes() + Path(f"{path}-wal").read_bytes()


@pytest.mark.sqlite_only
@pytest.mark.gen_test
@pytest.mark.parametrize("size", [10, 2000, 30_000])
async def test_no_version_of_a_deleted_message_stays_in_the_file(
    database: Database, path: Path, size: int
) -> None:
    store = StreamStore(database)
    # Neighbours whose rows move the secret ones from page to page.
    for number in range(20):
        await store.append([*several(S1, f"a{number}"), said(f"m{number}", "secret" * size)])
        await store.append(several("session:s0", f"b{number}"))
        await store.append([change(f"m{number}", "other secret" * size)])
        await store.revise([change(f"m{number}", "last secret" * size).revision])  # type: ignore[list-item]
    assert b"secret" in files(path)
    for number in range(20):
        await store.append([change(f"m{number}", "gone", deleted_at=NOW)])
    await database.empty_log()
    assert Path(f"{path}-wal").stat().st_size == 0
    assert b"secret" not in path.read_bytes()
    assert b"gone" in path.read_bytes()


@pytest.mark.gen_test
async def test_events_of_deleted_messages_lose_the_content(database: Database) -> None:
    outbox = WebhookOutbox(database)
    body = b'{"name":"message_received","message":{"id":"msg_1","content":"secret"},"x":1}'
    postings = [
        Posting("hook_1", "https://a.example", "message_received", body, NOW, "msg_1"),
        Posting("hook_2", "https://a.example", "message_received", body, NOW, "msg_2"),
        Posting("hook_3", "https://a.example", "alert_raised", b"{}", NOW),
    ]
    await outbox.add(postings)
    await database.run(partial(remove_contents, message_ids=["msg_1", "msg_9"]))
    bodies = [(await outbox.get(each.posting_id) or (None, b""))[1] for each in postings]
    assert b"secret" not in bodies[0]
    assert b'"deleted":true' in bodies[0]
    assert bodies[0].endswith(b',"x":1}')
    assert bodies[1:] == [body, b"{}"]


@pytest.mark.gen_test
async def test_an_event_that_is_stored_after_the_deletion_has_no_content(
    database: Database,
) -> None:
    """As one that waits on another node, while notices get lost."""
    store, outbox = StreamStore(database), WebhookOutbox(database)
    await store.append([said("msg_1", "secret"), said("msg_2", "secret")])
    await store.append([change("msg_1", "gone", deleted_at=NOW)])
    body = b'{"message":{"id":"msg","content":"secret"}}'
    await outbox.add(
        [
            Posting(f"hook_{of}", "https://a.example", "message_received", body, NOW, of)
            for of in ("msg_1", "msg_2", "msg_live")
        ]
    )
    found = await database.read(
        lambda db: db.execute("SELECT body, message_id FROM webhook_outbox ORDER BY id").fetchall()
    )
    assert [b"secret" in body for body, _ in found] == [False, True, True]
    assert [message_id for _, message_id in found] == [None, "msg_2", "msg_live"]


@pytest.mark.sqlite_only
@pytest.mark.gen_test
async def test_the_log_is_left_while_somebody_reads(database: Database, path: Path) -> None:
    """It neither waits long nor fails; the next time does it."""
    store = StreamStore(database)
    await store.append([said("m", "text")])
    held = threading.Event()

    began = threading.Event()

    def read(db: Connection) -> None:
        db.execute("SELECT 1 FROM messages").fetchall()
        began.set()
        held.wait(60)

    reading = asyncio.ensure_future(database.read(read))
    while not began.is_set():
        await asyncio.sleep(0.001)
    assert await database.empty_log()
    assert Path(f"{path}-wal").stat().st_size > 0
    held.set()
    await reading
    await store.append([said("n", "text")])
    await database.empty_log()
    assert Path(f"{path}-wal").stat().st_size == 0
