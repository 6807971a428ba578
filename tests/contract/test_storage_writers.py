"""Several writers of one database: order, gaps, deduplication, and a writer that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.backends.postgres import PostgresServer
from tests.support.message_rows import offsets, several
from tests.support.storage_writer import shared_database, write
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.streams import StreamStore

STREAMS = 50
BATCHES = 60
ENGINES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where the empty database is: a path, or a URL of PostgreSQL."""
    if request.param == "sqlite":
        yield str(tmp_path / "shared.sqlite3")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database(is_empty=True)
    yield url
    server.drop_database(url)


class Writing:
    """A process that writes; ``answers``: what was acknowledged to it."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.answers: list[list[Any]] = []
        self.identity = ""

    async def until_ready(self) -> None:
        assert self.process.stdout is not None
        self.identity = json.loads(await self.process.stdout.readline())["identity"]

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def read_answers(self, until: int | None = None) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.answers += json.loads(line)
            if until is not None and len(self.answers) >= until:
                return
        assert await self.process.wait() == 0


@contextlib.asynccontextmanager
async def processes(place: str, *names: str) -> AsyncIterator[list[Writing]]:
    """Processes that start at the same time."""
    started = [
        Writing(
            await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tests.support.storage_writer", place, name, str(BATCHES), str(STREAMS)),
                stdin=PIPE,
                stdout=PIPE,
            )
        )
        for name in names
    ]
    try:
        await asyncio.gather(*[each.until_ready() for each in started])
        yield started
    finally:
        for each in started:
            if each.process.returncode is None:
                each.process.kill()
            await each.process.wait()


@contextlib.asynccontextmanager
async def opened(place: str) -> AsyncIterator[Database]:
    database = shared_database(place)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def watch(database: Database, is_done: asyncio.Event) -> dict[str, dict[int, str]]:
    """Read all streams as they grow: what is read has no gap, and what was read does not change."""
    store = StreamStore(database)
    names = [f"session:{number}" for number in range(STREAMS)]
    seen: dict[str, dict[int, str]] = {name: {} for name in names}
    while True:
        was_done = is_done.is_set()
        heads = await store.heads(names)
        for name in names:
            found = await offsets(store, name)
            assert list(found) == list(range(1, len(found) + 1))
            assert len(found) >= heads[name].offset
            assert found.items() >= seen[name].items()
            seen[name] = found
        if was_done:
            return seen


def check(answers: list[list[Any]], seen: dict[str, dict[int, str]]) -> None:
    """Compare what was acknowledged with what is stored."""
    stored = {
        message_id: (stream, offset)
        for stream, messages in seen.items()
        for offset, message_id in messages.items()
    }
    assert len(stored) == sum(map(len, seen.values())), "an id is stored twice"
    for message_id, _, stream, offset, *_ in answers:
        assert stored[message_id] == (stream, offset)


@pytest.mark.gen_test(timeout=120)
@pytest.mark.long
async def test_tasks_of_one_process_write_in_one_order(place: str) -> None:
    answers: list[list[Any]] = []
    async with opened(place) as database:
        is_done = asyncio.Event()
        watching = asyncio.create_task(watch(database, is_done))
        await asyncio.gather(
            *[write(database, name, BATCHES, STREAMS, answers.extend) for name in ("a", "b")]
        )
        is_done.set()
        seen = await watching
    check(answers, seen)
    assert sum(map(len, seen.values())) == 2 * BATCHES * 4 + BATCHES


@pytest.mark.gen_test(timeout=120)
async def test_processes_write_in_one_order(place: str) -> None:
    """They start together on an empty database, too."""
    async with processes(place, "a", "b") as writers, opened(place) as database:
        assert {each.identity for each in writers} == {database.identity}
        is_done = asyncio.Event()
        watching = asyncio.create_task(watch(database, is_done))
        for each in writers:
            each.begin()
        await asyncio.gather(*[each.read_answers() for each in writers])
        is_done.set()
        seen = await watching
    for each in writers:
        assert len(each.answers) == BATCHES * 5
        check(each.answers, seen)
    # The message with a key was stored once, whoever was first.
    assert sum(map(len, seen.values())) == 2 * BATCHES * 4 + BATCHES
    common = [answer for each in writers for answer in each.answers if "common" in answer[1]]
    assert sum(is_new for _, _, _, _, is_new, *_ in common) == BATCHES


@pytest.mark.gen_test(timeout=120)
@pytest.mark.long
async def test_what_a_killed_process_acknowledged_stays_and_the_others_go_on(place: str) -> None:
    async with processes(place, "a", "b") as (killed, other), opened(place) as database:
        is_done = asyncio.Event()
        watching = asyncio.create_task(watch(database, is_done))
        killed.begin()
        other.begin()
        await killed.read_answers(until=BATCHES)
        killed.process.kill()
        await other.read_answers()
        await StreamStore(database).append(several("session:0", "last"))
        is_done.set()
        seen = await watching
        assert "last" in seen["session:0"].values()
        assert database.health()["ok"]
    check(killed.answers, seen)
    check(other.answers, seen)
    assert len(other.answers) == BATCHES * 5


@pytest.mark.gen_test(timeout=60)
@pytest.mark.long
async def test_a_job_reads_what_the_job_of_another_process_has_stored(place: str) -> None:
    """A job that reads, and then writes what follows from it, loses no change of another."""
    rounds = 100

    def count(db: Connection) -> int:
        row = db.execute("SELECT value FROM meta WHERE key = 'count'").fetchone()
        value = 1 if row is None else int(row[0]) + 1
        db.execute(
            "INSERT INTO meta (key, value) VALUES ('count', ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [str(value)],
        )
        return value

    async def count_often(database: Database) -> list[int]:
        return [await database.run(count) for _ in range(rounds)]

    async with opened(place) as first, opened(place) as second:
        counts = await asyncio.gather(count_often(first), count_often(second))
        assert sorted([*counts[0], *counts[1]]) == list(range(1, 2 * rounds + 1))
