"""``away_queue``: messages of sessions whose absent members may have to be notified."""

from __future__ import annotations

from collections.abc import Sequence

from wsserver.storage.engine.connection import Connection
from wsserver.storage.messages.message_rows import Append, Appended
from wsserver.storage.messages.search_rows import is_searched

_INSERT = (
    "INSERT INTO away_queue (key, at) SELECT key, at FROM messages"
    " WHERE message_id IN (SELECT value FROM json_each(?)) ON CONFLICT (key) DO NOTHING"
)


def note(db: Connection, batch: Sequence[Append], answers: Sequence[Appended]) -> None:
    """Note the new messages of a batch, in the transaction that stores them."""
    new = [
        item.message_id
        for item, answer in zip(batch, answers, strict=True)
        if answer.is_new and is_searched(item)
    ]
    if new:
        db.execute(_INSERT, [db.listed(new)])
