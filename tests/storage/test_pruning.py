from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.database_files import make_file
from tests.support.fake_clock import FakeClock
from tests.support.message_rows import message, offsets, several
from wsserver.errors import StorageFull
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.errors import DatabaseInUse, DatabaseUnusable
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.maintenance import pruning
from wsserver.storage.maintenance.pruning import RetentionLimits, prune
from wsserver.storage.messages.streams import StreamStore
from wsserver.storage.tables.audit import AuditEntry, AuditLog
from wsserver.storage.tables.idempotency import IdempotencyStore, Quota
from wsserver.storage.tables.snapshots import FIELDS, Snapshots

MakeDatabase = Callable[..., Database]
DAY_S = 86_400


async def fill(database: Database, now: float) -> None:
    """Something old and something new in every table that has a limit."""
    audit, snapshots = AuditLog(database), Snapshots(database)
    keys = IdempotencyStore(database)
    for days in (0, 800):
        at = now - days * DAY_S
        for _ in range(1000 if days else 1):
            audit.record(
                AuditEntry(at=at, actor="u", role="admin", action="x", detail={"a": "b" * 200})
            )
        await keys.claim("scope", f"key {days}", "f", at, Quota("u", 10))
    for days in (0, 2, 40):
        figures = dict.fromkeys(FIELDS, 1)
        at = now - days * DAY_S
        await snapshots.add({"timestamp": at, "node": "n", "sequence": days, **figures})
    streams = StreamStore(database)
    await streams.append(several("session:long", *"abcdef", at=now, expires_at=now + DAY_S))
    await streams.append(several("user:u1", *"uvw", at=now - DAY_S, expires_at=now - 1))
    await streams.append([message("broadcast", "x", at=now - 40 * DAY_S, expires_at=now - 1)])
    audit.flush()
    await database.settle()


@pytest.mark.gen_test
@pytest.mark.parametrize("vacuum", [False, True])
async def test_every_table_loses_what_is_old_and_the_file_its_size_if_wanted(
    make_database: MakeDatabase, path: Path, clock: FakeClock, vacuum: bool
) -> None:
    database = make_database()
    await database.open()
    await fill(database, clock.wall())
    await database.close()
    size = path.stat().st_size
    done = await prune(
        path,
        clock,
        RetentionLimits(1, 1, 4),
        vacuum=vacuum,
    )
    assert done.deleted == {
        "snapshots": 2,
        "snapshot_hours": 0,
        "idempotency": 1,
        "audit": 1000,
        "deliveries": 0,
        "known_users": 0,
        "webhook_outbox": 0,
        "console_sessions": 0,
        "conversation_changes": 0,
        "participants": 0,
        "messages": 2 + 3 + 1,
        "dedup": 0,
        "streams": 1,
    }
    assert done.bytes_before == size
    assert done.bytes_after == path.stat().st_size
    assert (done.bytes_after < size, done.unused_bytes == 0) == (vacuum, vacuum)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    await database.open()
    assert (await AuditLog(database).page(10)).total == 1
    kept = await offsets(StreamStore(database), "session:long", clock.wall())
    assert kept == {3: "c", 4: "d", 5: "e", 6: "f"}


@pytest.mark.gen_test
async def test_beside_a_server_nothing_is_done(
    database: Database, path: Path, clock: FakeClock
) -> None:
    await fill(database, clock.wall())
    with pytest.raises(DatabaseInUse):
        await prune(
            path,
            clock,
            RetentionLimits(1, 1, 1000),
            vacuum=True,
        )
    assert (await AuditLog(database).page(10)).total == 1001


@pytest.mark.gen_test
async def test_a_server_that_starts_between_the_two_steps_keeps_its_file(
    make_database: MakeDatabase, path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_file(make_database)
    monkeypatch.setattr(pruning, "SqliteDatabase", Untaken)
    server = make_database()
    await server.open()
    with pytest.raises(DatabaseInUse):
        await prune(
            path,
            clock,
            RetentionLimits(1, 1, 1000),
            vacuum=True,
        )


class Untaken(SqliteDatabase):
    """A database whose file is removed as soon as it is closed."""

    async def open(self) -> None:
        await self._writer.start()
        await self._readers.start()


@pytest.mark.gen_test
async def test_a_disk_without_room_for_a_second_file_is_full(
    make_database: MakeDatabase, path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_file(make_database)
    before = path.stat().st_size
    monkeypatch.setattr(pruning, "free_bytes", lambda folder: 10)
    with pytest.raises(StorageFull, match="10 bytes free"):
        await prune(
            path,
            clock,
            RetentionLimits(1, 1, 1000),
            vacuum=True,
        )
    assert path.stat().st_size == before


@pytest.mark.gen_test
async def test_no_database_is_made(path: Path, clock: FakeClock) -> None:
    with pytest.raises(DatabaseUnusable, match="there is no database"):
        await prune(path, clock, RetentionLimits(1, 1, 1000))
    assert not path.parent.exists()
