"""Rows of the search index, in the transactions that store, change and delete messages.

``search_queue`` has the messages that are to be indexed, in the order of committing. Its ``id`` is
that of the message in ``search_docs`` and in the index (``GramIndex``) from then on, also after
edits: results are ordered by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.json import decode, encode

from wsserver.storage.engine.connection import Connection, Indexed
from wsserver.storage.messages.message_rows import OFFSET_BITS, SESSION, Append
from wsserver.storage.messages.search_text import (
    VERSION,
    indexed_form,
    searched_text,
)
from wsserver.storage.messages.upserts import upsert

SEARCHED_TYPE = "new_message"
VERSION_KEY = "search_version"
"""In ``meta``: of the text in the index."""
REMAINS_KEY = "search_remains"
"""In ``meta``, while deleted contents may be left in the index (``GramIndex.compact``)."""
_REBUILD_KEY = "search_rebuild"
"""In ``meta``, while what was stored before the index is enqueued: how far that is."""

_SELECT_DOCS = (
    "SELECT id, key FROM search_docs WHERE is_indexed = 1"
    " AND key IN (SELECT value FROM json_each(?))"
)
_SELECT_INDEXED = (
    "SELECT d.id, d.key, m.payload FROM search_docs d JOIN messages m ON m.key = d.key"
    " WHERE d.is_indexed = 1 AND d.key IN (SELECT value FROM json_each(?))"
)
_UNINDEX = "UPDATE search_docs SET is_indexed = 0 WHERE id IN (SELECT value FROM json_each(?))"
_DELETE = "DELETE FROM search_docs WHERE key IN (SELECT value FROM json_each(?))"
_SELECT_QUEUED = (
    "SELECT q.id, q.key, m.revision, length(m.payload) FROM search_queue q"
    " LEFT JOIN messages m ON m.key = q.key ORDER BY q.id DESC LIMIT ?"
)
_SELECT_PAYLOADS = "SELECT key, payload FROM messages WHERE key IN (SELECT value FROM json_each(?))"
_SELECT_REVISIONS = (
    "SELECT key, revision FROM messages WHERE key IN (SELECT value FROM json_each(?))"
)
_SELECT_KNOWN = (
    "SELECT key, id, is_indexed FROM search_docs WHERE key IN (SELECT value FROM json_each(?))"
)
_MARK_INDEXED = " ON CONFLICT (key) DO UPDATE SET is_indexed = 1"
_SELECT_NEXT = (
    "SELECT m.expires_at, m.key,"  # noqa: S608 - constants only
    f" m.type = '{SEARCHED_TYPE}' AND m.deleted_at IS NULL"
    f" AND substr(s.name, 1, {len(SESSION)}) = '{SESSION}'"
    " FROM (SELECT expires_at, key, type, deleted_at FROM messages"
    " WHERE (expires_at, key) > (?, ?) ORDER BY expires_at, key LIMIT ?) m"
    f" JOIN streams s ON s.id = m.key >> {OFFSET_BITS} ORDER BY m.expires_at, m.key"
)
"""Joined after the limit: where many expire at one time, PostgreSQL expects a single row of them,
and would compare each with every stream."""
_SELECT_LATER = (
    "SELECT key FROM search_queue WHERE id >= ? AND key IN (SELECT value FROM json_each(?))"
    " UNION SELECT key FROM search_docs WHERE key IN (SELECT value FROM json_each(?))"
)
"""Not by the key alone in the queue: it has no index for that."""
_DEQUEUE = "DELETE FROM search_queue WHERE id IN (SELECT value FROM json_each(?))"


class _Rebuild(Struct):
    """The last message that was looked at, the next id, and the first that is not reserved."""

    expires_at: float = 0.0
    key: int = 0
    id: int = 1
    end: int = 1


class Queued(NamedTuple):
    """A message that is to be indexed, as it was read."""

    id: int
    """In the queue."""
    key: int
    revision: int | None
    """None: the message is gone."""
    text: str
    """In its spaced form; empty: it is not searched."""


def is_searched(item: Append) -> bool:
    """Whether a message can be found, once its text is complete."""
    return item.type == SEARCHED_TYPE and item.stream.startswith(SESSION)


def enqueue(db: Connection, keys: Sequence[int]) -> None:
    """Let messages be indexed soon."""
    if keys:
        db.insert("search_queue", "key", [(key,) for key in keys])


def changed(db: Connection, changes: Iterable[tuple[int, bytes, bytes]]) -> None:
    """Take messages out of the index before they are changed, and let them be indexed again.

    ``changes``: of each the key and the pushes before and after.
    """
    before = {key: old for key, old, _ in changes}
    found = db.execute(_SELECT_DOCS, [db.listed(list(before))]).fetchall()
    if found:
        db.grams.remove(db, [document(id_, key, before[key]) for id_, key in found])
        db.execute(_UNINDEX, [db.listed([id_ for id_, _ in found])])
        _set_meta(db, REMAINS_KEY, "1")
    enqueue(db, [key for key, _, new in changes if searched_text(new)])


def removed(db: Connection, keys: Sequence[int]) -> None:
    """Take messages out of the index before they are deleted."""
    listed = db.listed(keys)
    found = db.execute(_SELECT_INDEXED, [listed]).fetchall()
    if found:
        db.grams.remove(db, [document(*each) for each in found])
    db.execute(_DELETE, [listed])


def document(id_: int, key: int, payload: bytes) -> Indexed:
    """A message as it is indexed."""
    return Indexed(id_, _text(payload), key >> OFFSET_BITS)


def _text(payload: bytes) -> str:
    return indexed_form(searched_text(payload))


def queued(db: Connection, limit: int, budget: int) -> list[Queued]:
    """The latest messages of the queue with their texts; ``budget``: bytes, but one in any case.

    The latest first: what was stored before there was an index must not delay new ones.
    """
    chosen: list[tuple[int, int, int | None]] = []
    for id_, key, revision, size in db.execute(_SELECT_QUEUED, [limit]):
        budget -= size or 0
        if budget < 0 and chosen:
            break
        chosen.append((id_, key, revision))
    keys = db.listed([key for _, key, _ in chosen])
    texts = {key: _text(payload) for key, payload in db.execute(_SELECT_PAYLOADS, [keys])}
    return [Queued(id_, key, revision, texts.get(key, "")) for id_, key, revision in chosen]


def index(db: Connection, batch: Sequence[Queued]) -> None:
    """Index messages of the queue, unless they have changed: then they are in it again."""
    keys = db.listed([each.key for each in batch])
    revisions: dict[int, int] = dict(db.execute(_SELECT_REVISIONS, [keys]))
    known = {key: (id_, is_indexed) for key, id_, is_indexed in db.execute(_SELECT_KNOWN, [keys])}
    documents: dict[int, Indexed] = {}
    for each in batch:
        id_, is_indexed = known.get(each.key, (each.id, 0))
        is_current = each.revision is not None and revisions.get(each.key) == each.revision
        if is_current and each.text and not is_indexed and each.key not in documents:
            documents[each.key] = Indexed(id_, each.text, each.key >> OFFSET_BITS)
    if documents:
        rows = [(each.id, key, 1) for key, each in documents.items()]
        upsert(db, "search_docs", "id, key, is_indexed", _MARK_INDEXED, rows)
        db.grams.add(db, list(documents.values()))
    db.execute(_DEQUEUE, [db.listed([each.id for each in batch])])


def is_of_this_version(db: Connection) -> bool:
    """Whether the index has the text in the form of this version."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", [VERSION_KEY]).fetchone()
    return row is not None and row[0] == VERSION


def begin_anew(db: Connection) -> None:
    """Empty the index; ``rebuild`` enqueues what is stored then, with ids below those of later
    messages.
    """
    (count,) = db.execute("SELECT count(*) FROM messages").fetchone()
    db.execute("DELETE FROM search_queue")
    db.grams.clear(db, count)
    _set_meta(db, VERSION_KEY, VERSION)
    _set_meta(db, _REBUILD_KEY, encode(_Rebuild(end=count + 1)).decode())


def rebuild(db: Connection, limit: int) -> bool:
    """Enqueue the next stored messages, about the oldest first; False: there are no more."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", [_REBUILD_KEY]).fetchone()
    if row is None:
        return False
    place = decode(row[0], type=_Rebuild)
    rows = db.execute(_SELECT_NEXT, [place.expires_at, place.key, limit]).fetchall()
    # Messages that were stored since have been enqueued by themselves.
    wanted = [key for _, key, is_wanted in rows if is_wanted]
    listed = db.listed(wanted)
    later = {key for (key,) in db.execute(_SELECT_LATER, [place.end, listed, listed])}
    keys = [key for key in wanted if key not in later]
    reserved = keys[: place.end - place.id]
    db.insert("search_queue", "id, key", list(enumerate(reserved, place.id)))
    enqueue(db, keys[len(reserved) :])  # one whose index entry was removed meanwhile
    if len(rows) < limit:
        db.execute("DELETE FROM meta WHERE key = ?", [_REBUILD_KEY])
        return False
    expires_at, key, _ = rows[-1]
    place = _Rebuild(expires_at, key, place.id + len(reserved), place.end)
    _set_meta(db, _REBUILD_KEY, encode(place).decode())
    return True


def _set_meta(db: Connection, key: str, value: str) -> None:
    db.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [key, value],
    )


def has_remains(db: Connection) -> bool:
    """Whether deleted contents may be left in the index."""
    sql = "SELECT 1 FROM meta WHERE key = ?"
    return db.execute(sql, [REMAINS_KEY]).fetchone() is not None


def begin_compacting(db: Connection) -> None:
    """What is deleted from here on is for the next time."""
    _set_meta(db, REMAINS_KEY, "0")


def end_compacting(db: Connection) -> None:
    """Nothing is left of what was deleted before the beginning."""
    db.execute("DELETE FROM meta WHERE key = ? AND value = '0'", [REMAINS_KEY])


def waiting(db: Connection) -> int:
    """Number of messages in the queue."""
    row: tuple[Any, ...] = db.execute("SELECT count(*) FROM search_queue").fetchone()
    return int(row[0])
