"""Retention: deletes expired rows, periodically in a server or by ``wsserver db prune``."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from wsserver.clock import Clock
from wsserver.errors import StorageFull
from wsserver.storage.engine.check import check_file, file_size, wal_of
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.errors import DatabaseUnusable, translate
from wsserver.storage.engine.lock import ServerLock
from wsserver.storage.engine.sql_leases import Fence
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.maintenance.database_report import free_bytes
from wsserver.storage.messages.conversations import ConversationStore
from wsserver.storage.messages.participant_pruning import ParticipantPruning
from wsserver.storage.messages.search import SearchStore
from wsserver.storage.messages.streams import StreamStore
from wsserver.storage.notifications.known_users import KnownUserStore
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.storage.tables.audit import AuditLog
from wsserver.storage.tables.console_sessions import ConsoleSessionStore
from wsserver.storage.tables.idempotency import IdempotencyStore
from wsserver.storage.tables.snapshots import Snapshots
from wsserver.storage.tables.webhooks import WebhookOutbox

DAY_S = 86_400


class RetentionJob:
    """Deletes rows older than their retention, messages aside, in small batches."""

    def __init__(
        self,
        snapshots: Snapshots,
        idempotency: IdempotencyStore,
        audit: AuditLog,
        notifications: NotificationStore,
        known_users: KnownUserStore,
        webhooks: WebhookOutbox,
        console_sessions: ConsoleSessionStore,
        conversations: ConversationStore,
        participants: ParticipantPruning,
        *,
        snapshot_retention_days: float,
        notification_retention_days: float,
    ) -> None:
        self._snapshots = snapshots
        self._idempotency = idempotency
        self._audit = audit
        self._notifications = notifications
        self._known_users = known_users
        self._webhooks = webhooks
        self._console_sessions = console_sessions
        self._conversations = conversations
        self._participants = participants
        self._snapshot_retention_days = snapshot_retention_days
        self._notifications_kept_s = notification_retention_days * DAY_S

    async def run(self, now: float, fence: Fence | None = None) -> dict[str, int]:
        """Apply every limit; returns the number of deleted rows by table.

        ``now``: seconds since the epoch. ``fence``: of the process that prunes for all. Raises
        ``LeaseLost``, ``StorageUnavailable``, ``StorageFull``; the next run continues where this
        one ended.
        """
        snapshots = await self._snapshots.prune(now, self._snapshot_retention_days, fence)
        return {
            "snapshots": snapshots.averaged,
            "snapshot_hours": snapshots.dropped,
            "idempotency": await self._idempotency.prune(now),
            "audit": await self._audit.prune(now),
            "deliveries": await self._notifications.prune(now, self._notifications_kept_s),
            "known_users": await self._known_users.prune(now),
            "webhook_outbox": await self._webhooks.prune(now),
            "console_sessions": await self._console_sessions.prune(now),
            "conversation_changes": await self._conversations.prune(now),
            "participants": await self._participants.run(now),
        }


class PruneResult(NamedTuple):
    """Result of ``prune``."""

    deleted: dict[str, int]
    """Number of rows by table."""
    bytes_before: int
    """Size of the file and of its write-ahead log."""
    bytes_after: int
    unused_bytes: int | None
    """Of free pages inside the file, which are reused before the file grows."""


class RetentionLimits(NamedTuple):
    """What ``prune`` leaves."""

    snapshot_days: float
    notification_days: float
    stream_messages: int
    """Messages of each stream."""
    session_s: float | None = None
    """Seconds for which messages of sessions are kept; None: as when they were stored."""
    trims_sessions: bool = True
    """Whether ``stream_messages`` holds for sessions, too; False: they are archived."""


async def prune(
    path: Path, clock: Clock, limits: RetentionLimits, *, vacuum: bool = False
) -> PruneResult:
    """Apply missing migrations, then delete all rows older than their retention.

    ``vacuum``: rewrite the file without its unused pages, which needs its size again as free space.
    Raises ``DatabaseInUse`` while a server, which prunes by itself, uses the database (there is
    one writer); ``DatabaseUnusable``, ``StorageUnavailable``, ``StorageFull``.
    """
    if not check_file(path):
        raise DatabaseUnusable(path, "there is no database", "name another file")
    before = file_size(path) + file_size(wal_of(path))
    database = SqliteDatabase(path, clock=clock)
    await database.open()
    try:
        deleted = await delete_expired(database, clock, limits)
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
    return PruneResult(deleted, before, file_size(path), unused)


async def delete_expired(
    database: Database, clock: Clock, limits: RetentionLimits
) -> dict[str, int]:
    """Delete all rows of an open database older than their retention; the counts by table."""
    retention_job = RetentionJob(
        Snapshots(database),
        IdempotencyStore(database),
        AuditLog(database),
        NotificationStore(database),
        KnownUserStore(database),
        WebhookOutbox(database),
        ConsoleSessionStore(database),
        ConversationStore(database),
        ParticipantPruning(database),
        snapshot_retention_days=limits.snapshot_days,
        notification_retention_days=limits.notification_days,
    )
    now = clock.wall()
    await SearchStore(database).compact()
    return await retention_job.run(now) | await _prune_streams(StreamStore(database), now, limits)


async def _prune_streams(store: StreamStore, now: float, limits: RetentionLimits) -> dict[str, int]:
    messages = 0
    if limits.session_s is not None:
        await store.shorten(limits.session_s)
    while batch := await store.expire(now, session_s=limits.session_s or 0.0):
        messages += len(batch)
    with_sessions = limits.trims_sessions
    while batch := await store.trim(limits.stream_messages, with_sessions=with_sessions):
        messages += len(batch)
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
