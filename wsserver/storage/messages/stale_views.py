"""Stale views: messages whose sender has not seen what others wrote before are refused."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from msgspec import Raw

from wsserver.errors import StaleView
from wsserver.protocol.pushes import positioned
from wsserver.storage.engine.connection import Connection
from wsserver.storage.messages.message_rows import (
    LAST_OFFSET,
    Append,
    Row,
    View,
    key_of,
    stream_row,
)

MISSED_LIMIT = 20
"""Messages that a refusal has, the newest."""
LOOKED_AT = 2000
"""Latest messages of a stream that are looked at; among more of one's own, others are missed."""
_SELECT_LATER = (
    "SELECT key, audience, length(payload) FROM messages"
    " WHERE key > ? AND key <= ? AND type = 'new_message' AND deleted_at IS NULL"
    " AND (sender IS NULL OR sender <> ?) ORDER BY key DESC"
)
_SELECT_PAYLOADS = (
    "SELECT key, payload FROM messages WHERE key IN (SELECT value FROM json_each(?)) ORDER BY key"
)


def find_stale(
    db: Connection, new: Sequence[Append], refused: Collection[str]
) -> dict[str, StaleView]:
    """The errors of messages before which others wrote, in the database or in the batch, by id.

    ``refused``: ids of those that are not stored for another reason. What was missed is added by
    ``add_missed``, once the others are stored.
    """
    rows = {item.stream: stream_row(db, item.stream) for item in new if item.view is not None}
    ends = {name: 0 if row is None else row.last_offset for name, row in rows.items()}
    before: dict[str, list[tuple[int, Append]]] = {name: [] for name in rows}
    stale: dict[str, StaleView] = {}
    for item in new:
        name = item.stream
        if name not in rows or item.message_id in refused:
            continue
        if item.view is not None and (
            _is_behind(item.view, before[name]) or _later(db, rows[name], item.view, 1)
        ):
            stale[item.message_id] = StaleView()
            continue
        ends[name] += 1
        if item.type == "new_message":
            before[name].append((ends[name], item))
    return stale


def _is_behind(view: View, before: Iterable[tuple[int, Append]]) -> bool:
    return any(
        offset > view.seen_offset and item.sender != view.user_id and view.shows(item.audience)
        for offset, item in before
    )


def _later(db: Connection, row: Row | None, view: View, limit: int) -> list[int]:
    """The keys of the latest messages of others after the view, newest first, within its budget."""
    if row is None or view.seen_offset >= row.last_offset:
        return []
    start = max(view.seen_offset, row.last_offset - LOOKED_AT)
    keys: list[int] = []
    budget = view.budget
    for key, audience, size in db.execute(
        _SELECT_LATER, [key_of(row.id, start), key_of(row.id, row.last_offset), view.user_id]
    ):
        if view.shows(audience):
            budget -= size
            if len(keys) == limit or (keys and budget < 0):
                break
            keys.append(key)
    return keys


def add_missed(db: Connection, new: Iterable[Append], stale: dict[str, StaleView]) -> None:
    """Give each error the messages that its sender has missed: whole pushes, ascending."""
    for item in new:
        error = stale.get(item.message_id)
        row = stream_row(db, item.stream) if error is not None else None
        if error is None or item.view is None or row is None:
            continue
        keys = _later(db, row, item.view, MISSED_LIMIT)
        error.details["missed"] = [
            Raw(positioned(payload, item.stream, row.epoch, key & LAST_OFFSET))
            for key, payload in db.execute(_SELECT_PAYLOADS, [db.listed(keys)]).fetchall()
        ]
