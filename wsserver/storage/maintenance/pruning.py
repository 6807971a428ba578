"""All retention at once, on a database that no server has open."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from wsserver.clock import Clock
from wsserver.errors import StorageFull
from wsserver.storage.engine.check import check_file, file_size, wal_of
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.errors import DatabaseFault, translate
from wsserver.storage.engine.lock import ServerLock
from wsserver.storage.maintenance.inspection import free_bytes
from wsserver.storage.maintenance.retention_job import RetentionJob
from wsserver.storage.messages.streams import StreamStore
from wsserver.storage.notifications.known_users import KnownUserStore
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.storage.tables.audit import AuditLog
from wsserver.storage.tables.idempotency import IdempotencyStore
from wsserver.storage.tables.snapshots import Snapshots
from wsserver.storage.tables.webhooks import WebhookOutbox


class Pruning(NamedTuple):
    """What a run did."""

    deleted: dict[str, int]
    """Rows by table."""
    bytes_before: int
    """Size of the file and of the write-ahead log that was left."""
    bytes_after: int
    unused_bytes: int
    """Pages inside the file that hold nothing now: used again before the file grows."""


async def prune(
    path: Path,
    clock: Clock,
    *,
    snapshot_retention_days: float,
    notification_retention_days: float,
    stream_limit: int,
    vacuum: bool = False,
) -> Pruning:
    """Delete what has been kept for long enough, and bring an older schema up first.

    ``vacuum``: write the file anew without its unused pages, which takes as much space again while
    it runs. There is one writer: raises ``DatabaseInUse`` while a server has the database, which
    prunes it itself; ``DatabaseFault`` for one that cannot be used, ``StorageUnavailable``,
    ``StorageFull``.
    """
    if not check_file(path):
        raise DatabaseFault(path, "there is no database", "name another file")
    before = file_size(path) + file_size(wal_of(path))
    database = Database(path, clock=clock)
    await database.open()
    try:
        upkeep = RetentionJob(
            Snapshots(database),
            IdempotencyStore(database),
            AuditLog(database),
            NotificationStore(database),
            KnownUserStore(database),
            WebhookOutbox(database),
            snapshot_retention_days=snapshot_retention_days,
            notification_retention_days=notification_retention_days,
        )
        now = clock.wall()
        deleted = await upkeep.run(now) | await _prune_streams(
            StreamStore(database), now, stream_limit
        )
        unused = await database.read(
            lambda db: (
                db.execute("PRAGMA freelist_count").fetchone()[0]
                * db.execute("PRAGMA page_size").fetchone()[0]
            )
        )
    finally:
        await database.close()
    if vacuum:
        _vacuum(path)
        unused = 0
    return Pruning(deleted, before, file_size(path), unused)


async def _prune_streams(store: StreamStore, now: float, limit: int) -> dict[str, int]:
    messages = 0
    while gone := await store.expire(now):
        messages += len(gone)
    while gone := await store.trim(limit):
        messages += len(gone)
    pruned = await store.prune(now)
    return {"messages": messages, "dedup": pruned.dedup_keys, "streams": pruned.streams}


def _vacuum(path: Path) -> None:
    free, needed = free_bytes(path.parent), file_size(path)
    if free is not None and free < needed:
        raise StorageFull(f"the disk has {free} bytes free, {needed} are needed to write it anew")
    lock = ServerLock(path)
    lock.acquire()
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=2.0)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise translate(error) from error
    finally:
        lock.release()
