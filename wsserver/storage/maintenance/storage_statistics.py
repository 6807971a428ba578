"""Counts of stored messages and deliveries, and free disk space, for diagnostics."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

from wsserver.storage.engine.connection import Connection
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

    disk_free_bytes: int | None
    """Available to this user on the disk of the file; None: it is on another machine."""
    disk_total_bytes: int | None
    streams: int
    messages: int
    late: int
    """Kept messages that expired over ``LATE_S`` ago and are still stored."""
    participants: int
    """Read positions: one of each user in each session."""
    changes: int
    """Of conversations, visits of users included."""
    channels: dict[str, ChannelBacklog]


class StorageStatistics:
    """Counts rows in a reading thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, now: float) -> StorageCounts:
        """The counts at ``now`` (epoch seconds). Raises ``StorageUnavailable``."""
        file = self._database.file
        folder = None if file is None else file.absolute().parent
        return await self._database.read(partial(_read, folder=folder, now=now))


def _read(db: Connection, folder: Path | None, now: float) -> StorageCounts:
    disk = None if folder is None else shutil.disk_usage(folder)
    return StorageCounts(
        disk_free_bytes=None if disk is None else disk.free,
        disk_total_bytes=None if disk is None else disk.total,
        streams=_count(db, "SELECT count(*) FROM streams"),
        messages=_count(db, "SELECT count(*) FROM messages"),
        late=_count(db, "SELECT count(*) FROM messages WHERE expires_at < ?", now - LATE_S),
        participants=_count(db, "SELECT count(*) FROM participants"),
        changes=_count(db, "SELECT count(*) FROM conversation_changes"),
        channels=_channels(db, now),
    )


def _count(db: Connection, sql: str, *values: float) -> int:
    (number,) = db.execute(sql, values).fetchone()
    return int(number)


def _channels(db: Connection, now: float) -> dict[str, ChannelBacklog]:
    found = {
        channel: ChannelBacklog(waiting=count, due_since=due_at if due_at <= now else None)
        for channel, count, due_at in db.execute(
            "SELECT channel, count(*), min(due_at) FROM deliveries"
            " WHERE state = 'pending' AND due_at IS NOT NULL GROUP BY channel"
        )
    }
    ended = db.execute(
        "SELECT d.channel, d.state, count(*) FROM notifications n"
        " JOIN deliveries d ON d.notification = n.id"
        " WHERE n.at >= ? AND d.state IN ('failed', 'not_configured') GROUP BY d.channel, d.state",
        [now - DAY_S],
    )
    for channel, state, count in ended:
        found[channel] = found.get(channel, ChannelBacklog())._replace(**{state: count})
    return found
