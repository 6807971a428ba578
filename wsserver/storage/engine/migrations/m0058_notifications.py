"""Migrations 58: preferences of users about notifications."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.migrations.m0020_and_later import MIGRATIONS


@MIGRATIONS()
def m0058_notification_preferences(db: sqlite_utils.Database) -> None:
    """What users have chosen, and why a delivery waits or was not sent (``deliveries.reason``)."""
    for statement in (
        """
        CREATE TABLE notification_preferences (
            user_id TEXT PRIMARY KEY,
            preferences TEXT NOT NULL,
            changed_at REAL NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        "ALTER TABLE deliveries ADD COLUMN reason TEXT",
    ):
        db.execute(statement)
