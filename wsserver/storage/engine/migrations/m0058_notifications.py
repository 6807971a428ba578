"""Migrations 58: preferences of users about notifications, and the feed of each."""

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


@MIGRATIONS()
def m0058_notifications_feed(db: sqlite_utils.Database) -> None:
    """When a user has read and archived a notification: deliveries by socket are the feed.

    What was acknowledged before there was a feed counts as read.
    """
    for statement in (
        "ALTER TABLE deliveries ADD COLUMN read_at REAL",
        "ALTER TABLE deliveries ADD COLUMN archived_at REAL",
        "UPDATE deliveries SET read_at = acknowledged_at"
        " WHERE channel = 'websocket' AND acknowledged_at IS NOT NULL",
        "CREATE INDEX deliveries_unread ON deliveries (user_id, notification)"
        " WHERE channel = 'websocket' AND read_at IS NULL AND archived_at IS NULL",
    ):
        db.execute(statement)
