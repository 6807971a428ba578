"""PostgreSQL shared by several servers: locks, rows of runs, turns, upgrades."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from scripts.backends.postgres import PostgresServer
from tests.support.fake_clock import FakeClock
from tests.support.lost_commits import lose_at_commit
from tests.support.message_rows import offsets, several
from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.errors import DatabaseInUse, DatabaseUnusable
from wsserver.storage.engine.postgres import migrations
from wsserver.storage.engine.postgres import writer as writing
from wsserver.storage.engine.postgres.database import PostgresDatabase
from wsserver.storage.engine.postgres.migrations import MIGRATIONS, TURN, Migration
from wsserver.storage.messages.streams import StreamStore

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    made = postgres.lend_database()
    yield made
    postgres.give_back(made)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_LOCK_WAIT_S", 0.2)
    monkeypatch.setattr(writing, "_BACKOFF_S", (0.01, 0.05))


@asynccontextmanager
async def opened(
    url: str, clock: FakeClock, *, is_shared: bool = True
) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(url, clock=clock, is_shared=is_shared)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def disconnect_all(postgres: PostgresServer, url: str) -> None:
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE datname = '{url.rpartition('/')[2]}' AND pid <> pg_backend_pid()"
    )


def runs(postgres: PostgresServer, url: str, columns: str) -> list[tuple[int, ...]]:
    return postgres.execute(f"SELECT {columns} FROM writers ORDER BY since", url.rpartition("/")[2])


@pytest.mark.parametrize(
    ("is_shared", "text"),
    [(True, "servers of a cluster .'redis_url'."), (False, "using it alone, without 'redis_url'")],
)
@pytest.mark.gen_test
async def test_a_lone_server_and_a_cluster_exclude_each_other(
    url: str, clock: FakeClock, is_shared: bool, text: str
) -> None:
    async with opened(url, clock, is_shared=is_shared):
        other = PostgresDatabase(url, clock=clock, is_shared=not is_shared)
        with pytest.raises(DatabaseInUse, match=text):
            await other.open()
        await other.close()


@pytest.mark.gen_test
async def test_a_second_lone_server_is_told_of_another_server(url: str, clock: FakeClock) -> None:
    async with opened(url, clock, is_shared=False):
        other = PostgresDatabase(url, clock=clock)
        with pytest.raises(DatabaseInUse, match="another server is using it; stop that one first"):
            await other.open()
        await other.close()


@pytest.mark.gen_test
async def test_the_row_of_a_living_server_stays_however_old_the_run_is(
    postgres: PostgresServer, url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = url.rpartition("/")[2]
    async with opened(url, clock) as first:
        postgres.execute(
            f"UPDATE writers SET since = since - {writing._ROWS_KEPT_S - 60};"
            "INSERT INTO writers (owner, round, is_current, since) VALUES ('run_ended', 7, 1, 0)",
            name,
        )
        monkeypatch.setattr(writing, "_TOUCH_S", 0.0)
        await first.probe()  # without a transaction of its own
        (age,) = runs(postgres, url, "extract(epoch FROM now()) - since")[-1]
        assert age < 60
        async with opened(url, clock) as second:
            rows = postgres.execute("SELECT owner FROM writers", name)
            assert len(rows) == 2
            assert ("run_ended",) not in rows
            await StreamStore(first).append(several("session:s1", "a"))
            await StreamStore(second).append(several("session:s1", "b"))
            assert await offsets(StreamStore(first), "session:s1") == {1: "a", 2: "b"}


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.gen_test
async def test_who_starts_alone_or_after_one_alone_replaces_it(
    postgres: PostgresServer, url: str, clock: FakeClock, is_shared: bool
) -> None:
    """Its connections were lost, and with them its lock; its caches are of before."""
    async with opened(url, clock, is_shared=is_shared) as first:
        disconnect_all(postgres, url)
        async with opened(url, clock, is_shared=not is_shared) as second:
            await StreamStore(second).append(several("session:s1", "a"))
        while "another server has taken over" not in str(first.health()["last_error"]):
            with pytest.raises(StorageUnavailable):
                await StreamStore(first).append(several("session:s1", "b"))
            await asyncio.sleep(0.01)
        assert await offsets(StreamStore(first), "session:s1") == {1: "a"}


@pytest.mark.gen_test
async def test_a_server_comes_back_beside_the_others(
    postgres: PostgresServer, url: str, clock: FakeClock
) -> None:
    async with opened(url, clock) as first, opened(url, clock) as second:
        disconnect_all(postgres, url)
        for database, message_id in ((first, "a"), (second, "b")):
            async with asyncio.timeout(10):
                while True:
                    try:
                        await StreamStore(database).append(several("session:s1", message_id))
                    except StorageUnavailable:
                        await asyncio.sleep(0.01)
                    else:
                        break
        assert await offsets(StreamStore(first), "session:s1") == {1: "a", 2: "b"}


@pytest.mark.parametrize("has_more_to_do", [False, True])
@pytest.mark.gen_test
async def test_a_server_that_stands_still_loses_its_turn(
    postgres: PostgresServer,
    url: str,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    has_more_to_do: bool,
) -> None:
    session = writing._SHARED_SESSION.replace("5s", "300ms")
    monkeypatch.setattr(writing, "_SHARED_SESSION", session)
    is_paused, goes_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def stand_still(db: Connection) -> None:
        loop.call_soon_threadsafe(is_paused.set)
        goes_on.wait(20)
        if has_more_to_do:
            db.execute("SELECT 1")

    async with opened(url, clock) as first, opened(url, clock) as second:
        paused = asyncio.ensure_future(first.run(stand_still))
        await is_paused.wait()
        await StreamStore(second).append(several("session:s1", "b"))
        goes_on.set()
        with pytest.raises(StorageUnavailable):
            await paused


@pytest.mark.gen_test
async def test_servers_of_two_versions_work_together_after_the_migration(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rolling upgrade: the older one goes on, and starts no more."""
    async with opened(url, clock) as older:
        await StreamStore(older).append(several("session:s1", "a"))
        added = "ALTER TABLE streams ADD COLUMN colour TEXT; CREATE TABLE colours (name TEXT)"
        with monkeypatch.context() as newer_version:
            newer_version.setattr(
                migrations, "MIGRATIONS", (*MIGRATIONS, Migration("p9999_colours", added))
            )
            async with opened(url, clock) as newer:
                await asyncio.gather(
                    StreamStore(older).append(several("session:s1", "b")),
                    StreamStore(newer).append(several("session:s2", "c")),
                )
                assert await offsets(StreamStore(older), "session:s1") == {1: "a", 2: "b"}
                assert older.health()["ok"]
        again = PostgresDatabase(url, clock=clock, is_shared=True)
        with pytest.raises(DatabaseUnusable, match=r"newer version .*p9999_colours"):
            await again.open()
        await again.close()


@pytest.mark.gen_test
async def test_a_migration_waits_until_the_transaction_of_a_server_has_ended(
    postgres: PostgresServer, clock: FakeClock
) -> None:
    url = postgres.create_database(is_empty=True)
    database = PostgresDatabase(url, clock=clock, is_shared=True)
    with psycopg.connect(url) as other:
        other.execute(TURN)
        opening = asyncio.ensure_future(database.open())
        async with asyncio.timeout(20):
            while not postgres.execute(
                "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            ):
                await asyncio.sleep(0.01)
        assert not opening.done()
    await opening
    await database.close()
    postgres.drop_database(url)


@pytest.mark.gen_test
async def test_another_server_stores_between_a_lost_commit_and_its_repetition(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent again after a lost connection gets the next offset, or is found."""
    async with opened(url, clock) as first, opened(url, clock) as second:
        mine, theirs = StreamStore(first), StreamStore(second)
        left = lose_at_commit(monkeypatch, is_committed=False)
        with pytest.raises(StorageUnavailable, match="lost before the commit"):
            await mine.append(several("session:s1", "a"))
        assert not left
        await theirs.append(several("session:s1", "b"))
        (again,) = await mine.append(several("session:s1", "a"))
        assert (again.offset, again.is_new) == (2, True)
        (found,) = await theirs.append(several("session:s1", "a"))
        assert (found.offset, found.is_new) == (2, False)
