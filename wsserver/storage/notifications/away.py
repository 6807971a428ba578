"""``AwayStore``: messages that absent members of sessions have not seen, and who was notified."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from msgspec.json import decode, encode

from wsserver.protocol.contents import is_growing
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.message_rows import LAST_OFFSET, OFFSET_BITS, SESSION

TEMPLATE = "chat_message"
DUE_AT_ONCE = 100
"""Messages that are looked at in one transaction."""
REMOVED_TEXT = "…"
"""In place of the text of a message that was deleted."""

_SELECT_DUE = (
    "SELECT q.key, m.message_id, m.sender, m.payload, m.audience, m.deleted_at, s.name, c.title"  # noqa: S608
    f" FROM away_queue q LEFT JOIN messages m ON m.key = q.key"
    f" LEFT JOIN streams s ON s.id = q.key >> {OFFSET_BITS}"
    f" LEFT JOIN conversations c ON c.session_id = substr(s.name, {len(SESSION) + 1})"
    " WHERE q.at <= ? ORDER BY q.at, q.key LIMIT ?"
)
_HAS_SEEN = (  # with {key} and {user}
    "(EXISTS (SELECT 1 FROM receipts r WHERE r.key = {key} AND r.user_id = {user})"  # noqa: S608
    " OR EXISTS (SELECT 1 FROM cursors c"
    f" WHERE c.stream_id = {{key}} >> {OFFSET_BITS} AND c.user_id = {{user}}"
    f' AND c."offset" >= {{key}} & {LAST_OFFSET})'
    " OR EXISTS (SELECT 1 FROM participants p JOIN streams s"
    f" ON s.id = {{key}} >> {OFFSET_BITS} AND p.session_id = substr(s.name, {len(SESSION) + 1})"
    f" WHERE p.user_id = {{user}} AND p.read_offset >= {{key}} & {LAST_OFFSET}))"
)
"""Whether a user has acknowledged a message, or read it."""
_SELECT_ABSENT = (
    "SELECT m.user_id, k.organization_id, k.role FROM session_members m"  # noqa: S608
    " LEFT JOIN known_users k ON k.user_id = m.user_id"
    " WHERE m.session_id = ?1 AND m.user_id <> ?2"
    f" AND NOT {_HAS_SEEN.format(key='CAST(?3 AS BIGINT)', user='m.user_id')}"
    # Told before, and still away.
    " AND NOT EXISTS (SELECT 1 FROM away_marks a WHERE a.user_id = m.user_id"
    f" AND NOT {_HAS_SEEN.format(key='a.key', user='a.user_id')})"
    " ORDER BY m.user_id"
)
_MARK = (
    "INSERT INTO away_marks (user_id, key, at) VALUES (?, ?, ?)"
    " ON CONFLICT (user_id) DO UPDATE SET key = excluded.key, at = excluded.at"
)


class Absent(NamedTuple):
    """A member who has not seen a message."""

    user_id: str
    organization_id: str | None
    """Of the latest token; None: without one, or unknown."""
    role: str | None


class DueMessage(NamedTuple):
    """A message that members of its session may not have seen in time."""

    key: int
    message_id: str
    session_id: str
    title: str | None
    """Of the session."""
    sender: str | None
    payload: bytes
    audience: str | None


class Due(NamedTuple):
    """What is due."""

    messages: list[DueMessage]
    obsolete: list[int]
    """Keys of messages that are gone or were deleted."""
    is_all: bool
    """Whether nothing else is due."""


class AwayStore:
    """The tables ``away_queue``, ``away_marks`` and ``away_notices``.

    All methods raise ``StorageUnavailable``; those that write also ``StorageFull``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, sent_before: float) -> Due:
        """The first messages that were sent before a time; answers that grow have to wait."""
        return await self._database.read(partial(_due, sent_before=sent_before))

    async def absent(self, message: DueMessage) -> list[Absent]:
        """The members who have not seen a message, without those notified before and still away."""
        values = [message.session_id, message.sender or "", message.key]
        return await self._database.read(
            lambda db: [Absent(*row) for row in db.execute(_SELECT_ABSENT, values)]
        )

    async def note_notified(
        self, message: DueMessage, user_ids: Collection[str], notification_id: str, at: float
    ) -> None:
        """Users were notified of a message: of another one they are only once they were back."""
        await self._database.run(
            partial(_note_notified, message=message, user_ids=user_ids, id_=notification_id, at=at)
        )

    async def done(self, keys: Sequence[int]) -> None:
        """Messages were looked at."""
        sql = "DELETE FROM away_queue WHERE key IN (SELECT value FROM json_each(?))"
        await self._database.run(lambda db: db.execute(sql, [db.listed(keys)]).rowcount)

    async def back(self, user_ids: Collection[str]) -> None:
        """Users are back; writes nothing if none of them was notified of anything."""
        where = "WHERE user_id IN (SELECT value FROM json_each(?))"
        look = f"SELECT 1 FROM away_marks {where} LIMIT 1"  # noqa: S608 - constants only
        delete = f"DELETE FROM away_marks {where}"  # noqa: S608 - constants only
        if await self._database.read(
            lambda db: db.execute(look, [db.listed(user_ids)]).fetchone() is not None
        ):
            await self._database.run(lambda db: db.execute(delete, [db.listed(user_ids)]).rowcount)

    async def prune(self, before: float) -> int:
        """Forget which notifications were about messages of before a time."""
        sql = "DELETE FROM away_notices WHERE at < ?"
        return await self._database.run(lambda db: db.execute(sql, [before]).rowcount)


def _due(db: Connection, sent_before: float) -> Due:
    rows = db.execute(_SELECT_DUE, [sent_before, DUE_AT_ONCE]).fetchall()
    messages: list[DueMessage] = []
    obsolete: list[int] = []
    for key, message_id, sender, payload, audience, deleted_at, stream, title in rows:
        if message_id is None or deleted_at is not None:
            obsolete.append(key)
        elif not is_growing(payload):
            session_id = stream.removeprefix(SESSION)
            messages.append(
                DueMessage(key, message_id, session_id, title, sender, payload, audience)
            )
    return Due(messages, obsolete, len(rows) < DUE_AT_ONCE)


def _note_notified(
    db: Connection, message: DueMessage, user_ids: Iterable[str], id_: str, at: float
) -> None:
    db.executemany(_MARK, [(user_id, message.key, at) for user_id in user_ids])
    db.execute(
        "INSERT INTO away_notices (message_id, notification_id, at) VALUES (?, ?, ?)"
        " ON CONFLICT (message_id) DO NOTHING",
        [message.message_id, id_, at],
    )
    db.execute("DELETE FROM away_queue WHERE key = ?", [message.key])
    row = db.execute("SELECT deleted_at FROM messages WHERE key = ?", [message.key]).fetchone()
    if row is None or row[0] is not None:  # meanwhile
        remove_contents(db, [message.message_id])


def remove_contents(db: Connection, message_ids: Sequence[str]) -> None:
    """Remove the texts of deleted messages from notifications, and do not send these any more."""
    found = db.execute(
        "SELECT n.content, n.id FROM away_notices a"
        " JOIN notifications n ON n.notification_id = a.notification_id"
        " WHERE a.message_id IN (SELECT value FROM json_each(?))",
        [db.listed(message_ids)],
    ).fetchall()
    if not found:
        return
    db.overwrite_deleted()
    db.executemany(
        "UPDATE notifications SET content = ? WHERE id = ?",
        [(_without_text(content), id_) for content, id_ in found],
    )
    ids = db.listed([id_ for _, id_ in found])
    of_them = "notification IN (SELECT value FROM json_each(?))"
    db.execute(
        f"UPDATE deliveries SET stops = 1 WHERE {of_them} AND state = 'sending'",  # noqa: S608
        [ids],
    )
    db.execute(
        "UPDATE deliveries SET state = 'cancelled', due_at = NULL"  # noqa: S608
        f" WHERE {of_them} AND state = 'pending'",
        [ids],
    )


def _without_text(content: str) -> str:
    parameters: dict[str, Any] = decode(content)
    return encode({**parameters, "text": REMOVED_TEXT}).decode()
