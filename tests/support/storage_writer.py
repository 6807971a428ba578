"""A writer of kept messages: a coroutine, or a process of its own on a shared database.

``python -m tests.support.storage_writer PLACE NAME BATCHES STREAMS`` appends, and prints answers
of each acknowledged batch as a line of JSON: ``[[id, asked id, stream, offset, is new], …]``. PLACE
is a URL of PostgreSQL or the path of a SQLite file.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.message_rows import NOW, message
from wsserver.clock import Clock
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.postgres.database import PostgresDatabase
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.messages.streams import StreamStore

CLUSTER = "redis://tests"
_TASKS = 20
"""Batches under way at once: they meet in group commits."""


def shared_database(place: str, **options: Any) -> Database:
    """A database that several processes use, not opened yet."""
    clock = Clock()
    if place.startswith("postgresql:"):
        return PostgresDatabase(place, clock=clock, is_shared=True, **options)
    return SqliteDatabase(Path(place), clock=clock, cluster=CLUSTER, **options)


async def write(
    database: Database,
    name: str,
    batches: int,
    streams: int,
    note: Callable[[list[list[Any]]], None],
) -> None:
    """Append batches of five messages to random streams, each batch in its own random order.

    Each batch has one message that all writers send, with one deduplication key.
    """
    store = StreamStore(database)
    chance = random.Random(name)
    numbers = iter(range(batches))

    async def append_some() -> None:
        for number in numbers:
            names = [f"session:{chance.randrange(streams)}" for _ in range(4)]
            batch = [
                message(stream, f"{name}-{number}-{place}") for place, stream in enumerate(names)
            ]
            common = message(
                f"session:{number % streams}",
                f"{name}-{number}-common",
                NOW,
                dedup=("tests", f"key-{number}"),
            )
            batch.insert(chance.randrange(5), common)
            answers = await store.append(batch)
            note(
                [
                    [answer.message_id, asked.message_id, *answer[1:2], *answer[3:]]
                    for asked, answer in zip(batch, answers, strict=True)
                ]
            )

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_TASKS, batches)):
            group.create_task(append_some())


async def main(place: str, name: str, batches: str, streams: str) -> None:
    database = shared_database(place)
    await database.open()
    print(json.dumps({"identity": database.identity}), flush=True)
    sys.stdin.readline()
    try:
        await write(database, name, int(batches), int(streams), _print)
    finally:
        await database.close()


def _print(answers: list[list[Any]]) -> None:
    print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
