"""Stored messages: builders of rows, and reads of everything that is stored."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import sqlite_utils

from wsserver.storage.engine.database import Database
from wsserver.storage.engine.reader import THREADS
from wsserver.storage.messages.streams import Append, StreamStore, Wanted

NOW = 1_700_000_000.0
RETENTION_S = 86_400.0
ALL = 1 << 62
"""Beyond every offset."""


def message(stream: str, message_id: str, at: float = NOW, **fields: Any) -> Append:
    """A message whose payload names it; kept for a day unless said otherwise."""
    fields.setdefault("expires_at", at + RETENTION_S)
    return Append(stream, message_id, "new_message", payload(message_id), at, **fields)


def payload(message_id: str) -> bytes:
    return b'{"message_id":"%s"}' % message_id.encode()


def several(stream: str, *message_ids: str, **fields: Any) -> list[Append]:
    return [message(stream, message_id, **fields) for message_id in message_ids]


def wanted(stream: str, after: int = 0, until: int = ALL, **fields: Any) -> Wanted:
    """A range of a stream, by default all of it."""
    return Wanted(
        stream,
        after,
        until,
        fields.pop("now", NOW),
        fields.pop("limit", 10_000),
        fields.pop("budget", 100_000_000),
        **fields,
    )


async def in_every_reader(
    database: Database, fn: Callable[[sqlite_utils.Database], object]
) -> None:
    """Run a function on the connection of each reading thread."""
    together = threading.Barrier(THREADS)

    def run(db: sqlite_utils.Database) -> None:
        fn(db)
        together.wait(10)

    await asyncio.gather(*[database.read(run) for _ in range(THREADS)])


async def offsets(streams: StreamStore, stream: str, now: float = NOW) -> dict[int, str]:
    """What can be read of a stream: message ids by offset."""
    kept = (await streams.read(wanted(stream, now=now))).messages
    assert all(item.payload == payload(item.message_id) for item in kept)
    return {item.offset: item.message_id for item in kept}


async def rows(database: Database, table: str) -> int:
    """How many rows a table has."""
    return await database.read(
        lambda db: int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    )
