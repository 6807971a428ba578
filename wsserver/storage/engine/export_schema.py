"""What the schema needs so that an export can take up where the one before has ended.

Whatever is exported gets a number in the order in which it was committed, and no number is used
twice (AUTOINCREMENT). There is one writer, so that "all numbers above n" is exactly what has come
since: a clock that is set back, or a delivery that ends long after a later one, changes nothing.
"""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.epochs import new_epoch
from wsserver.storage.engine.hourly_rollup import FIELDS

EPOCH_KEY = "export_epoch"
"""In ``meta``: the name of these numberings; a backup has one of its own."""

_COLUMNS = ", ".join(FIELDS)
_MEANS = ", ".join(f"1.0 * {name} / samples AS {name}" for name in FIELDS)
# What is sent to an inbox waits there for its user. No IN: it would fill a table for each row.
_SETTLED = (
    "({0}.state <> 'pending' AND {0}.state <> 'sending'"
    " AND ({0}.state <> 'sent' OR {0}.channel <> 'websocket'))"
)
_NEW, _OLD = _SETTLED.format("NEW"), _SETTLED.format("OLD")


def number_what_is_exported(db: sqlite_utils.Database) -> None:
    """The step of the migrations; only ever called by it."""
    _number_snapshots(db)
    _number_outcomes(db)
    db.conn.execute("INSERT INTO meta (key, value) VALUES (?, ?)", [EPOCH_KEY, new_epoch()])


def _number_snapshots(db: sqlite_utils.Database) -> None:
    """``snapshots.id``; ``snapshot_hours.last_id``: the highest that has gone into an hour.

    The hours that are there already come before all raw snapshots.
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
            {", ".join(f"{name} INTEGER NOT NULL" for name in FIELDS)},
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
    """``outcomes``: the deliveries whose end has come, in the order in which it came.

    Kept by triggers, as no change of a state must be missed. A delivery that is tried again by
    hand leaves the table, and enters it with a higher number at its next end. From ``delivered``
    to ``read`` it keeps its number: both are ends.
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
