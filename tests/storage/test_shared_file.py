"""A SQLite file that the processes of one cluster share: locks, turns, the first and the last."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.fake_clock import FakeClock
from tests.support.message_rows import offsets, several
from wsserver.errors import StorageUnavailable
from wsserver.storage.engine import writer as writing
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.errors import DatabaseInUse
from wsserver.storage.engine.lock import ServerLock
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.engine.write_turn import SharedTurn
from wsserver.storage.maintenance.backup import back_up
from wsserver.storage.maintenance.database_report import inspect_database
from wsserver.storage.maintenance.pruning import RetentionLimits, prune
from wsserver.storage.messages.streams import StreamStore

CLUSTER = "redis://cache.example:6379/0"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "wsserver.sqlite3"


def shared(path: Path, clock: FakeClock, cluster: str | None = CLUSTER) -> SqliteDatabase:
    return SqliteDatabase(path, clock=clock, cluster=cluster)


async def refused(database: SqliteDatabase, text: str) -> None:
    with pytest.raises(DatabaseInUse, match=text):
        await database.open()
    await database.close()


@pytest.mark.gen_test
async def test_processes_of_one_cluster_share_a_file(path: Path, clock: FakeClock) -> None:
    first, second = shared(path, clock), shared(path, clock)
    await asyncio.gather(first.open(), second.open())  # on no file at all
    assert first.identity == second.identity
    await StreamStore(first).append(several("session:s1", "a"))
    await StreamStore(second).append(several("session:s1", "b"))
    assert await offsets(StreamStore(first), "session:s1") == {1: "a", 2: "b"}
    await first.close()
    lock = path.with_name(path.name + ".lock")
    assert lock.exists()
    await StreamStore(second).append(several("session:s1", "c"))
    await refused(shared(path, clock, None), "servers of a cluster")
    await second.close()
    assert not lock.exists()
    alone = shared(path, clock, None)
    await alone.open()
    assert await offsets(StreamStore(alone), "session:s1") == {1: "a", 2: "b", 3: "c"}
    await alone.close()


@pytest.mark.gen_test
async def test_another_cluster_is_refused(path: Path, clock: FakeClock) -> None:
    first = shared(path, clock)
    await first.open()
    await refused(shared(path, clock, "redis://other"), "servers of another cluster")
    await first.close()
    second = shared(path, clock, "redis://other")
    await second.open()
    await refused(shared(path, clock), "servers of another cluster")
    await second.close()


@pytest.mark.gen_test
async def test_a_lone_server_keeps_a_cluster_off(path: Path, clock: FakeClock) -> None:
    first = shared(path, clock, None)
    await first.open()
    await refused(shared(path, clock), "using it alone, without 'redis_url'")
    path.with_name(path.name + ".lock").unlink()
    await refused(shared(path, clock), "using it alone, without 'redis_url'")
    await first.close()


@pytest.mark.gen_test
async def test_a_lock_file_of_killed_processes_keeps_nobody_off(
    path: Path, clock: FakeClock
) -> None:
    path.parent.mkdir()
    path.with_name(path.name + ".lock").write_text("left behind")
    for cluster in (CLUSTER, None, "redis://other"):
        database = shared(path, clock, cluster)
        await database.open()
        await database.close()
        path.with_name(path.name + ".lock").write_text("left behind")


@pytest.mark.gen_test
async def test_who_opens_later_waits_until_the_first_has_the_schema(
    path: Path, clock: FakeClock
) -> None:
    lock = ServerLock(path, CLUSTER)
    assert lock.try_acquire()
    second = shared(path, clock)
    opening = asyncio.ensure_future(second.open())
    await asyncio.sleep(0)
    assert not ServerLock(path, CLUSTER).try_acquire()
    assert not opening.done()
    lock.share()
    await opening
    await second.close()
    lock.release()


@pytest.mark.gen_test
async def test_a_checkpoint_of_another_process_is_not_taken_for_an_overwritten_file(
    path: Path, clock: FakeClock
) -> None:
    first, second = shared(path, clock), shared(path, clock)
    await first.open()
    await second.open()
    for number in range(3):
        await StreamStore(first).append(several("session:s1", f"a{number}"))
        await second.run(lambda db: db.execute("SELECT 1").fetchone())
        await first.run(_checkpoint_after)
        await StreamStore(second).append(several("session:s1", f"b{number}"))
    assert first.health()["ok"]
    assert second.health()["ok"]
    await first.close()
    await second.close()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _checkpoint_after(db: Connection) -> None:
    """Let the commit of this job be followed by a checkpoint."""
    db.execute("PRAGMA wal_autocheckpoint = 1")
    db.execute("UPDATE meta SET value = value")


@pytest.mark.gen_test
async def test_the_turn_ends_waiting_in_time_and_health_says_so(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_TURN_S", 0.05)
    first, second = shared(path, clock), shared(path, clock)
    await first.open()
    await second.open()
    goes_on, is_writing = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def write_long(db: Connection) -> None:
        loop.call_soon_threadsafe(is_writing.set)
        goes_on.wait(20)

    writing_long = asyncio.ensure_future(first.run(write_long))
    await is_writing.wait()
    with pytest.raises(StorageUnavailable, match="another process has been writing"):
        await StreamStore(second).append(several("session:s1", "a"))
    assert not second.health()["ok"]
    assert await offsets(StreamStore(second), "session:s1") == {}
    goes_on.set()
    await writing_long
    await StreamStore(second).append(several("session:s1", "a"))
    assert second.health()["ok"]
    await first.close()
    await second.close()


@pytest.mark.gen_test
async def test_turns_alternate(path: Path, clock: FakeClock) -> None:
    """Who has written does not write again before the one who waits."""
    made = shared(path, clock)
    await made.open()
    order: list[str] = []
    both = threading.Barrier(2)

    def take_turns(name: str) -> None:
        lock = ServerLock(path, CLUSTER)
        assert lock.try_acquire()
        turn = SharedTurn(lock)
        both.wait(10)
        for _ in range(30):
            with turn.taken(10):
                order.append(name)
                threading.Event().wait(0.003)  # longer than the other one pauses
        lock.release()

    await asyncio.gather(*[asyncio.to_thread(take_turns, name) for name in ("a", "b")])
    changes = sum(one != next_one for one, next_one in itertools.pairwise(order))
    assert changes > 40, order
    await made.close()


@pytest.mark.gen_test
async def test_check_and_backup_run_beside_processes_and_prune_does_not(
    path: Path, tmp_path: Path, clock: FakeClock
) -> None:
    first, second = shared(path, clock), shared(path, clock)
    await first.open()
    await second.open()
    await StreamStore(first).append(several("session:s1", "a"))
    assert inspect_database(path, clock).ok
    copied = back_up(path, tmp_path / "copy.sqlite3", clock)
    with pytest.raises(DatabaseInUse, match="servers of a cluster"):
        await prune(path, clock, RetentionLimits(1, 1, 1))
    copy = shared(copied.path, clock)
    await copy.open()
    # The same database at another place.
    assert copy.identity.partition("/")[0] == first.identity.partition("/")[0]
    assert copy.identity != first.identity
    for database in (first, second, copy):
        await database.close()


@pytest.mark.gen_test
async def test_retention_finds_what_another_process_has_appended(
    path: Path, clock: FakeClock
) -> None:
    first, second = shared(path, clock), shared(path, clock)
    await first.open()
    await second.open()
    store = StreamStore(first)
    assert await store.trim(2) == []
    for number in range(4):
        await StreamStore(second).append(several("session:s1", f"m{number}"))
    assert [each.message_id for each in await store.trim(2)] == ["m0", "m1"]
    assert await store.trim(2) == []
    await first.close()
    await second.close()
