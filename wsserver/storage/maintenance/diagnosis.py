"""Figures about what is stored, for whoever looks after the server."""

from __future__ import annotations

import shutil
from functools import partial
from typing import NamedTuple

import sqlite_utils

from wsserver.storage.engine.database import Database

DAY_S = 86_400.0
LATE_S = 3600.0
"""Expired messages are pruned every ten minutes; whatever is still there after this was missed."""


class Backlog(NamedTuple):
    """The deliveries of one channel."""

    waiting: int = 0
    due_since: float | None = None
    """When the one that has waited longest was due, in epoch seconds; None: none is due."""
    failed: int = 0
    """Given up, of the notifications of the last 24 hours."""
    not_configured: int = 0
    """Never tried for want of settings, of the same."""


class Stored(NamedTuple):
    """What a look at the database has told."""

    disk_free_bytes: int
    """For us on the file's disk."""
    disk_total_bytes: int
    streams: int
    messages: int
    late: int
    """Kept messages that should have been pruned long ago."""
    channels: dict[str, Backlog]


class Diagnosis:
    """Counts in the reading thread, so that nothing else waits for it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self, now: float) -> Stored:
        """Count, at ``now`` in epoch seconds. Raises ``StorageUnavailable``."""
        folder = self._database.path.absolute().parent
        return await self._database.read(partial(_look, folder=str(folder), now=now))


def _look(db: sqlite_utils.Database, folder: str, now: float) -> Stored:
    disk = shutil.disk_usage(folder)
    return Stored(
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


def _channels(db: sqlite_utils.Database, now: float) -> dict[str, Backlog]:
    found = {
        channel: Backlog(waiting=count, due_since=due_at if due_at <= now else None)
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
        found[channel] = found.get(channel, Backlog())._replace(**{state: count})
    return found
