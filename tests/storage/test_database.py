from __future__ import annotations

import asyncio
import logging
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils

from wsserver.errors import NotFound, StorageFull, StorageUnavailable
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.errors import DatabaseUnusable


def put(value: str, at: float = 1.0) -> Callable[[sqlite_utils.Database], None]:
    def insert(db: sqlite_utils.Database) -> None:
        db.execute("INSERT INTO revocations (kind, value, at) VALUES ('jti', ?, ?)", [value, at])

    return insert


def values(db: sqlite_utils.Database) -> list[str]:
    return [value for (value,) in db.execute("SELECT value FROM revocations ORDER BY value")]


class Blocker:
    """A job that keeps a storage thread busy until it is let go."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self._go = threading.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self, db: sqlite_utils.Database) -> None:
        self._loop.call_soon_threadsafe(self.running.set)
        assert self._go.wait(10)

    def let_go(self) -> None:
        self._go.set()


def commits(database: Database) -> int:
    count: int = database.health()["commits"]
    return count


@pytest.mark.gen_test
async def test_creates_its_folder_and_file_for_the_owner_alone(
    database: Database, path: Path
) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(f"{path}-wal").stat().st_mode) == 0o600


@pytest.mark.gen_test
@pytest.mark.parametrize(("synchronous", "level"), [("normal", 1), ("full", 2)])
async def test_sets_up_its_connection(
    make_database: Callable[..., Database], synchronous: str, level: int
) -> None:
    database = make_database(synchronous=synchronous)
    await database.open()

    def pragmas(db: sqlite_utils.Database) -> list[Any]:
        names = (
            "journal_mode",
            "foreign_keys",
            "synchronous",
            "wal_autocheckpoint",
            "temp_store",
        )
        return [db.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await database.run(pragmas) == ["wal", 1, level, 4000, 2]


@pytest.mark.gen_test
async def test_returns_what_the_function_returns_and_raises_what_it_raises(
    database: Database,
) -> None:
    assert await database.run(lambda db: 7) == 7

    def fail(db: sqlite_utils.Database) -> None:
        raise NotFound("session", "s1")

    with pytest.raises(NotFound):
        await database.run(fail)
    with pytest.raises(NotFound):
        await database.read(fail)


@pytest.mark.gen_test
async def test_what_waits_shares_one_commit(database: Database) -> None:
    blocker = Blocker()
    first = asyncio.ensure_future(database.run(blocker))
    await blocker.running.wait()
    before = commits(database)
    rest = [asyncio.ensure_future(database.run(put(f"{n:03}"))) for n in range(200)]
    while database.health()["queued"] < 200:
        await asyncio.sleep(0)
    blocker.let_go()
    await asyncio.gather(first, *rest)
    assert commits(database) == before + 2
    assert await database.read(values) == [f"{n:03}" for n in range(200)]


@pytest.mark.gen_test
async def test_a_commit_costs_the_loop_one_call(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = Blocker()
    first = asyncio.ensure_future(database.run(blocker))
    await blocker.running.wait()
    rest = [asyncio.ensure_future(database.run(put(str(n)))) for n in range(50)]
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    calls: list[Any] = []
    real = loop.call_soon_threadsafe

    def counted(callback: Callable[..., Any], *args: Any) -> Any:
        calls.append(callback)
        return real(callback, *args)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    blocker.let_go()
    await asyncio.gather(first, *rest)
    assert len(calls) == 2  # one for the blocker's commit, one for the fifty


@pytest.mark.gen_test
async def test_a_result_is_known_only_after_the_commit(database: Database, path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        for n in range(20):
            await database.run(put(str(n)))
            assert other.execute("SELECT count(*) FROM revocations").fetchone() == (n + 1,)


@pytest.mark.gen_test
async def test_a_failing_function_undoes_only_itself(database: Database) -> None:
    def half(db: sqlite_utils.Database) -> None:
        put("half")(db)
        put("a")(db)  # there already

    def next_of_none(db: sqlite_utils.Database) -> None:
        next(iter(()))

    blocker = Blocker()
    first = asyncio.ensure_future(database.run(blocker))
    await blocker.running.wait()
    jobs = [put("a"), half, next_of_none, put("b")]
    rest = [asyncio.ensure_future(database.run(job)) for job in jobs]
    await asyncio.sleep(0)
    blocker.let_go()
    await first
    outcomes = await asyncio.gather(*rest, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        sqlite3.IntegrityError,
        RuntimeError,
        type(None),
    ]
    assert await database.read(values) == ["a", "b"]
    assert commits(database) == 2


@pytest.mark.gen_test
async def test_sqlite_utils_own_writes_join_the_transaction(database: Database) -> None:
    def insert(db: sqlite_utils.Database) -> None:
        db.table("revocations").insert({"kind": "jti", "value": "x", "at": 1.0})
        raise NotFound("session", "s1")

    with pytest.raises(NotFound):
        await database.run(insert)
    assert await database.read(values) == []


@pytest.mark.gen_test
async def test_a_cancelled_caller_affects_no_other(database: Database) -> None:
    blocker = Blocker()
    cancelled = asyncio.ensure_future(database.run(blocker))
    await blocker.running.wait()
    neighbour = asyncio.ensure_future(database.run(put("a")))
    cancelled.cancel()
    blocker.let_go()
    await neighbour
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await database.read(values) == ["a"]


@pytest.mark.gen_test
async def test_a_full_queue_refuses_immediately(
    make_database: Callable[..., Database], caplog: pytest.LogCaptureFixture
) -> None:
    database = make_database(queue_limit=3)
    await database.open()
    blocker = Blocker()
    first = asyncio.ensure_future(database.run(blocker))
    await blocker.running.wait()
    rest = [asyncio.ensure_future(database.run(put(str(n)))) for n in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(StorageUnavailable):
        await database.run(put("too many"))
    with caplog.at_level(logging.CRITICAL):
        assert not database.submit(put("too many"))
    assert database.health()["ok"] is False
    assert database.health()["lost_writes"] == 1
    blocker.let_go()
    await asyncio.gather(first, *rest)
    assert database.health()["ok"] is True
    assert await database.read(values) == ["0", "1", "2"]


@pytest.mark.gen_test
async def test_submit_logs_and_counts_what_fails_later(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert database.submit(put("same"))
    await database.settle()
    assert await database.read(values) == ["same"]
    assert database.health()["lost_writes"] == 2
    assert "writes lost count=" in caplog.text


@pytest.mark.gen_test
async def test_a_long_read_does_not_hold_up_writes_and_sees_one_state(database: Database) -> None:
    await database.run(put("a"))
    blocker = Blocker()

    def long_read(db: sqlite_utils.Database) -> list[list[str]]:
        before = values(db)
        blocker(db)
        return [before, values(db)]

    reading = asyncio.ensure_future(database.read(long_read))
    await blocker.running.wait()
    await database.run(put("b"))
    blocker.let_go()
    assert await reading == [["a"], ["a"]]
    assert await database.read(values) == ["a", "b"]


@pytest.mark.gen_test
async def test_the_reading_connection_cannot_write(database: Database) -> None:
    with pytest.raises(StorageUnavailable, match="readonly"):
        await database.read(put("a"))


@pytest.fixture
def other(path: Path, database: Database) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the same file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@pytest.mark.gen_test
async def test_a_locked_file_refuses_writes_serves_reads_and_recovers(
    database: Database, other: sqlite3.Connection
) -> None:
    await database.run(put("a"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="locked"):
        await database.run(put("b"))
    health = database.health()
    assert health["ok"] is False
    assert "locked" in health["last_error"]
    assert await database.read(values) == ["a"]
    await database.settle()
    other.execute("ROLLBACK")
    await database.run(put("c"))
    assert database.health()["ok"] is True
    assert await database.read(values) == ["a", "c"]


@pytest.mark.gen_test
async def test_only_the_first_round_behind_a_lock_waits_for_long(
    make_database: Callable[..., Database], path: Path
) -> None:
    database = make_database(busy_timeout_s=0.2)
    await database.open()

    def patience_ms(db: sqlite_utils.Database) -> int:
        return int(db.execute("PRAGMA busy_timeout").fetchone()[0])

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable):
            await database.run(put("a"))
        other.execute("ROLLBACK")
    assert [await database.run(patience_ms) for _ in range(2)] == [100, 200]


@pytest.mark.gen_test
async def test_a_probe_detects_the_end_of_a_failure_by_a_write(
    database: Database, other: sqlite3.Connection, path: Path
) -> None:
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable):
        await database.run(put("a"))
    await database.probe()
    assert database.health()["ok"] is False
    other.execute("ROLLBACK")
    wal = Path(f"{path}-wal")
    before = wal.stat().st_size
    await database.probe()
    assert database.health()["ok"] is True
    assert wal.stat().st_size > before
    commits_before = commits(database)
    await database.probe()
    assert commits(database) == commits_before


@pytest.mark.gen_test
async def test_a_read_that_fails_shows_until_one_succeeds(database: Database) -> None:
    def fail(db: sqlite_utils.Database) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    with pytest.raises(StorageUnavailable):
        await database.read(fail)
    assert "disk I/O error" in database.health()["last_error"]
    await database.run(put("a"))
    assert database.health()["ok"] is False
    await database.probe()
    assert database.health()["ok"] is True


@pytest.mark.gen_test
async def test_a_file_found_damaged_is_not_written_to_any_more(
    make_database: Callable[..., Database], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = make_database()
    await database.open()
    for n in range(200):
        await database.run(put(f"{n:03}" * 100))
    await database.close()
    again = make_database()
    await again.open()
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'revocations'"
        ).fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(StorageUnavailable, match="malformed"):
        await again.read(values)
    commits_before = commits(again)
    with pytest.raises(StorageUnavailable, match="nothing is stored: the database is damaged"):
        await again.run(lambda db: db.execute("INSERT INTO session_members VALUES (1, 2, 3, 4)"))
    await again.probe()
    await again.read(lambda db: db.execute("SELECT * FROM audit").fetchall())
    health = again.health()
    assert health["ok"] is False
    assert "damaged" in health["last_error"]
    assert commits(again) == commits_before
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.gen_test
async def test_waits_for_a_lock_that_is_let_go_in_time(
    make_database: Callable[..., Database], path: Path
) -> None:
    database = make_database(busy_timeout_s=10)
    await database.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.ensure_future(database.run(put("a")))
        await database.read(values)  # a round trip through another thread meanwhile
        other.execute("ROLLBACK")
    await writing
    assert await database.read(values) == ["a"]


@pytest.mark.gen_test
async def test_a_full_disk_acknowledges_nothing_and_recovers(database: Database) -> None:
    await database.run(put("before"))

    def limit_pages(db: sqlite_utils.Database, pages: int) -> None:
        db.execute(f"PRAGMA max_page_count = {pages}")

    (pages,) = await database.run(lambda db: db.execute("PRAGMA page_count").fetchone())
    await database.run(lambda db: limit_pages(db, pages))
    blocker = Blocker()
    first = asyncio.ensure_future(database.run(blocker))
    await blocker.running.wait()
    jobs = [put("small"), put("big" * 10_000), put("after")]
    rest = [asyncio.ensure_future(database.run(job)) for job in jobs]
    await asyncio.sleep(0)
    blocker.let_go()
    await first
    outcomes = await asyncio.gather(*rest, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StorageFull] * 3
    assert await database.read(values) == ["before"]
    assert database.health()["ok"] is False
    await database.run(lambda db: limit_pages(db, 1_000_000))
    await database.run(put("big" * 10_000))
    assert database.health()["last_error"] is None


@pytest.mark.gen_test
async def test_a_restart_keeps_everything(
    make_database: Callable[..., Database], path: Path
) -> None:
    database = make_database()
    await database.open()
    await database.run(put("a"))
    assert database.submit(put("b"))
    await database.close()
    await database.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with pytest.raises(StorageUnavailable):
        await database.run(put("c"))
    with pytest.raises(StorageUnavailable):
        await database.read(values)
    again = make_database()
    await again.open()
    assert await again.read(values) == ["a", "b"]


@pytest.mark.gen_test
async def test_what_was_committed_survives_a_crash(
    database: Database, make_database: Callable[..., Database], path: Path, tmp_path: Path
) -> None:
    await database.run(put("a"))
    copy = tmp_path / "copy" / path.name  # the files as a kill -9 leaves them
    copy.parent.mkdir()
    for suffix in ("", "-wal"):
        Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    with closing(sqlite3.connect(copy)) as left:
        assert left.execute("SELECT value FROM revocations").fetchall() == [("a",)]


@pytest.mark.gen_test
async def test_before_open_and_after_a_failed_open_it_is_unavailable(
    make_database: Callable[..., Database], path: Path
) -> None:
    database = make_database()
    with pytest.raises(StorageUnavailable):
        await database.run(put("a"))
    path.mkdir(parents=True)
    with pytest.raises(DatabaseUnusable):
        await database.open()
    with pytest.raises(StorageUnavailable):
        await database.run(put("a"))
    assert database.health()["ok"] is False


@pytest.mark.gen_test
async def test_a_folder_that_cannot_be_made_is_a_fault(
    make_database: Callable[..., Database], path: Path
) -> None:
    path.parent.write_text("a file in the way")
    with pytest.raises(DatabaseUnusable, match=r"cannot be (created|read)"):
        await make_database().open()


@pytest.mark.gen_test
async def test_opening_while_another_process_writes_is_unavailable_not_damage(
    make_database: Callable[..., Database], path: Path
) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageUnavailable):
            await make_database().open()
