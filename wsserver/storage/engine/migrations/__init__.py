"""Migrations of the SQLite schema, one module for each range of numbers.

A released migration is never edited; it imports no constant that may change. A new one goes into
a module of its own, which is imported here.

Times are REAL seconds since the epoch, the unit of the clock, of token claims and of the API:
nothing is converted, and the time of a revocation compares exactly with a token's ``iat``. (A
double has microseconds until beyond the year 2200.) Hours are INTEGER seconds at their start,
because they are compared for equality.
"""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.migrations import (
    m0048_conversations,
    m0049_revisions,
    m0050_search,
    m0050_webhook_messages,
    m0051_answers,
    m0051_answers_ended_by,
    m0053_participants,
    m0054_console_sessions,
    m0055_away,
    m0058_notifications,
    m0060_extensions,
    m0061_trigrams,
)
from wsserver.storage.engine.migrations.m0020_and_later import MIGRATIONS

__all__ = ["MIGRATIONS", "applied_names", "known_names"]

_WITH_MIGRATIONS = (
    m0048_conversations,
    m0049_revisions,
    m0050_search,
    m0050_webhook_messages,
    m0051_answers,
    m0051_answers_ended_by,
    m0053_participants,
    m0054_console_sessions,
    m0055_away,
    m0058_notifications,
    m0060_extensions,
    m0061_trigrams,
)
"""Modules that add their migrations to ``MIGRATIONS`` when they are imported."""


def known_names() -> frozenset[str]:
    """Names of all migrations of this version."""
    with sqlite_utils.Database(memory=True) as empty:
        return frozenset(step.name for step in MIGRATIONS.pending(empty))


def applied_names(db: sqlite_utils.Database) -> list[str]:
    """Names of the migrations recorded in a database, in order of application; only reads."""
    return [step.name for step in MIGRATIONS.applied(db)]
