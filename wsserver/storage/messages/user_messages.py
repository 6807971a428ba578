"""``UserMessages``: what a user has sent, and their inbox, to be read or removed.

Messages have no index of senders, so these are found by looking at all of them, a part at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from wsserver.paging import LARGEST_INT
from wsserver.protocol.origin import read_origin, write_origin
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.messages import retention
from wsserver.storage.messages.message_rows import (
    INBOX,
    LAST_OFFSET,
    OFFSET_BITS,
    key_of,
    stream_row,
)
from wsserver.storage.messages.retention import Expired

SCAN_ROWS = 5000
"""Messages that one query looks at."""
BATCH_ROWS = 100
"""Messages that are changed in one transaction."""
READ_BYTES = 256 * 1024
"""Of the pushes that one query reads; a single one may be larger."""

_SELECT_END = "SELECT key FROM messages WHERE key > ? ORDER BY key LIMIT 1 OFFSET ?"
_SELECT_SENT = (
    "SELECT m.key, m.message_id, m.type, m.at, m.expires_at, m.audience, m.sender, m.deleted_at,"  # noqa: S608
    f" s.name FROM messages m JOIN streams s ON s.id = m.key >> {OFFSET_BITS}"
    " WHERE m.key > ?1 AND m.key <= ?2"
    " AND (m.sender = ?3 OR json_extract(m.origin, '$.user_id') = ?3) ORDER BY m.key"
)
_OF_KEYS = "IN (SELECT value FROM json_each(?))"
_SELECT_SIZES = f"SELECT key, length(payload) FROM messages WHERE key {_OF_KEYS} ORDER BY key"  # noqa: S608
_SELECT_ROWS = (
    "SELECT m.message_id, m.type, m.at, m.expires_at, m.deleted_at, s.name,"  # noqa: S608
    f" m.key & {LAST_OFFSET}, m.payload"
    f" FROM messages m JOIN streams s ON s.id = m.key >> {OFFSET_BITS}"
    f" WHERE m.key {_OF_KEYS} ORDER BY m.key"
)
_SELECT_ORIGINS = f"SELECT key, origin FROM messages WHERE key {_OF_KEYS} OR subject {_OF_KEYS}"  # noqa: S608
_UNLINK = "UPDATE messages SET sender = CASE WHEN sender = ? THEN NULL ELSE sender END, origin = ?"


class SentMessage(NamedTuple):
    """A stored message that a user has sent, or published in the name of another one."""

    key: int
    message_id: str
    type: str
    at: float
    """Time of publishing; like the other times in seconds since the epoch."""
    expires_at: float
    audience: str | None
    sender: str | None
    """User id; another one: it was published by the user in that name."""
    deleted_at: float | None
    stream: str


class Scanned(NamedTuple):
    """Messages that were found, and the position to continue from; None: that was all."""

    messages: list[SentMessage]
    position: int | None


class UserMessageRow(NamedTuple):
    """A message as it is exported."""

    message_id: str
    type: str
    at: float
    expires_at: float
    deleted_at: float | None
    stream: str
    offset: int
    push: bytes
    """Without its position; a change record has no ``message``."""


class UserMessages:
    """The part of the table ``messages`` that belongs to a user.

    All methods raise ``StorageUnavailable``, those that write also ``StorageFull``. The work of
    each is bounded, whatever is stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sent(self, user_id: str, after: int) -> Scanned:
        """What the user has sent or published, among the next ``SCAN_ROWS`` messages."""

        def read(db: Connection) -> Scanned:
            end = db.execute(_SELECT_END, [after, SCAN_ROWS - 1]).fetchone()
            until = LARGEST_INT if end is None else end[0]
            found = db.execute(_SELECT_SENT, [after, until, user_id])
            messages = [SentMessage(*row) for row in found]
            return Scanned(messages, None if end is None else until)

        return await self._database.read(read)

    async def inbox(self, user_id: str, after: int, limit: int) -> list[int]:
        """The keys of the next messages in a user's inbox."""

        def read(db: Connection) -> list[int]:
            row = stream_row(db, INBOX + user_id)
            if row is None:
                return []
            values = [max(after, key_of(row.id, 0)), key_of(row.id, LAST_OFFSET), limit]
            sql = "SELECT key FROM messages WHERE key > ? AND key <= ? ORDER BY key LIMIT ?"
            return [key for (key,) in db.execute(sql, values)]

        return await self._database.read(read)

    async def rows(self, keys: Sequence[int]) -> tuple[list[UserMessageRow], Sequence[int]]:
        """The first of some messages, by ascending keys, and the keys of those that are left."""

        def read(db: Connection) -> tuple[list[UserMessageRow], Sequence[int]]:
            budget = READ_BYTES
            chosen: list[int] = []
            left: list[int] = []
            for key, size in db.execute(_SELECT_SIZES, [db.listed(keys)]):
                budget -= size
                (left if chosen and budget < 0 else chosen).append(key)
            found = db.execute(_SELECT_ROWS, [db.listed(chosen)])
            return [UserMessageRow(*row) for row in found], left

        return await self._database.read(read)

    async def delete(self, keys: Sequence[int]) -> list[Expired]:
        """Delete messages with what is stored about them; as after the end of a ``ttl_s``."""
        return await self._database.run(partial(retention.delete, keys=keys))

    async def unlink(
        self,
        user_id: str,
        keys: Sequence[int],
        then: Callable[[Connection], None] = lambda db: None,
    ) -> None:
        """Remove the user from messages, as their sender and publisher, and from change records.

        The publisher's role and organization stay, as sessions belong to organizations by them.
        ``then`` runs in the same transaction.
        """

        def write(db: Connection) -> None:
            db.overwrite_deleted()
            listed = db.listed(keys)
            found = db.execute(_SELECT_ORIGINS, [listed, listed]).fetchall()
            values = [(user_id, _without_user(origin, user_id), key) for key, origin in found]
            db.executemany(f"{_UNLINK} WHERE key = ?", values)
            then(db)

        await self._database.run(write)


def _without_user(stored: str, user_id: str) -> str:
    origin = read_origin(stored)
    if origin.user_id != user_id:
        return stored
    return write_origin(replace(origin, user_id=None, id=None))
