"""What the schema needs so that the idempotency keys of one user can be counted at no cost."""

from __future__ import annotations

import sqlite_utils

_BYTES = (
    "200 + length(CAST({0}scope AS BLOB)) + length({0}key)"
    " + coalesce(length(CAST({0}headers AS BLOB)), 0) + coalesce(length({0}body), 0)"
)
"""Of a row, its share of the indexes included."""
_ADD = f"""
    INSERT INTO idempotency_quotas (quota, keys, bytes)
    VALUES (NEW.quota, 1, {_BYTES.format("NEW.")})
    ON CONFLICT (quota) DO UPDATE SET keys = keys + 1, bytes = bytes + excluded.bytes
"""  # noqa: S608 - constants only
_TAKE = f"""
    UPDATE idempotency_quotas SET keys = keys - 1, bytes = bytes - ({_BYTES.format("OLD.")})
    WHERE quota = OLD.quota
"""  # noqa: S608 - constants only


def count_idempotency_keys(db: sqlite_utils.Database) -> None:
    """The step of the migrations; only ever called by it.

    ``idempotency.quota``: on whose account a key counts, at first the user that the scope begins
    with. Stored answers of tickets go: they hold the ticket.
    """
    for statement in (
        "DELETE FROM idempotency WHERE scope LIKE '% POST /api/v1/websocket/tickets'",
        "ALTER TABLE idempotency ADD COLUMN quota TEXT NOT NULL DEFAULT ''",
        "UPDATE idempotency SET quota = substr(scope, 1, instr(scope, ' ') - 1)"
        " WHERE instr(scope, ' ') > 0",
        "CREATE INDEX idempotency_by_quota ON idempotency (quota, claimed_at)",
        """
        CREATE TABLE idempotency_quotas (
            quota TEXT PRIMARY KEY,
            keys INTEGER NOT NULL,
            bytes INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        f"""
        INSERT INTO idempotency_quotas (quota, keys, bytes)
        SELECT quota, count(*), sum({_BYTES.format("")}) FROM idempotency GROUP BY quota
        """,  # noqa: S608 - constants only
        f"CREATE TRIGGER idempotency_key_is_taken AFTER INSERT ON idempotency BEGIN {_ADD}; END",
        f"""
        CREATE TRIGGER idempotency_key_changes AFTER UPDATE OF quota, headers, body ON idempotency
        BEGIN {_TAKE}; {_ADD}; END
        """,
        f"""
        CREATE TRIGGER idempotency_key_is_given_back AFTER DELETE ON idempotency BEGIN
            {_TAKE};
            DELETE FROM idempotency_quotas WHERE quota = OLD.quota AND keys <= 0;
        END
        """,  # noqa: S608 - constants only
    ):
        db.conn.execute(statement)
