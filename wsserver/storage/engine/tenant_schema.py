"""The tables of tenants, as the migrations create them."""

from __future__ import annotations

import sqlite_utils


def create_user_organizations(db: sqlite_utils.Database) -> None:
    """The organization of a user, where a service or an administrator has entered one.

    Beside ``contacts.organization_id``: that is the organization whose manager has entered the
    addresses, and a manager's word does not decide where a user belongs.
    """
    db.execute("""
        CREATE TABLE user_organizations (
            user_id TEXT PRIMARY KEY,
            organization_id TEXT NOT NULL,
            entered_by TEXT NOT NULL,
            entered_at REAL NOT NULL
        ) STRICT, WITHOUT ROWID
    """)
    db.execute(
        "CREATE INDEX user_organizations_by_organization ON user_organizations (organization_id)"
    )


def key_marks_by_organization(db: sqlite_utils.Database) -> None:
    """Give a user's once-per-period marks to the managers of the user's organization too.

    Their marks have the organization in their key from now on. Without this, what a manager has
    sent in the current period would be sent once more.
    """
    db.execute("""
        INSERT OR IGNORE INTO quota_marks (scope, kind, period, threshold, at)
        SELECT m.scope || ' of organization:' || k.organization_id,
            m.kind, m.period, m.threshold, m.at
        FROM known_users k JOIN quota_marks m ON m.scope = 'user:' || k.user_id
        WHERE k.organization_id IS NOT NULL
    """)
