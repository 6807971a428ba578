"""Epochs: names of numberings (of stream offsets, of exported rows), kept in the table ``meta``.

Numbers of different epochs are never compared.
"""

from __future__ import annotations

import secrets

import sqlite_utils

from wsserver.storage.engine.connection import Executor

EXPORT_EPOCH_KEY = "export_epoch"
"""In ``meta``: the epoch of the numbers of exported rows."""


def new_epoch() -> str:
    """A new unique epoch: ``epoch_`` and 16 hexadecimal digits."""
    return f"epoch_{secrets.token_hex(8)}"


def default_epoch(db: Executor) -> str:
    """The epoch of every stream without a row in ``streams``."""
    epoch: str = db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0]
    return epoch


def renew_default_epoch(db: Executor) -> str:
    """Replace the default epoch, and return the new one.

    To be called in the transaction that deletes stream rows: a stream that is created again starts
    at offset 1, and must not be taken for the deleted one.
    """
    epoch = new_epoch()
    db.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", [epoch])
    return epoch


def fork_epochs(db: sqlite_utils.Database) -> None:
    """Replace all epochs in a copy of a database file.

    The original goes on assigning offsets that the copy does not have. If the copy later replaced
    it with the same epochs, clients would take its new messages for ones that they have received.
    With new epochs they see that the old numbering has ended.

    ``db``: a connection to the copy, such as ``sqlite_utils.Database(path)``; never to a file that
    a server uses. Atomic; committed on return unless the caller has a transaction open. A copy
    without the table ``streams`` (an older schema) is not changed.
    """
    if not db["streams"].exists():
        return
    with db.atomic():
        epoch = renew_default_epoch(db.conn)
        db.conn.execute("UPDATE streams SET epoch = ?", [epoch])
        db.conn.execute("UPDATE dedup SET epoch = ?", [epoch])
        # An export must not resume from a restored copy as if it were the original.
        db.conn.execute("UPDATE meta SET value = ? WHERE key = ?", [new_epoch(), EXPORT_EPOCH_KEY])
