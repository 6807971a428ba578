"""Epochs: the names of numberings, so that offsets of different ones are never compared."""

from __future__ import annotations

import secrets

import sqlite_utils


def new_epoch() -> str:
    """A name that no other numbering has: ``epoch_`` and 16 hexadecimal digits."""
    return f"epoch_{secrets.token_hex(8)}"


def default_epoch(db: sqlite_utils.Database) -> str:
    """The epoch of every stream that has no row (yet, or no longer)."""
    epoch: str = db.conn.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0]
    return epoch


def renew_default_epoch(db: sqlite_utils.Database) -> str:
    """Give streams without a row another epoch, and return it.

    To be done in the transaction that deletes stream rows: a stream born again starts at 1, and
    must not look like the one that was there before.
    """
    epoch = new_epoch()
    db.conn.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", [epoch])
    return epoch


def fork_epochs(db: sqlite_utils.Database) -> None:
    """Start a new numbering everywhere, in a copy of a database file.

    The original goes on and gives out offsets that the copy does not know. Were the copy used one
    day in its place, with the same epochs, then clients would take the copy's next messages for
    ones that they have seen. With new epochs they learn that the old numbering is gone.

    ``db``: a connection to the copy, as ``sqlite_utils.Database(path)`` makes one; never to the
    file that a server uses. All or nothing, committed on return unless the caller has a
    transaction open. A copy from before there were streams is left as it is.
    """
    if not db["streams"].exists():
        return
    with db.atomic():
        epoch = renew_default_epoch(db)
        db.conn.execute("UPDATE streams SET epoch = ?", [epoch])
        db.conn.execute("UPDATE dedup SET epoch = ?", [epoch])
        # An export must not go on in a restored copy as if it were the original.
        db.conn.execute("UPDATE meta SET value = ? WHERE key = 'export_epoch'", [new_epoch()])
