"""Outbox of webhooks: events are stored before they are posted and deleted once accepted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, NamedTuple

import msgspec

from wsserver.paging import LARGEST_INT, Page, decode_cursor, encode_cursor, take
from wsserver.protocol.revisions import deleted_message, message_in, replace_message
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.leased_table import FENCE, Lease, LeasedTable, Result, record_rows

DEAD_KEPT_S = 7 * 86_400
"""Retention of postings that were given up."""
OTHERS_KEPT_S = 86_400.0
"""How long events wait for a URL that only other nodes have."""

_BATCH_ROWS = 300
_COLUMNS = "id, posting_id, url, event, at, attempts, due_at, detail"
_SELECT_PAGE = (
    f"SELECT {_COLUMNS} FROM webhook_outbox"  # noqa: S608 - constants only
    " WHERE id < ?1 AND (CAST(?2 AS BOOLEAN) IS NULL OR (due_at IS NULL) = ?2)"
    " AND (CAST(?3 AS TEXT) IS NULL OR event = ?3)"
    " ORDER BY id DESC LIMIT ?4"
)
_COUNT = (
    "SELECT count(*) FROM webhook_outbox"
    " WHERE (CAST(?1 AS BOOLEAN) IS NULL OR (due_at IS NULL) = ?1)"
    " AND (CAST(?2 AS TEXT) IS NULL OR event = ?2)"
)
_INSERT = (
    "INSERT INTO webhook_outbox (posting_id, url, event, body, at, message_id, due_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (posting_id) DO NOTHING"
)
"""Those whose commit had an unknown outcome are added again, together with later ones."""
_SELECT_DELETED = (
    "SELECT message_id FROM messages"
    " WHERE message_id IN (SELECT value FROM json_each(?)) AND deleted_at IS NOT NULL"
)
_CLAIM = """
    UPDATE webhook_outbox SET owner = :owner, lease_until = :until WHERE id IN (
        SELECT id FROM webhook_outbox
        WHERE url = :url AND due_at <= :now AND owner IS NULL ORDER BY due_at, id LIMIT :limit
    ) RETURNING id, posting_id, event, body, attempts, due_at
"""
_DELETE = f"DELETE FROM webhook_outbox {FENCE}"  # noqa: S608 - constants only
_RESCHEDULE = f"""
    UPDATE webhook_outbox SET attempts = attempts + 1, due_at = :due_at, detail = :detail,
        owner = NULL, lease_until = NULL {FENCE}
"""  # noqa: S608 - constants only
_RETRY = """
    UPDATE webhook_outbox SET due_at = ?1, attempts = 0 WHERE id IN (
        SELECT id FROM webhook_outbox
        WHERE due_at IS NULL AND (CAST(?2 AS TEXT) IS NULL OR posting_id = ?2)
            AND url IN (SELECT value FROM json_each(?3))
        ORDER BY at LIMIT ?4
    ) RETURNING url, length(body)
"""


class Posting(NamedTuple):
    """An event to be posted to a URL."""

    posting_id: str
    """``hook_…``: the same at every attempt."""
    url: str
    event: str
    """Its name."""
    body: bytes
    at: float
    """Seconds since the epoch."""
    message_id: str | None = None
    """Of the message whose content is in the body; None: there is none."""


class ClaimedPosting(NamedTuple):
    """A posting that is leased for an attempt."""

    id: int
    delivery_id: str
    """``Posting.posting_id``."""
    event: str
    body: bytes
    attempts: int
    """Before this one."""
    due_at: float

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1, since the event or since it was retried by hand."""
        return self.attempts + 1

    @property
    def ids(self) -> list[int]:
        """The one row that the attempt is for."""
        return [self.id]


class StoredPosting(NamedTuple):
    """A row of the outbox, without its body."""

    id: int
    posting_id: str
    url: str
    event: str
    at: float
    attempts: int
    """Since the event, or since it was retried by hand."""
    due_at: float | None
    """Time of the next attempt; None: it was given up."""
    detail: str
    """Result of the latest attempt."""


class PostingCursor(NamedTuple):
    """Cursor: the last row of a page."""

    id: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_INT)]


class WebhookOutbox(LeasedTable[ClaimedPosting]):
    """The table ``webhook_outbox``, a lane for each URL. ``due_at`` NULL: given up."""

    TABLE = "webhook_outbox"
    LANE = "url"
    WAITING = "due_at IS NOT NULL AND owner IS NULL"
    LEASED = "owner IS NOT NULL"
    ACCEPTED_AT = "at"

    async def add(self, postings: Sequence[Posting]) -> None:
        """Store postings, due immediately, without the contents of messages that are deleted."""
        await self._database.run(partial(_add, postings=postings))

    async def claim(self, lane: str, now: float, limit: int, lease: Lease) -> list[ClaimedPosting]:
        """Lease postings to a URL that are due, the longest due first."""
        values = {"url": lane, "now": now, "limit": limit, **lease._asdict()}
        rows = await self._database.run(lambda db: db.execute(_CLAIM, values).fetchall())
        return sorted(map(ClaimedPosting._make, rows), key=attrgetter("due_at", "id"))

    def _record(self, db: Connection, lease: Lease, result: Result) -> dict[int, str]:
        """Delete what was accepted, note the attempt at everything else."""
        sql = _DELETE if result.state == "sent" else _RESCHEDULE
        members = {"due_at": result.due_at, "detail": result.detail}
        return record_rows(db, lease, result, sql, members)

    async def waiting(self) -> list[tuple[str, int, int]]:
        """URL, count and total size of the bodies (bytes) of the postings that wait."""
        return await self._database.read(
            lambda db: db.execute(
                "SELECT url, count(*), sum(length(body)) FROM webhook_outbox"
                " WHERE due_at IS NOT NULL GROUP BY url"
            ).fetchall()
        )

    async def page(
        self, limit: int, cursor: str | None, is_given_up: bool | None, event: str | None
    ) -> Page[StoredPosting]:
        """Postings that wait or were given up, newest first; None: no filter.

        Raises ``BadRequest`` for a bad cursor.
        """
        below = LARGEST_INT if cursor is None else decode_cursor(cursor, PostingCursor).id

        def select(db: Connection) -> tuple[list[StoredPosting], bool, int]:
            rows = db.execute(_SELECT_PAGE, [below, is_given_up, event, limit + 1])
            found, more = take(map(StoredPosting._make, rows), limit)
            (total,) = db.execute(_COUNT, [is_given_up, event]).fetchone()
            return found, more, total

        found, more, total = await self._database.read(select)
        return Page(found, total, encode_cursor(PostingCursor(found[-1].id)) if more else None)

    async def get(self, posting_id: str) -> tuple[StoredPosting, bytes] | None:
        """A posting with its body; None: unknown, or accepted already."""

        def select(db: Connection) -> tuple[StoredPosting, bytes] | None:
            row = db.execute(
                f"SELECT {_COLUMNS}, body FROM webhook_outbox WHERE posting_id = ?",  # noqa: S608
                [posting_id],
            ).fetchone()
            return None if row is None else (StoredPosting(*row[:-1]), row[-1])

        return await self._database.read(select)

    async def retry(
        self, now: float, urls: Sequence[str], posting_id: str | None
    ) -> list[tuple[str, int]]:
        """Make postings to these URLs due again that were given up; attempts start over.

        ``posting_id``: only this one. Returns URL and body size of each, of 300 at most: call again
        until the list is empty.
        """
        return await self._database.run(
            lambda db: db.execute(
                _RETRY, [now, posting_id, db.listed(urls), _BATCH_ROWS]
            ).fetchall()
        )

    async def drop_others(self, urls: Sequence[str], now: float) -> int:
        """Delete events that wait for other URLs; returns their count.

        In a database that other processes use, too, old ones only: those may have other URLs until
        they are restarted. Writes nothing if there is none.
        """
        before = now - OTHERS_KEPT_S if self.is_shared else math.inf
        others = "due_at IS NOT NULL AND url NOT IN (SELECT value FROM json_each(?)) AND at < ?"
        look = f"SELECT 1 FROM webhook_outbox WHERE {others} LIMIT 1"  # noqa: S608 - constants only

        def values(db: Connection) -> list[Any]:
            return [db.listed(urls), before]

        if not await self._database.read(lambda db: db.execute(look, values(db)).fetchone()):
            return 0
        delete = f"DELETE FROM webhook_outbox WHERE {others}"  # noqa: S608 - constants only
        return await self._database.run(lambda db: db.execute(delete, values(db)).rowcount)

    async def prune(self, now: float) -> int:
        """Delete what was given up and is a week old, in small batches; returns the count."""
        deleted = 0
        while batch := await self._database.run(partial(_prune_batch, until=now - DEAD_KEPT_S)):
            deleted += batch
        return deleted


def _add(db: Connection, postings: Sequence[Posting]) -> None:
    ids = sorted({each.message_id for each in postings if each.message_id is not None})
    deleted = {id_ for (id_,) in db.execute(_SELECT_DELETED, [db.listed(ids)])} if ids else set()
    rows = [
        each._replace(body=without_message(each.body), message_id=None)
        if each.message_id in deleted
        else each
        for each in postings
    ]
    db.executemany(_INSERT, [(*each, each.at) for each in rows])


def remove_contents(db: Connection, message_ids: Sequence[str]) -> None:
    """Put the deleted form of messages into the stored events that have their contents.

    In the transaction that deletes them: events that are stored after it do without.
    """
    found = db.execute(
        "SELECT body, id FROM webhook_outbox WHERE message_id IN (SELECT value FROM json_each(?))",
        [db.listed(message_ids)],
    ).fetchall()
    if found:
        db.overwrite_deleted()
        db.executemany(
            "UPDATE webhook_outbox SET body = ?, message_id = NULL WHERE id = ?",
            [(without_message(body), id_) for body, id_ in found],
        )


def without_message(body: bytes) -> bytes:
    """The body of a posting with the deleted form of its message."""
    return replace_message(body, deleted_message(message_in(body)))


def _prune_batch(db: Connection, until: float) -> int:
    return db.execute(
        "DELETE FROM webhook_outbox WHERE id IN (SELECT id FROM webhook_outbox"
        " WHERE due_at IS NULL AND at <= ? ORDER BY at LIMIT ?)",
        [until, _BATCH_ROWS],
    ).rowcount
