"""Migration 55: messages that absent members of a session are told of."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.migrations.m0020_and_later import MIGRATIONS


@MIGRATIONS()
def m0055_away(db: sqlite_utils.Database) -> None:
    """What is to be looked at, who was told and is not back, and by which notification.

    ``away_queue`` has the messages of sessions with the time of sending, while the feature is on.
    ``away_marks.key``: the message that the user was told of.
    """
    for statement in (
        """
        CREATE TABLE away_queue (
            key INTEGER PRIMARY KEY,
            at REAL NOT NULL
        ) STRICT
        """,
        "CREATE INDEX away_queue_by_time ON away_queue (at)",
        """
        CREATE TABLE away_marks (
            user_id TEXT PRIMARY KEY,
            key INTEGER NOT NULL,
            at REAL NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE away_notices (
            message_id TEXT PRIMARY KEY,
            notification_id TEXT NOT NULL,
            at REAL NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX away_notices_by_time ON away_notices (at)",
    ):
        db.execute(statement)
