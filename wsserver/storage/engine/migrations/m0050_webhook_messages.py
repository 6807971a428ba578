"""Migration 50: which message a waiting webhook has the content of."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.migrations.m0020_and_later import MIGRATIONS


@MIGRATIONS()
def m0050_webhook_messages(db: sqlite_utils.Database) -> None:
    """``message_id``: of a posting with the content of a message, which may be deleted."""
    db.execute("ALTER TABLE webhook_outbox ADD COLUMN message_id TEXT")
    db.execute(
        "CREATE INDEX webhook_outbox_by_message ON webhook_outbox (message_id)"
        " WHERE message_id IS NOT NULL"
    )
