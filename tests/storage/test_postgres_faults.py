"""PostgreSQL: TLS, read-only servers, slow statements, a full disk, a changed password, silence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from scripts.backends.postgres import PASSWORD, PostgresServer
from tests.support.certificates import Authority
from tests.support.cut_network import CutNetwork
from tests.support.fake_clock import FakeClock
from tests.support.message_rows import offsets, several
from tests.support.waiting import poll
from wsserver.errors import StorageFull, StorageUnavailable
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.errors import DatabaseUnusable
from wsserver.storage.engine.postgres import answer_watch, connecting
from wsserver.storage.engine.postgres import writer as writing
from wsserver.storage.engine.postgres.connecting import Server, check_server
from wsserver.storage.engine.postgres.database import PostgresDatabase
from wsserver.storage.maintenance.postgres import inspect_server
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


async def refused(url: str, clock: FakeClock, text: str, **options: Any) -> None:
    database = PostgresDatabase(url, clock=clock, **options)
    with pytest.raises(DatabaseUnusable, match=text) as found:
        await database.open()
    await database.close()
    assert "'database_url'" in str(found.value)
    assert PASSWORD not in repr(found.value)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> Iterator[PostgresServer]:
    """A server whose certificate is for ``localhost``, and not for 127.0.0.1."""
    server = PostgresServer()
    try:
        authority.server(["localhost"])
        pem = server.give_file("server.pem", (authority.file.parent / "server.pem").read_bytes())
        server.start(ssl="on", ssl_cert_file=pem, ssl_key_file=pem)
        yield server
    finally:
        server.remove()


@pytest.mark.gen_test
async def test_tls_is_verified_as_the_url_says(
    tls: PostgresServer, authority: Authority, tmp_path: Path, clock: FakeClock
) -> None:
    url = tls.create_database()
    verified = url.replace("127.0.0.1", "localhost")
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    other = Authority(stranger)
    for accepted in (
        f"{url}?sslmode=require",
        f"{url}?sslmode=verify-ca&sslrootcert={authority.file}",
        f"{verified}?sslmode=verify-full&sslrootcert={authority.file}",
    ):
        database = PostgresDatabase(accepted, clock=clock)
        await database.open()
        assert await database.run(_uses_tls)
        await database.close()
    await refused(
        f"{url}?sslmode=verify-full&sslrootcert={authority.file}", clock, "does not match host"
    )
    await refused(
        f"{verified}?sslmode=verify-full&sslrootcert={other.file}", clock, "certificate verify"
    )
    await refused(
        f"{verified}?sslmode=verify-full&sslrootcert={tmp_path}/none.pem", clock, "none.pem"
    )


def _uses_tls(db: Connection) -> bool:
    sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    return bool(db.execute(sql).fetchone()[0])


@pytest.mark.gen_test
async def test_tls_that_the_server_does_not_offer_cannot_pass(url: str, clock: FakeClock) -> None:
    await refused(f"{url}?sslmode=require", clock, "server does not support SSL")


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.gen_test
async def test_a_read_only_database_cannot_pass(
    postgres: PostgresServer, url: str, clock: FakeClock, is_shared: bool
) -> None:
    name = url.rpartition("/")[2]
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await refused(url, clock, "is read-only", is_shared=is_shared)
    assert inspect_server(Server(url), clock).ok


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_standby_cannot_pass_and_is_named(
    tmp_path_factory: pytest.TempPathFactory, clock: FakeClock
) -> None:
    """It is made from a copy of the stopped primary's files."""
    server = PostgresServer()
    try:
        server.start()
        url = server.create_database()
        server.stop()
        server.give_file("data/standby.signal", b"")
        server.start(hot_standby="on")
        await refused(url, clock, "is a read-only replica")
    finally:
        server.remove()


@pytest.mark.gen_test
async def test_a_slow_statement_is_ended_and_the_server_goes_on(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        connecting, "_SESSION", connecting._SESSION.replace("timeout = '30s'", "timeout = '200ms'")
    )
    monkeypatch.setattr(writing, "STATEMENT_S", 0.2)
    database = PostgresDatabase(url, clock=clock, is_shared=True)
    await database.open()

    def sleep(db: Connection) -> None:
        db.execute("SELECT pg_sleep(20)").fetchall()

    for slow in (database.run, database.read):
        with pytest.raises(StorageUnavailable, match="statement timeout"):
            await slow(sleep)
    await StreamStore(database).append(several("session:s1", "a"))
    assert await offsets(StreamStore(database), "session:s1") == {1: "a"}
    assert database.health()["ok"]
    await database.close()


@pytest.mark.gen_test
async def test_a_changed_password_is_read_at_the_next_connection(
    postgres: PostgresServer, clock: FakeClock, tmp_path: Path
) -> None:
    postgres.execute("CREATE ROLE changing LOGIN PASSWORD 'first-one'")
    postgres.execute("CREATE DATABASE changing OWNER changing")
    file = tmp_path / "password"
    file.write_text("first-one\n")
    url = postgres.url("changing", user="changing").replace(f":{PASSWORD}", "")
    database = PostgresDatabase(url, password_file=file, clock=clock, is_shared=True)
    await database.open()
    store = StreamStore(database)
    try:
        postgres.execute("ALTER ROLE changing PASSWORD 'second-one'")
        await store.append(several("session:s1", "a"))  # the connections stay
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'changing'"
        )
        with pytest.raises(StorageUnavailable):
            await store.append(several("session:s1", "b"))
        with pytest.raises(StorageUnavailable, match="password authentication failed") as found:
            await _later(store, "b")
        assert "first-one" not in str(found.value)
        file.write_text("second-one\n")
        async with asyncio.timeout(20):
            while True:
                try:
                    await _later(store, "b")
                except StorageUnavailable:
                    continue
                break
        assert await offsets(store, "session:s1") == {1: "a", 2: "b"}
    finally:
        await database.close()
        postgres.execute("DROP DATABASE changing WITH (FORCE)")
        postgres.execute("DROP ROLE changing")


async def _later(store: StreamStore, message_id: str) -> None:
    await asyncio.sleep(0.06)  # the longest pause between two attempts to connect
    await store.append(several("session:s1", message_id))


@pytest.mark.gen_test
async def test_a_full_disk_is_told_from_an_outage(url: str, clock: FakeClock) -> None:
    """A trigger raises what a full disk raises."""
    database = PostgresDatabase(url, clock=clock)
    await database.open()
    await database.run(
        lambda db: (
            db.execute(
                "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$"
            ).rowcount
        )
    )
    await database.run(
        lambda db: (
            db.execute(
                "CREATE TRIGGER fills BEFORE INSERT ON messages EXECUTE FUNCTION fill()"
            ).rowcount
        )
    )
    store = StreamStore(database)
    with pytest.raises(StorageFull):
        await store.append(several("session:s1", "a"))
    assert not database.health()["ok"]
    await database.run(lambda db: db.execute("DROP TRIGGER fills ON messages").rowcount)
    assert [each.offset for each in await store.append(several("session:s1", "a"))] == [1]
    assert database.health()["ok"]
    await database.close()


@pytest.mark.parametrize("number", [12, 13])
def test_an_old_version_cannot_pass(number: int) -> None:
    db: Any = SimpleNamespace(
        raw=SimpleNamespace(info=SimpleNamespace(server_version=number * 10_000 + 9))
    )
    with pytest.raises(DatabaseUnusable, match=f"is PostgreSQL {number}; version 14 is the oldest"):
        check_server(Server("postgresql://db.example/x"), db)


# A server that does not answer


@contextmanager
def network_to(url: str) -> Iterator[tuple[str, CutNetwork]]:
    """A network to a server, and the URL through it."""
    parts = urlsplit(url)
    with CutNetwork(str(parts.hostname), parts.port or 5432) as network:
        through = parts._replace(
            netloc=f"{parts.username}:{parts.password}@127.0.0.1:{network.port}"
        )
        yield urlunsplit(through), network


@asynccontextmanager
async def behind_a_network(
    url: str, clock: FakeClock
) -> AsyncIterator[tuple[PostgresDatabase, CutNetwork]]:
    """An open database, and the network to its server."""
    with network_to(url) as (through, network):
        database = PostgresDatabase(through, clock=clock)
        await database.open()
        try:
            yield database, network
        finally:
            await database.close()


@pytest.mark.gen_test
async def test_a_server_that_does_not_answer_is_given_up_and_found_again(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_watch, "ANSWER_S", 1.0)
    monkeypatch.setattr(answer_watch, "PERIOD_S", 0.05)
    async with behind_a_network(url, clock) as (database, network):
        try:
            await database.run(_count)
            network.cut()
            attempts = [database.run(_count), *(database.read(_count) for _ in range(3))]
            outcomes = await asyncio.gather(*attempts, return_exceptions=True)
            assert [type(each) for each in outcomes] == [StorageUnavailable] * 4
            assert database.health()["ok"] is False
            network.mend()
            while True:
                await database.probe()
                if database.health()["ok"]:
                    break
            assert await database.read(_count) == await database.run(_count)
        finally:
            network.mend()


@pytest.mark.gen_test
async def test_idle_connections_that_were_lost_unnoticed_are_replaced_by_those_who_read(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_watch, "BEGIN_S", 0.3)
    monkeypatch.setattr(answer_watch, "PERIOD_S", 0.05)
    async with behind_a_network(url, clock) as (database, network):
        try:
            before = await asyncio.gather(*(database.read(_count) for _ in range(8)))
            network.lose()
            # The writing connection, which nobody uses meanwhile, tells nothing of it.
            after = await asyncio.gather(*(database.read(_count) for _ in range(8)))
            assert after == before
        finally:
            monkeypatch.setattr(answer_watch, "ANSWER_S", 0.3)


@pytest.fixture
def only_inquiries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is given up because it is silent for long."""
    monkeypatch.setattr(answer_watch, "ANSWER_S", 1e6)
    monkeypatch.setattr(answer_watch, "BEGIN_S", 1e6)
    monkeypatch.setattr(answer_watch, "ASK_S", 0.1)
    monkeypatch.setattr(answer_watch, "PERIOD_S", 0.05)


@pytest.mark.usefixtures("only_inquiries")
@pytest.mark.gen_test
async def test_a_writing_connection_that_was_lost_alone_is_found_by_asking_the_server(
    url: str, clock: FakeClock
) -> None:
    async with behind_a_network(url, clock) as (database, network):
        await database.run(_count)
        network.lose()
        with pytest.raises(StorageUnavailable):
            await database.run(_count)
        assert await database.run(_count) == 0


@pytest.mark.usefixtures("only_inquiries")
@pytest.mark.gen_test
async def test_a_commit_whose_answer_was_lost_is_found_by_asking_the_server(
    url: str, clock: FakeClock
) -> None:
    async with behind_a_network(url, clock) as (database, network):
        store = StreamStore(database)
        await database.run(
            lambda db: (
                db.execute(
                    "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                    " PERFORM pg_sleep(1); RETURN NULL; END $$"
                ).rowcount
            )
        )
        await database.run(
            lambda db: (
                db.execute(
                    "CREATE CONSTRAINT TRIGGER lingers AFTER INSERT ON messages"
                    " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION linger()"
                ).rowcount
            )
        )
        appending = asyncio.ensure_future(store.append(several("session:s1", "a")))
        await asyncio.to_thread(_until_committing, url)
        network.lose()
        assert [each.offset for each in await appending] == [1]


@pytest.mark.usefixtures("only_inquiries")
@pytest.mark.gen_test
async def test_a_connection_that_was_lost_while_rows_are_copied_is_found_by_asking_the_server(
    url: str, clock: FakeClock
) -> None:
    """The server waits for rows, which it calls active."""
    async with behind_a_network(url, clock) as (database, network):

        class Rows(list[tuple[str, str]]):
            def __iter__(self) -> Iterator[tuple[str, str]]:
                network.lose()
                return super().__iter__()

        rows = Rows((f"key {number}", "x") for number in range(10))
        with pytest.raises(StorageUnavailable):
            await database.run(lambda db: db.insert("meta", "key, value", rows))
        assert await database.run(_count) == 0


@pytest.mark.usefixtures("only_inquiries")
@pytest.mark.gen_test
async def test_rows_that_are_copied_for_long_are_left_alone(url: str, clock: FakeClock) -> None:
    class Rows(list[tuple[str, str]]):
        def __iter__(self) -> Iterator[tuple[str, str]]:
            for row in super().__iter__():
                time.sleep(0.06)
                yield row

    rows = Rows((f"key {number}", "x") for number in range(10))
    database = PostgresDatabase(url, clock=clock)
    await database.open()
    try:
        await database.run(lambda db: db.insert("meta", "key, value", rows))
    finally:
        await database.close()


def test_a_server_that_is_silent_after_the_login_is_given_up(url: str) -> None:
    with network_to(url) as (through, network):
        server = Server(through)
        server.connect().close()
        network.silent_after = b"Z\0\0\0\5I"  # ready for a query
        with pytest.raises(
            StorageUnavailable, match="no answer to the first statements within 1 s"
        ):
            server.connect(1)


@pytest.mark.gen_test
async def test_a_server_that_is_silent_at_the_start_is_given_up(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_watch, "ANSWER_S", 0.3)
    monkeypatch.setattr(answer_watch, "PERIOD_S", 0.05)
    with network_to(url) as (through, network):
        network.silent_after = b"pg_is_in_recovery"  # of the second statement
        database = PostgresDatabase(through, clock=clock)
        with pytest.raises(StorageUnavailable):
            await database.open()


def _until_committing(url: str) -> None:
    sql = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query = 'COMMIT' AND state = 'active'"
    )
    with psycopg.connect(url, autocommit=True) as db:
        poll(lambda: db.execute(sql).fetchone(), lambda row: row is not None and row[0] == 1)


@pytest.mark.usefixtures("only_inquiries")
@pytest.mark.gen_test
@pytest.mark.long
async def test_jobs_that_take_long_are_left_alone(url: str, clock: FakeClock) -> None:
    """In the server, as a commit to a slow disk, or here between two statements."""

    def sleep_there(db: Connection) -> int:
        db.execute("SELECT pg_sleep(1.5)").fetchone()
        return 1

    def sleep_here(db: Connection) -> int:
        _count(db)
        time.sleep(1.5)
        return _count(db)

    database = PostgresDatabase(url, clock=clock)
    await database.open()
    try:
        work = [database.run(sleep_there), database.read(sleep_there), database.read(sleep_here)]
        assert await asyncio.gather(*work) == [1, 1, 0]
        assert await database.run(sleep_here) == 0
    finally:
        await database.close()


@pytest.mark.usefixtures("only_inquiries")
@pytest.mark.gen_test
@pytest.mark.long
async def test_a_server_without_room_for_the_question_is_no_silence(
    postgres: PostgresServer, url: str, clock: FakeClock
) -> None:
    def sleep(db: Connection) -> int:
        db.execute("SELECT pg_sleep(0.6)").fetchone()
        return 1

    name = urlsplit(url).path[1:]
    open_ = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"
    database = PostgresDatabase(url, clock=clock)
    await database.open()
    try:
        before = postgres.execute(open_)
        assert await database.run(sleep) == 1
        poll(lambda: postgres.execute(open_), lambda found: found == before)  # it is closed again
        postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        work = [database.run(sleep), database.read(sleep)]
        assert await asyncio.gather(*work) == [1, 1]
        assert await database.run(_count) == 0
        assert postgres.execute(open_) == before
    finally:
        await database.close()


@pytest.mark.gen_test
@pytest.mark.long
async def test_a_statement_that_takes_long_is_no_silence(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that reads: the server ends those that write sooner."""
    monkeypatch.setattr(answer_watch, "ANSWER_S", 0.2)
    monkeypatch.setattr(answer_watch, "PERIOD_S", 0.01)
    database = PostgresDatabase(url, clock=clock)
    await database.open()
    try:
        await database.read(lambda db: db.execute("SELECT pg_sleep(0.5)").fetchone() and None)
        for _ in range(10):
            await database.run(_count)
        assert database.health()["ok"] is True
    finally:
        await database.close()


def _count(db: Connection) -> int:
    return int(db.execute("SELECT count(*) FROM streams").fetchone()[0])
