"""Counts of stored messages and deliveries, and free disk space, for diagnostics."""

from __future__ import annotations

import shutil
from functools import partial
from typing import NamedTuple

import sqlite_utils

from wsserver.storage.engine.database import Database

DAY_S = 86_400.0
LATE_S = 3600.0
"""Messages are pruned within ten minutes after they expire; later ones were missed."""


class ChannelBacklog(NamedTuple):
    """Pending and failed deliveries of one channel."""

    waiting: int = 0
    due_since: float | None = None
    """When the oldest due delivery became due, in epoch seconds; None: none is due."""
    failed: int = 0
    """Failed for good, of the notifications of the last 24 hours."""
    not_configured: int = 0
    """Not tried because the channel is not configured, of the same notifications."""


class StorageCounts(NamedTuple):
    """Counts of a database, and the space of its disk."""

    disk_free_bytes: int
    """Available to this user on the disk of the file."""
    disk_total_bytes: int
    streams: int
    messages: int
    late: int
    """Kept messages that expired over ``LATE_S`` ago and are still stored."""
    channels: dict[str, ChannelBacklog]


class StorageStatistics:
    """Counts rows in a reading thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, now: float) -> StorageCounts:
        """The counts at ``now`` (epoch seconds). Raises ``StorageUnavailable``."""
        folder = self._database.path.absolute().parent
        return await self._database.read(partial(_read, folder=str(folder), now=now))


def _read(db: sqlite_utils.Database, folder: str, now: float) -> StorageCounts:
    disk = shutil.disk_usage(folder)
    return StorageCounts(
        disk_free_bytes=disk.free,
        disk_total_bytes=disk.total,
        streams=_count(db, "SELECT count(*) FROM streams"),
        messages=_count(db, "SELECT count(*) FROM messages"),
        late=_count(db, "SELECT count(*) FROM messages WHERE expires_at < ?", now - LATE_S),
        channels=_channels(db, now),
    )


def _count(db: sqlite_utils.Database, sql: str, *values: float) -> int:
    (number,) = db.conn.execute(sql, values).fetchone()
    return int(number)


def _channels(db: sqlite_utils.Database, now: float) -> dict[str, ChannelBacklog]:
    found = {
        channel: ChannelBacklog(waiting=count, due_since=due_at if due_at <= now else None)
        for channel, count, due_at in db.conn.execute(
            "SELECT channel, count(*), min(due_at) FROM deliveries"
            " WHERE state = 'pending' AND due_at IS NOT NULL GROUP BY channel"
        )
    }
    ended = db.conn.execute(
        "SELECT d.channel, d.state, count(*) FROM notifications n"
        " JOIN deliveries d ON d.notification = n.id"
        " WHERE n.at >= ? AND d.state IN ('failed', 'not_configured') GROUP BY d.channel, d.state",
        [now - DAY_S],
    )
    for channel, state, count in ended:
        found[channel] = found.get(channel, ChannelBacklog())._replace(**{state: count})
    return found
