"""Which steps of the schema this version knows, and which a database has."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.migrations import MIGRATIONS


def known_names() -> frozenset[str]:
    """The names of all steps that this version knows."""
    with sqlite_utils.Database(memory=True) as empty:
        return frozenset(step.name for step in MIGRATIONS.pending(empty))


def applied_names(db: sqlite_utils.Database) -> list[str]:
    """The names of the steps recorded in a database, in their order; only reads."""
    return [step.name for step in MIGRATIONS.applied(db)]
