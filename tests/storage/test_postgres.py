"""PostgreSQL: faults at the start, lost connections, and the outcome of an interrupted commit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from scripts.backends.postgres import PASSWORD, PostgresServer
from tests.support.fake_clock import FakeClock
from tests.support.lost_commits import lose_at_commit
from tests.support.message_rows import offsets, several
from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.errors import DatabaseInUse, DatabaseUnusable
from wsserver.storage.engine.postgres import writer as writing
from wsserver.storage.engine.postgres.connecting import with_timeout
from wsserver.storage.engine.postgres.database import PostgresDatabase
from wsserver.storage.engine.postgres.dialect import translate
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
    url: str, clock: FakeClock, *, is_shared: bool = False
) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(url, clock=clock, is_shared=is_shared)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


# The start


async def refused(url: str, clock: FakeClock, error: type[Exception], text: str) -> str:
    database = PostgresDatabase(url, clock=clock)
    with pytest.raises(error, match=text) as found:
        await database.open()
    await database.close()
    assert PASSWORD not in repr(found.value)
    return str(found.value)


@pytest.mark.gen_test
async def test_a_wrong_password_cannot_pass_and_is_not_shown(url: str, clock: FakeClock) -> None:
    wrong = url.replace(PASSWORD, "not-the-password")
    text = await refused(wrong, clock, DatabaseUnusable, "password authentication failed")
    assert "not-the-password" not in text


@pytest.mark.gen_test
async def test_a_database_that_is_not_there_cannot_pass(
    postgres: PostgresServer, clock: FakeClock
) -> None:
    await refused(postgres.url("absent"), clock, DatabaseUnusable, '"absent" does not exist')


@pytest.mark.gen_test
async def test_a_server_that_is_not_there_may_come(
    postgres: PostgresServer, clock: FakeClock
) -> None:
    url = postgres.url("x").replace(f":{postgres.port}/", ":1/")
    await refused(url, clock, StorageUnavailable, "cannot connect to postgresql://127.0.0.1:1/x")


@pytest.mark.parametrize(
    ("url", "timeout_s"),
    [
        ("postgresql://a/x", 10),
        ("postgresql:///x", 10),
        ("postgresql://a,b/x", 5),
        ("postgresql://a,b,c,d,e,f,g,h,i,j,k/x", 2),
        ("postgresql://a,b/x?connect_timeout=7", 7),
    ],
)
def test_all_hosts_of_a_url_are_tried_within_one_timeout(url: str, timeout_s: int) -> None:
    assert int(with_timeout(conninfo_to_dict(url), 10)["connect_timeout"]) == timeout_s


@pytest.mark.gen_test
async def test_a_second_server_is_refused(url: str, clock: FakeClock) -> None:
    async with opened(url, clock):
        await refused(url, clock, DatabaseInUse, "another server is using it")
    async with opened(url, clock):
        pass


@pytest.mark.gen_test
async def test_the_schema_of_another_program_is_left_alone(
    postgres: PostgresServer, clock: FakeClock
) -> None:
    url = postgres.create_database(is_empty=True)
    name = url.rpartition("/")[2]
    postgres.execute("CREATE TABLE messages (x int)", name)
    await refused(url, clock, DatabaseUnusable, "tables of another program")
    assert postgres.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == [
        (1,)
    ]
    postgres.drop_database(url)


@pytest.mark.gen_test
async def test_a_newer_schema_is_refused(
    postgres: PostgresServer, url: str, clock: FakeClock
) -> None:
    name = url.rpartition("/")[2]
    postgres.execute("INSERT INTO wsserver_migrations VALUES ('p9999_later', 0)", name)
    await refused(url, clock, DatabaseUnusable, "newer version.*p9999_later")


@pytest.mark.gen_test
async def test_missing_rights_are_named(postgres: PostgresServer, clock: FakeClock) -> None:
    url = postgres.create_database(is_empty=True)
    name = url.rpartition("/")[2]
    postgres.execute("CREATE ROLE weak LOGIN PASSWORD 'weak-password'")
    postgres.execute("REVOKE CREATE ON SCHEMA public FROM public", name)
    weak = postgres.url(name, "weak", "weak-password")
    await refused(weak, clock, DatabaseUnusable, "lacks rights.*permission denied")
    postgres.drop_database(url)
    postgres.execute("DROP ROLE weak")


@pytest.mark.gen_test
async def test_a_user_who_may_not_connect_cannot_pass(
    postgres: PostgresServer, url: str, clock: FakeClock
) -> None:
    name = url.rpartition("/")[2]
    postgres.execute("CREATE ROLE locked_out LOGIN PASSWORD 'weak-password'")
    postgres.execute(f"REVOKE CONNECT ON DATABASE {name} FROM public")
    weak = postgres.url(name, "locked_out", "weak-password")
    await refused(weak, clock, DatabaseUnusable, "permission denied for database")
    postgres.execute("DROP ROLE locked_out")


@pytest.mark.gen_test
async def test_a_database_of_another_encoding_cannot_pass(
    postgres: PostgresServer, clock: FakeClock
) -> None:
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    url = postgres.url("latin")
    await refused(url, clock, DatabaseUnusable, "encoding is LATIN1; create the database with")
    postgres.drop_database(url)


@pytest.mark.gen_test
async def test_a_search_path_without_a_schema_cannot_pass(url: str, clock: FakeClock) -> None:
    nowhere = f"{url}?options=-c%20search_path%3Dnowhere"
    await refused(nowhere, clock, DatabaseUnusable, "no schema of its search_path exists")


@pytest.mark.gen_test
async def test_two_servers_may_start_together_on_an_empty_database(
    postgres: PostgresServer, clock: FakeClock
) -> None:
    url = postgres.create_database(is_empty=True)
    both = [PostgresDatabase(url, clock=clock) for _ in range(2)]
    outcomes = await asyncio.gather(*(each.open() for each in both), return_exceptions=True)
    assert sorted(map(type, outcomes), key=str) == sorted([type(None), DatabaseInUse], key=str)
    for each in both:
        await each.close()
    postgres.drop_database(url)


@pytest.mark.gen_test
async def test_the_password_comes_from_a_file(url: str, clock: FakeClock, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    bare = url.replace(f":{PASSWORD}", "")
    database = PostgresDatabase(bare, password_file=file, clock=clock)
    await database.open()
    await database.close()
    file.unlink()
    with pytest.raises(
        DatabaseUnusable, match="'database_password_file' is a file that does not exist"
    ):
        await PostgresDatabase(bare, password_file=file, clock=clock).open()


# Lost connections


@pytest.mark.gen_test
@pytest.mark.parametrize("is_shared", [pytest.param(False, marks=pytest.mark.long), True])
@pytest.mark.parametrize("is_committed", [True, False])
async def test_the_outcome_of_an_interrupted_commit_is_found_out(
    url: str,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    is_committed: bool,
    is_shared: bool,
) -> None:
    async with opened(url, clock, is_shared=is_shared) as database:
        streams = StreamStore(database)
        await streams.append(several("session:s1", "a"))
        assert not await interrupted(monkeypatch, streams, is_committed)
        expected = {1: "a", 2: "b"} if is_committed else {1: "a"}
        assert await offsets(streams, "session:s1") == expected
        (again,) = await streams.append(several("session:s1", "b"))
        assert (again.offset, again.is_new) == (2, not is_committed)
        assert database.health()["ok"]


async def interrupted(
    monkeypatch: pytest.MonkeyPatch, streams: StreamStore, is_committed: bool
) -> list[int]:
    left = lose_at_commit(monkeypatch, is_committed=is_committed)
    if is_committed:
        (position,) = await streams.append(several("session:s1", "b"))
        assert (position.offset, position.is_new) == (2, True)
    else:
        with pytest.raises(StorageUnavailable, match="lost before the commit"):
            await streams.append(several("session:s1", "b"))
    return left


@pytest.mark.gen_test
@pytest.mark.parametrize("is_committed", [True, False])
async def test_an_outcome_that_cannot_be_found_out_in_time_is_not_acknowledged(
    postgres: PostgresServer,
    url: str,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    is_committed: bool,
) -> None:
    """Callers are refused; what its caller resubmits by itself waits, and is not stored twice."""
    monkeypatch.setattr(writing, "_UNDECIDED_S", 0.1)
    name = url.rpartition("/")[2]
    async with opened(url, clock) as database:
        streams = StreamStore(database)
        await streams.append(several("session:s1", "a"))
        postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        taken_back: list[Exception] = []
        started, blocker = threading.Event(), threading.Event()

        def hold(_: Connection) -> None:
            started.set()
            blocker.wait(5)

        def take_back(error: Exception) -> bool:
            taken_back.append(error)
            return True

        database.submit(hold)
        while not started.is_set():
            await asyncio.sleep(0.01)
        job = asyncio.ensure_future(streams.append(several("session:s1", "b")))
        await asyncio.sleep(0)
        database.submit(insert, take_back=take_back)
        lose_at_commit(monkeypatch, is_committed=is_committed, after=1)
        blocker.set()  # both are in the next round
        while not job.done():
            await database.probe()
            await asyncio.sleep(0.02)
        with pytest.raises(StorageUnavailable, match="is not known"):
            job.result()
        assert not database.health()["ok"]
        assert taken_back == []
        postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        while not database.health()["ok"]:
            await database.probe()
            await asyncio.sleep(0.02)
        assert len(taken_back) == (0 if is_committed else 1)
        rows = await database.read(
            lambda db: db.execute("SELECT value FROM revocations").fetchall()
        )
        assert rows == ([("x",)] if is_committed else [])
        (again,) = await streams.append(several("session:s1", "b"))
        assert (again.offset, again.is_new) == (2, not is_committed)


def insert(db: Connection) -> None:
    db.execute("INSERT INTO revocations (kind, value, at) VALUES ('jti', 'x', 1)")


@pytest.mark.gen_test
async def test_connections_come_back_after_a_restart(
    postgres: PostgresServer, url: str, clock: FakeClock
) -> None:
    async with opened(url, clock) as database:
        streams = StreamStore(database)
        await streams.append(several("session:s1", "a"))
        postgres.stop()
        with pytest.raises(StorageUnavailable):
            await streams.append(several("session:s1", "b"))
        with pytest.raises(StorageUnavailable):
            await offsets(streams, "session:s1")
        await database.probe()
        health = database.health()
        assert not health["ok"]
        assert PASSWORD not in health["last_error"]
        postgres.start()
        while not database.health()["ok"]:
            await database.probe()
            await asyncio.sleep(0.05)
        await streams.append(several("session:s1", "b"))
        assert await offsets(streams, "session:s1") == {1: "a", 2: "b"}


@pytest.mark.gen_test
async def test_a_server_that_was_replaced_stores_nothing_more(
    postgres: PostgresServer, url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(url, clock) as first:
        await StreamStore(first).append(several("session:s1", "a"))
        # Its connections break, and it does not notice before another one has started.
        name = url.rpartition("/")[2]
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        )
        async with opened(url, clock) as second:
            with pytest.raises(StorageUnavailable):
                await StreamStore(first).append(several("session:s1", "b"))
            await StreamStore(second).append(several("session:s1", "c"))
        for _ in range(3):
            await first.probe()
            with pytest.raises(StorageUnavailable, match="another server has taken over"):
                await StreamStore(first).append(several("session:s1", "d"))
            await asyncio.sleep(0.06)
        assert await offsets(StreamStore(first), "session:s1") == {1: "a", 2: "c"}


@pytest.mark.gen_test
async def test_a_deadlock_repeats_the_transaction(url: str, clock: FakeClock) -> None:
    calls = 0

    def once(db: Connection) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise psycopg.errors.DeadlockDetected("deadlock detected")
        return calls

    async with opened(url, clock) as database:
        assert await database.run(once) == 2


@pytest.mark.gen_test
async def test_a_job_that_fails_takes_only_itself_back(url: str, clock: FakeClock) -> None:
    def duplicate(db: Connection) -> None:
        insert(db)
        insert(db)

    async with opened(url, clock) as database:
        jobs = [database.run(job) for job in (insert, duplicate, lambda db: None)]
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        assert [type(each) for each in outcomes[1:]] == [
            psycopg.errors.UniqueViolation,
            type(None),
        ]
        with pytest.raises(psycopg.errors.UniqueViolation):
            await database.run(insert)
        await database.run(lambda db: db.execute("DELETE FROM revocations").rowcount)


# The translation


@pytest.mark.parametrize(
    ("sql", "translated", "names"),
    [
        ("a = ? AND b = ?", "a = $1 AND b = $2", None),
        ("a = ?2 OR b = ?1", "a = $2 OR b = $1", None),
        ("a = :x OR b = :y OR c = :x::text", "a = $1 OR b = $2 OR c = $1::text", ("x", "y")),
        ("a = '?:x' AND \"b?\" = ?", "a = '?:x' AND \"b?\" = $1", None),
        ("a IN (SELECT value FROM json_each(?))", "a = ANY($1)", None),
        ("a NOT IN (SELECT value FROM json_each(:x))", "a <> ALL($1)", ("x",)),
        ("json_extract(m.origin, '$.role')", "(m.origin::json ->> 'role')", None),
        ("CAST(at / :step AS INTEGER)", "trunc(at / $1)", ("step",)),
    ],
)
def test_statements_are_translated(
    sql: str, translated: str, names: tuple[str, ...] | None
) -> None:
    assert translate(sql) == (translated, names)
