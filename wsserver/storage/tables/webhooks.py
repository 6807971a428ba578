"""Events on their way to webhooks: stored before they are posted, deleted once they are taken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Annotated, NamedTuple

import msgspec
import sqlite_utils

from wsserver.paging import LARGEST_INT, Page, decode_cursor, encode_cursor, take
from wsserver.storage.engine.database import Database

DEAD_KEPT_S = 7 * 86_400
"""How long what was given up can be looked at."""

_BATCH_ROWS = 300
_COLUMNS = "id, posting_id, url, event, at, attempts, due_at, detail"
_SELECT_PAGE = (
    f"SELECT {_COLUMNS} FROM webhook_outbox"  # noqa: S608 - constants only
    " WHERE id < ?1 AND (?2 IS NULL OR (due_at IS NULL) = ?2) AND (?3 IS NULL OR event = ?3)"
    " ORDER BY id DESC LIMIT ?4"
)
_COUNT = (
    "SELECT count(*) FROM webhook_outbox"
    " WHERE (?1 IS NULL OR (due_at IS NULL) = ?1) AND (?2 IS NULL OR event = ?2)"
)
_RETRY = """
    UPDATE webhook_outbox SET due_at = ?1, attempts = 0 WHERE id IN (
        SELECT id FROM webhook_outbox
        WHERE due_at IS NULL AND (?2 IS NULL OR posting_id = ?2)
            AND url IN (SELECT value FROM json_each(?3))
        ORDER BY at LIMIT ?4
    ) RETURNING url, length(body)
"""


class Posting(NamedTuple):
    """One event for one URL."""

    posting_id: str
    """``hook_…``: the same at every attempt."""
    url: str
    event: str
    """Its name."""
    body: bytes
    at: float
    """Seconds since the epoch."""


class DuePosting(NamedTuple):
    """One that is due."""

    id: int
    posting_id: str
    event: str
    body: bytes
    attempts: int
    """Before this one."""


class Posted(NamedTuple):
    """What came of an attempt."""

    id: int
    due_at: float | None
    """When it is tried again; None: it is given up."""
    detail: str
    is_taken: bool = False
    """It is on the other side, and forgotten here."""


class StoredPosting(NamedTuple):
    """One as it stands, without its body."""

    id: int
    posting_id: str
    url: str
    event: str
    at: float
    attempts: int
    """Since the event, or since it was retried by hand."""
    due_at: float | None
    """When it is tried again; None: it was given up."""
    detail: str
    """What came of the latest attempt."""


class PostingCursor(NamedTuple):
    """Where a page ended."""

    id: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_INT)]


class WebhookOutbox:
    """The table ``webhook_outbox``. ``due_at`` NULL: given up.

    All methods raise ``StorageUnavailable``; those that write also ``StorageFull``, and then
    nothing of the call is stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, postings: Sequence[Posting]) -> None:
        """Store postings, due at once."""
        rows = [(*posting, posting.at) for posting in postings]

        def insert(db: sqlite_utils.Database) -> None:
            db.conn.executemany(
                "INSERT INTO webhook_outbox (posting_id, url, event, body, at, due_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )

        await self._database.run(insert)

    async def due(self, url: str, now: float, limit: int) -> list[DuePosting]:
        """What is due for a URL, the longest due first."""
        return await self._database.read(
            lambda db: [
                DuePosting(*row)
                for row in db.conn.execute(
                    "SELECT id, posting_id, event, body, attempts FROM webhook_outbox"
                    " WHERE url = ? AND due_at <= ? ORDER BY due_at, id LIMIT ?",
                    [url, now, limit],
                )
            ]
        )

    async def next_due(self, url: str) -> float | None:
        """When the next one for a URL is due; None: none is waiting."""

        def first(db: sqlite_utils.Database) -> float | None:
            row = db.conn.execute(
                "SELECT min(due_at) FROM webhook_outbox WHERE url = ? AND due_at IS NOT NULL",
                [url],
            ).fetchone()
            due_at: float | None = row[0]
            return due_at

        return await self._database.read(first)

    async def bring_forward(self, by_s: float) -> None:
        """Make everything that waits due so much earlier."""
        sql = "UPDATE webhook_outbox SET due_at = due_at - ? WHERE due_at IS NOT NULL"
        await self._database.run(lambda db: _discard(db.conn.execute(sql, [by_s])))

    async def record(self, outcomes: Sequence[Posted]) -> None:
        """Delete what was taken, note the attempt at everything else."""
        await self._database.run(partial(_record, outcomes=outcomes))

    async def waiting(self) -> list[tuple[str, int, int]]:
        """How many wait, and the bytes of their bodies, by URL."""
        return await self._database.read(
            lambda db: db.conn.execute(
                "SELECT url, count(*), sum(length(body)) FROM webhook_outbox"
                " WHERE due_at IS NOT NULL GROUP BY url"
            ).fetchall()
        )

    async def page(
        self, limit: int, cursor: str | None, is_given_up: bool | None, event: str | None
    ) -> Page[StoredPosting]:
        """What waits and what was given up, newest first; None: whichever.

        Raises ``BadRequest`` for a bad cursor.
        """
        below = LARGEST_INT if cursor is None else decode_cursor(cursor, PostingCursor).id

        def select(db: sqlite_utils.Database) -> tuple[list[StoredPosting], bool, int]:
            rows = db.conn.execute(_SELECT_PAGE, [below, is_given_up, event, limit + 1])
            found, more = take(map(StoredPosting._make, rows), limit)
            (total,) = db.conn.execute(_COUNT, [is_given_up, event]).fetchone()
            return found, more, total

        found, more, total = await self._database.read(select)
        return Page(found, total, encode_cursor(PostingCursor(found[-1].id)) if more else None)

    async def get(self, posting_id: str) -> tuple[StoredPosting, bytes] | None:
        """One with its body; None: there is none, or it was taken."""

        def select(db: sqlite_utils.Database) -> tuple[StoredPosting, bytes] | None:
            row = db.conn.execute(
                f"SELECT {_COLUMNS}, body FROM webhook_outbox WHERE posting_id = ?",  # noqa: S608
                [posting_id],
            ).fetchone()
            return None if row is None else (StoredPosting(*row[:-1]), row[-1])

        return await self._database.read(select)

    async def retry(
        self, now: float, urls: Sequence[str], posting_id: str | None
    ) -> list[tuple[str, int]]:
        """Make due again what was given up for these URLs, or only one; from the first attempt.

        Answers the URL and the bytes of each, of some hundred at most: call again until there are
        none.
        """
        values = [now, posting_id, json.dumps(list(urls)), _BATCH_ROWS]
        return await self._database.run(lambda db: db.conn.execute(_RETRY, values).fetchall())

    async def drop_others(self, urls: Sequence[str]) -> int:
        """Delete what waits for other URLs than these; answers how many. Else writes nothing."""
        others = "due_at IS NOT NULL AND url NOT IN (SELECT value FROM json_each(?))"
        values = [json.dumps(list(urls))]
        look = f"SELECT 1 FROM webhook_outbox WHERE {others} LIMIT 1"  # noqa: S608 - constants only
        if not await self._database.read(lambda db: db.conn.execute(look, values).fetchone()):
            return 0
        delete = f"DELETE FROM webhook_outbox WHERE {others}"  # noqa: S608 - constants only
        return await self._database.run(lambda db: db.conn.execute(delete, values).rowcount)

    async def prune(self, now: float) -> int:
        """Delete what was given up a week ago, in small batches; answers how many."""
        deleted = 0
        while batch := await self._database.run(partial(_prune_batch, until=now - DEAD_KEPT_S)):
            deleted += batch
        return deleted


def _record(db: sqlite_utils.Database, outcomes: Sequence[Posted]) -> None:
    db.conn.executemany(
        "DELETE FROM webhook_outbox WHERE id = ?",
        [(each.id,) for each in outcomes if each.is_taken],
    )
    db.conn.executemany(
        "UPDATE webhook_outbox SET attempts = attempts + 1, due_at = ?, detail = ? WHERE id = ?",
        [(each.due_at, each.detail, each.id) for each in outcomes if not each.is_taken],
    )


def _prune_batch(db: sqlite_utils.Database, until: float) -> int:
    return db.conn.execute(
        "DELETE FROM webhook_outbox WHERE id IN (SELECT id FROM webhook_outbox"
        " WHERE due_at IS NULL AND at <= ? ORDER BY at LIMIT ?)",
        [until, _BATCH_ROWS],
    ).rowcount


def _discard(_: object) -> None:
    """A cursor belongs to its thread."""
