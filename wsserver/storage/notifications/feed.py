"""Feed of a user: the notifications that came by socket, with what was read and archived.

It has no table of its own: deliveries by the channel ``websocket`` are its entries, and are kept as
long as their notifications.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from wsserver.paging import LARGEST_INT, decode_cursor, encode_cursor, take
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.notifications.acknowledgements import Acknowledgement, acknowledge
from wsserver.storage.notifications.notifications import NotificationCursor

MARKED_AT_ONCE = 500
"""Deliveries that one transaction marks."""

# Those that have got to the inbox. An escalation may send one to it a second time.
_ENTRIES = (
    "d.channel = 'websocket'"
    " AND (d.sent_at IS NOT NULL OR d.state IN ('sending', 'delivered', 'read'))"
)
_OF_USER = f"d.user_id = ? AND {_ENTRIES}"
_IS_UNREAD = "d.read_at IS NULL AND d.archived_at IS NULL"
_COUNT_UNREAD = (
    "SELECT d.user_id, count(DISTINCT d.notification) FROM deliveries d"  # noqa: S608 - constants only
    " WHERE d.user_id IN (SELECT value FROM json_each(?))"
    f" AND {_ENTRIES} AND {_IS_UNREAD} GROUP BY d.user_id"
)
_SELECT_PAGE = """
    SELECT n.id, n.notification_id, n.at, n.type, n.template, n.content, f.read_at, f.archived_at
    FROM (
        SELECT d.notification,
            CASE WHEN count(d.read_at) = count(*) THEN max(d.read_at) END AS read_at,
            max(d.archived_at) AS archived_at
        FROM deliveries d WHERE {where} AND d.notification < ?
        GROUP BY d.notification ORDER BY d.notification DESC LIMIT ?
    ) AS f JOIN notifications n ON n.id = f.notification ORDER BY n.id DESC
    """
_SELECT_TO_MARK = (
    "SELECT d.id, d.delivery_id, d.notification, n.notification_id, d.read_at IS NULL"  # noqa: S608
    " FROM deliveries d JOIN notifications n ON n.id = d.notification"
    f" WHERE {_OF_USER} AND {{which}} AND ({{changes}}) ORDER BY d.notification, d.id LIMIT ?"
)


class FeedEntry(NamedTuple):
    """A notification in the feed of a user; times in seconds since the epoch."""

    id: int
    notification_id: str
    at: float
    type: str
    template: str | None
    content: str
    read_at: float | None
    archived_at: float | None


class FeedPart(NamedTuple):
    """A page of a feed."""

    entries: list[FeedEntry]
    has_more: bool
    total: int
    """Of all pages."""
    unread: int
    """In the whole feed, without what is archived."""


class Marking(NamedTuple):
    """What is to be changed, of which notifications; None: it stays as it is."""

    ids: Sequence[str] | None
    """Ids of notifications; None: ``up_to`` and all older ones."""
    up_to: str | None
    read: bool | None
    archived: bool | None


class Marked(NamedTuple):
    """What a marking has changed."""

    notification_ids: list[str]
    message_ids: list[str]
    """Of messages in the inbox that the user has read only now."""
    unread: int


class FeedStore:
    """Reads and marks feeds; raises ``StorageUnavailable``, writes ``StorageFull``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, user_id: str, limit: int, cursor: str | None, *, is_archived: bool, is_unread: bool
    ) -> FeedPart:
        """Entries of a user, newest first; a page also ends at 4 MiB.

        ``is_archived``: those that are archived, instead of all others. ``is_unread``: only those
        that are unread. Raises ``BadRequest`` for a bad cursor.
        """
        below = LARGEST_INT if cursor is None else decode_cursor(cursor, NotificationCursor).id
        where = f"{_OF_USER} AND d.archived_at IS {'NOT NULL' if is_archived else 'NULL'}"
        if is_unread:
            where += " AND d.read_at IS NULL"
        return await self._database.read(
            partial(_page, user_id=user_id, limit=limit, below=below, where=where)
        )

    async def unread_of(self, user_ids: Sequence[str]) -> dict[str, int]:
        """How many entries are unread to each user; users without any are left out."""
        return await self._database.read(partial(_unread_of, user_ids=user_ids))

    async def mark(
        self,
        user_id: str,
        marking: Marking,
        at: float,
        late: Callable[[Marked], None] | None = None,
    ) -> Marked:
        """Mark entries as read or unread, archived or not; unknown ids are skipped.

        What is read is acknowledged in the same transaction: its escalations are cancelled.
        ``late`` is called with what was marked though the call raised ``OutcomeUnknown``.
        """
        notification_ids: dict[str, None] = {}
        message_ids: list[str] = []

        def so_far(part: Marked) -> Marked:
            notification_ids.update(dict.fromkeys(part.notification_ids))
            message_ids.extend(part.message_ids)
            return Marked(list(notification_ids), message_ids, part.unread)

        def found(outcome: tuple[int, Marked] | None) -> None:
            if late is not None and outcome is not None:
                late(so_far(outcome[1]))

        while True:
            job = partial(_mark, user_id=user_id, marking=marking, at=at)
            count, part = await self._database.run(job, found)
            marked = so_far(part)
            if count < MARKED_AT_ONCE:
                return marked


def cursor_after(entry: FeedEntry) -> str:
    """The cursor of what follows an entry."""
    return encode_cursor(NotificationCursor(entry.id))


def _page(db: Connection, user_id: str, limit: int, below: int, where: str) -> FeedPart:
    rows = db.execute(_SELECT_PAGE.format(where=where), [user_id, below, limit + 1])
    entries, has_more = take(map(FeedEntry._make, rows), limit)
    (total,) = db.execute(
        f"SELECT count(DISTINCT d.notification) FROM deliveries d WHERE {where}",  # noqa: S608
        [user_id],
    ).fetchone()
    return FeedPart(entries, has_more, total, _unread_of(db, [user_id]).get(user_id, 0))


def _unread_of(db: Connection, user_ids: Sequence[str]) -> dict[str, int]:
    return dict(db.execute(_COUNT_UNREAD, [db.listed(user_ids)]).fetchall())


def _mark(db: Connection, user_id: str, marking: Marking, at: float) -> tuple[int, Marked]:
    """Mark a batch; the count of its rows, and what it has changed."""
    changes = []
    if marking.read is not None:
        changes.append(f"d.read_at IS {'NULL' if marking.read else 'NOT NULL'}")
    if marking.archived is not None:
        changes.append(f"d.archived_at IS {'NULL' if marking.archived else 'NOT NULL'}")
    if marking.ids is not None:
        which, value = "n.notification_id IN (SELECT value FROM json_each(?))", marking.ids
    else:
        which = (
            "d.notification <= (SELECT id FROM notifications WHERE notification_id IN"
            " (SELECT value FROM json_each(?)))"
        )
        value = [marking.up_to or ""]
    sql = _SELECT_TO_MARK.format(which=which, changes=" OR ".join(changes))
    rows = db.execute(sql, [user_id, db.listed(value), MARKED_AT_ONCE]).fetchall()
    keys = db.listed([id_ for id_, *_ in rows])
    notification_ids = list(dict.fromkeys(each for *_, each, _ in rows))
    newly_read: list[str] = []
    if marking.read and rows:
        newly_read = [delivery_id for _, delivery_id, *_, was_unread in rows if was_unread]
        acknowledge(db, Acknowledgement(user_id, notification_ids, "read", at, True))
    for column, is_set in (("read_at", marking.read), ("archived_at", marking.archived)):
        if is_set is not None and rows:
            db.execute(
                f"UPDATE deliveries SET {column} = CAST(? AS DOUBLE PRECISION)"  # noqa: S608
                f" WHERE id IN (SELECT value FROM json_each(?))"
                f" AND {column} IS {'NULL' if is_set else 'NOT NULL'}",
                [at if is_set else None, keys],
            )
    unread = _unread_of(db, [user_id]).get(user_id, 0)
    return len(rows), Marked(notification_ids, newly_read, unread)
