from __future__ import annotations

import sqlite_utils

from wsserver.storage.migrations import MIGRATIONS, applied_names, known_names

RELEASED = {
    "m0001_snapshots",
    "m0002_audit",
    "m0003_revocations",
    "m0004_idempotency",
    "m0005_session_members",
    "m0006_audit_by_outcome",
}


def test_applying_again_changes_nothing() -> None:
    with sqlite_utils.Database(memory=True) as db:
        MIGRATIONS.apply(db)
        before = db.schema
        MIGRATIONS.apply(db)
        assert db.schema == before
        assert applied_names(db) == sorted(known_names())


def test_no_released_step_is_renamed_or_removed() -> None:
    assert known_names() >= RELEASED
