"""Migrations from 20 on: webhooks, export numbers, organizations of users, idempotency quotas."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.epochs import EXPORT_EPOCH_KEY, new_epoch
from wsserver.storage.engine.identity import IDENTITY_KEY, new_identity
from wsserver.storage.engine.migrations.m0001_to_m0009 import MIGRATIONS

__all__ = ["MIGRATIONS"]

_NUMBERS = (
    "total_connections",
    "active_connections",
    "messages_sent",
    "messages_received",
    "disconnections",
    "errors",
    "active_users",
    "active_sessions",
    "total_user_connections",
    "total_session_connections",
)
_COLUMNS = ", ".join(_NUMBERS)
_MEANS = ", ".join(f"1.0 * {name} / samples AS {name}" for name in _NUMBERS)
# A delivery to an inbox is not settled by sending. No IN: SQLite would fill a table for each row.
_SETTLED = (
    "({0}.state <> 'pending' AND {0}.state <> 'sending'"
    " AND ({0}.state <> 'sent' OR {0}.channel <> 'websocket'))"
)
_NEW, _OLD = _SETTLED.format("NEW"), _SETTLED.format("OLD")
_KEY_BYTES = (
    "200 + length(CAST({0}scope AS BLOB)) + length({0}key)"
    " + coalesce(length(CAST({0}headers AS BLOB)), 0) + coalesce(length({0}body), 0)"
)
"""Estimated bytes of a row of ``idempotency``, with its share of the indexes."""
_COUNT = f"""
    INSERT INTO idempotency_quotas (quota, keys, bytes)
    VALUES (NEW.quota, 1, {_KEY_BYTES.format("NEW.")})
    ON CONFLICT (quota) DO UPDATE SET keys = keys + 1, bytes = bytes + excluded.bytes
"""  # noqa: S608 - constants only
_UNCOUNT = f"""
    UPDATE idempotency_quotas SET keys = keys - 1, bytes = bytes - ({_KEY_BYTES.format("OLD.")})
    WHERE quota = OLD.quota
"""  # noqa: S608 - constants only


@MIGRATIONS()
def m0020_webhook_outbox(db: sqlite_utils.Database) -> None:
    """Events to be posted to a webhook URL; ``due_at`` NULL: given up."""
    db.execute("""
        CREATE TABLE webhook_outbox (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            posting_id TEXT NOT NULL UNIQUE,
            url TEXT NOT NULL,
            event TEXT NOT NULL,
            body BLOB NOT NULL,
            at REAL NOT NULL,
            attempts INTEGER NOT NULL DEFAULT 0,
            due_at REAL,
            detail TEXT NOT NULL DEFAULT ''
        ) STRICT
    """)
    db.execute(
        "CREATE INDEX webhook_outbox_due ON webhook_outbox (url, due_at) WHERE due_at IS NOT NULL"
    )
    db.execute("CREATE INDEX webhook_outbox_dead ON webhook_outbox (at) WHERE due_at IS NULL")


@MIGRATIONS()
def m0022_deliveries_ended(db: sqlite_utils.Database) -> None:
    """Indexes of failed and of held deliveries, which are few among millions that were sent."""
    db.execute(
        "CREATE INDEX deliveries_ended ON deliveries (state, notification) WHERE state IN"
        " ('failed', 'cancelled', 'expired', 'not_configured', 'no_address')"
    )
    db.execute(
        "CREATE INDEX deliveries_held ON deliveries (user_id, channel, digest, due_at)"
        " WHERE is_held = 1 AND state = 'pending'"
    )


@MIGRATIONS()
def m0023_exports(db: sqlite_utils.Database) -> None:
    """Export numbers: an export resumes where the previous one ended.

    Every exported row has a number in the order of committing, and no number is used twice
    (AUTOINCREMENT). There is one writer, so "all numbers above n" is exactly what was committed
    since: a clock that is set back, or a delivery that ends long after a later one, changes
    nothing.
    """
    _number_snapshots(db)
    _number_outcomes(db)
    db.conn.execute("INSERT INTO meta (key, value) VALUES (?, ?)", [EXPORT_EPOCH_KEY, new_epoch()])


def _number_snapshots(db: sqlite_utils.Database) -> None:
    """Add ``snapshots.id``, and ``snapshot_hours.last_id``: the highest id averaged in an hour.

    Existing hours are numbered before all raw snapshots.
    """
    for statement in (
        "ALTER TABLE snapshot_hours ADD COLUMN last_id INTEGER NOT NULL DEFAULT 0",
        """
        UPDATE snapshot_hours SET last_id = numbered.id FROM (
            SELECT hour, node, row_number() OVER (ORDER BY hour, node) AS id FROM snapshot_hours
        ) AS numbered
        WHERE snapshot_hours.hour = numbered.hour AND snapshot_hours.node = numbered.node
        """,
        "CREATE INDEX snapshot_hours_by_last_id ON snapshot_hours (last_id)",
        "DROP VIEW snapshot_means",
        f"""
        CREATE VIEW snapshot_means AS SELECT
            hour AS at,
            node,
            samples,
            {_MEANS},
            (
                SELECT json_group_object(
                    key, 1.0 * json_extract(value, '$[0]') / json_extract(value, '$[1]')
                )
                FROM json_each(snapshot_hours.extra)
            ) AS extra,
            last_id
        FROM snapshot_hours
        """,  # noqa: S608 - constants only
        f"""
        CREATE TABLE numbered_snapshots (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL,
            node TEXT NOT NULL,
            sequence INTEGER NOT NULL,
            {", ".join(f"{name} INTEGER NOT NULL" for name in _NUMBERS)},
            extra TEXT NOT NULL DEFAULT '{{}}',
            UNIQUE (at, node, sequence)
        ) STRICT
        """,
        # Gives the numbering its start, also where there is no raw snapshot to be numbered.
        "INSERT INTO sqlite_sequence (name, seq)"
        " SELECT 'numbered_snapshots', count(*) FROM snapshot_hours",
        f"INSERT INTO numbered_snapshots (at, node, sequence, {_COLUMNS}, extra)"  # noqa: S608
        f" SELECT at, node, sequence, {_COLUMNS}, extra FROM snapshots ORDER BY at, node, sequence",
        "DROP TABLE snapshots",
        "ALTER TABLE numbered_snapshots RENAME TO snapshots",
    ):
        db.execute(statement)


def _number_outcomes(db: sqlite_utils.Database) -> None:
    """Create ``outcomes``: the settled deliveries, numbered in the order of settling.

    Kept by triggers, as no change of a state must be missed. A delivery that is retried by hand
    leaves the table, and gets a higher number when it is settled again. From ``delivered`` to
    ``read`` it keeps its number: both are settled.
    """
    for statement in (
        """
        CREATE TABLE outcomes (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            delivery INTEGER NOT NULL UNIQUE
        ) STRICT
        """,
        f"""
        CREATE TRIGGER delivery_begins_at_its_end AFTER INSERT ON deliveries WHEN {_NEW} BEGIN
            INSERT INTO outcomes (delivery) VALUES (NEW.id);
        END
        """,  # noqa: S608 - constants only
        f"""
        CREATE TRIGGER delivery_comes_to_its_end AFTER UPDATE OF state ON deliveries
        WHEN {_NEW} AND NOT {_OLD} BEGIN
            INSERT INTO outcomes (delivery) VALUES (NEW.id);
        END
        """,  # noqa: S608 - constants only
        f"""
        CREATE TRIGGER delivery_is_tried_again AFTER UPDATE OF state ON deliveries
        WHEN {_OLD} AND NOT {_NEW} BEGIN
            DELETE FROM outcomes WHERE delivery = NEW.id;
        END
        """,  # noqa: S608 - constants only
        """
        CREATE TRIGGER delivery_is_dropped AFTER DELETE ON deliveries BEGIN
            DELETE FROM outcomes WHERE delivery = OLD.id;
        END
        """,
        "INSERT INTO outcomes (delivery) SELECT id FROM deliveries AS d"  # noqa: S608
        f" WHERE {_SETTLED.format('d')} ORDER BY id",
    ):
        db.execute(statement)


@MIGRATIONS()
def m0030_user_organizations(db: sqlite_utils.Database) -> None:
    """Organizations of users, as assigned by a service or an administrator.

    Not ``contacts.organization_id``, the organization whose manager entered the addresses: that
    does not decide which organization a user belongs to.
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


@MIGRATIONS()
def m0031_marks_by_organization(db: sqlite_utils.Database) -> None:
    """Copy a user's once-per-period marks to keys with the user's organization.

    Managers' marks have the organization in their key from here on. Without the copy, what a
    manager has sent in the current period would be sent once more.
    """
    db.execute("""
        INSERT OR IGNORE INTO quota_marks (scope, kind, period, threshold, at)
        SELECT m.scope || ' of organization:' || k.organization_id,
            m.kind, m.period, m.threshold, m.at
        FROM known_users k JOIN quota_marks m ON m.scope = 'user:' || k.user_id
        WHERE k.organization_id IS NOT NULL
    """)


@MIGRATIONS()
def m0035_idempotency_quotas(db: sqlite_utils.Database) -> None:
    """Counts of idempotency keys and their bytes, kept by triggers.

    ``idempotency.quota``: the account that a key counts on, initially the user that the scope
    begins with. Stored answers of tickets are deleted: they hold the ticket.
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
        SELECT quota, count(*), sum({_KEY_BYTES.format("")}) FROM idempotency GROUP BY quota
        """,  # noqa: S608 - constants only
        f"CREATE TRIGGER idempotency_key_is_taken AFTER INSERT ON idempotency BEGIN {_COUNT}; END",
        f"""
        CREATE TRIGGER idempotency_key_changes AFTER UPDATE OF quota, headers, body ON idempotency
        BEGIN {_UNCOUNT}; {_COUNT}; END
        """,
        f"""
        CREATE TRIGGER idempotency_key_is_given_back AFTER DELETE ON idempotency BEGIN
            {_UNCOUNT};
            DELETE FROM idempotency_quotas WHERE quota = OLD.quota AND keys <= 0;
        END
        """,  # noqa: S608 - constants only
    ):
        db.conn.execute(statement)


@MIGRATIONS()
def m0040_webhook_leases(db: sqlite_utils.Database) -> None:
    """Leases of postings that are being attempted, as ``deliveries`` has them."""
    db.execute("ALTER TABLE webhook_outbox ADD COLUMN owner TEXT")
    db.execute("ALTER TABLE webhook_outbox ADD COLUMN lease_until REAL")
    db.execute(
        "CREATE INDEX webhook_outbox_leased ON webhook_outbox (lease_until) WHERE owner IS NOT NULL"
    )


@MIGRATIONS()
def m0041_identity(db: sqlite_utils.Database) -> None:
    """The id of the database, by which servers that share it recognise it."""
    db.execute(
        "INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", [IDENTITY_KEY, new_identity()]
    )


@MIGRATIONS()
def m0042_access_changes(db: sqlite_utils.Database) -> None:
    """The numbers of the latest changes of access lists, by what was changed.

    The row of the kind ``version`` counts the changes; the others have the count of their change.
    """
    db.execute("""
        CREATE TABLE access_changes (
            kind TEXT NOT NULL,
            key TEXT NOT NULL,
            number INTEGER NOT NULL,
            PRIMARY KEY (kind, key)
        ) STRICT, WITHOUT ROWID
    """)
    db.execute("CREATE INDEX access_changes_by_number ON access_changes (number)")


@MIGRATIONS()
def m0043_leases(db: sqlite_utils.Database) -> None:
    """The processes that share the database, and the leases of periodic work (``SqlLeases``)."""
    db.execute(
        "CREATE TABLE processes (id TEXT PRIMARY KEY, beat INTEGER NOT NULL) STRICT, WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, fence INTEGER NOT NULL)"
        " STRICT, WITHOUT ROWID"
    )
