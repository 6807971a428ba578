"""Changes of stored messages in place: a message keeps its offset, its newest version replaces it.

A change record has the key of the changed message in ``subject``. It is stored without that
message, which is added when it is read. So each record has the newest version, and a change writes
two rows however many there were before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wsserver.errors import NotFound, WsServerError
from wsserver.protocol.revisions import message_in
from wsserver.storage.engine.connection import Connection
from wsserver.storage.messages import search_rows
from wsserver.storage.messages.message_rows import (
    LAST_OFFSET,
    OFFSET_BITS,
    SESSION,
    Append,
    Appended,
    Change,
    Revision,
    Subject,
)
from wsserver.storage.messages.participants import NEW_MESSAGE, uncount

_SELECT = (
    "SELECT m.key, m.message_id, m.type, m.at, m.sender, m.payload, m.revision, m.deleted_at,"  # noqa: S608
    f" s.name, s.epoch FROM messages m JOIN streams s ON s.id = m.key >> {OFFSET_BITS}"
    " WHERE m.message_id IN (SELECT value FROM json_each(?))"
)
_SELECT_RECORDED = (
    f"SELECT m.message_id, t.key & {LAST_OFFSET}, t.revision, t.payload"  # noqa: S608
    " FROM messages m JOIN messages t ON t.key = m.subject"
    " WHERE m.message_id IN (SELECT value FROM json_each(?))"
)
_SELECT_RECORD = (
    f"SELECT r.message_id, s.name, s.epoch, r.key & {LAST_OFFSET}"  # noqa: S608
    " FROM messages m JOIN messages r ON r.subject = m.key"
    f" JOIN streams s ON s.id = r.key >> {OFFSET_BITS}"
    " WHERE m.message_id = ? AND r.type = ? ORDER BY r.key DESC LIMIT 1"
)
_UPDATE = "UPDATE messages SET payload = ?, revision = ?, deleted_at = ? WHERE key = ?"

RevisionOutcome = tuple[Subject, Change] | WsServerError
"""A message in its new version with the change, or why it was refused."""


def revise(db: Connection, revisions: Sequence[Revision]) -> list[RevisionOutcome]:
    """Change messages in their order; each is changed or refused by itself.

    The version before is overwritten in the file.
    """
    db.overwrite_deleted()
    ids = db.listed([each.message_id for each in revisions])
    found = {each.message_id: each for each in map(Subject._make, db.execute(_SELECT, [ids]))}
    before = {each.key for each in found.values() if each.deleted_at is not None}
    outcomes: list[RevisionOutcome] = []
    stored = dict(found)
    changed: dict[str, Subject] = {}
    for each in revisions:
        try:
            subject = _revised(found.get(each.message_id), each)
        except WsServerError as refusal:
            outcomes.append(refusal)
            continue
        found[each.message_id] = changed[each.message_id] = subject
        change = Change(subject.offset, subject.revision, message_in(subject.payload))
        outcomes.append((subject, change))
    searched = [
        (each.key, stored[each.message_id].payload, each.payload)
        for each in changed.values()
        if each.type == search_rows.SEARCHED_TYPE and each.stream.startswith(SESSION)
    ]
    if searched:
        search_rows.changed(db, searched)
    db.executemany(
        _UPDATE,
        [(each.payload, each.revision, each.deleted_at, each.key) for each in changed.values()],
    )
    deleted = [
        each.key
        for each in changed.values()
        if each.deleted_at is not None and each.type == NEW_MESSAGE and each.key not in before
    ]
    if deleted:
        uncount(db, deleted)
    return outcomes


def _revised(subject: Subject | None, revision: Revision) -> Subject:
    """The new version of a message; raises ``WsServerError`` where it is refused."""
    if subject is None or subject.stream != revision.stream:
        raise NotFound("message", revision.message_id)
    payload, deleted_at = revision.revise(subject)
    return subject._replace(
        payload=payload, revision=subject.revision + 1, deleted_at=deleted_at or subject.deleted_at
    )


def record_of(db: Connection, message_id: str, type_: str) -> Appended | None:
    """The latest change record of a type about a message."""
    row = db.execute(_SELECT_RECORD, [message_id, type_]).fetchone()
    return None if row is None else Appended(row[0], row[1], row[2], row[3], False)


def recorded_changes(db: Connection, records: Iterable[Append]) -> dict[str, Change]:
    """The changes of records that are stored already, by the id of the record."""
    ids = db.listed([each.message_id for each in records])
    return {
        record: Change(offset, revision, message_in(payload))
        for record, offset, revision, payload in db.execute(_SELECT_RECORDED, [ids])
    }
