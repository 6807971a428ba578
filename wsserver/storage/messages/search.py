"""``SearchStore``: finds messages of sessions by their text, and indexes new ones."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.messages import search_rows
from wsserver.storage.messages.message_rows import OFFSET_BITS, SESSION, Found
from wsserver.storage.messages.search_text import (
    contains,
    grams_to_ask,
    searched_text,
    snippet,
)
from wsserver.storage.messages.stream_reads import found_with_keys

SESSIONS_LIMIT = 1000
"""Sessions that one query may name."""
CANDIDATES = 2000
"""Messages whose text one query compares, at most; the next query continues there."""
COMPARED_BYTES = 4 * 1024 * 1024
"""Likewise, of messages: comparing takes the processor from everybody."""
_ASKED_AT_ONCE = 200
_READ_AT_ONCE = 25
BATCH_MESSAGES = 500
BATCH_BYTES = 512 * 1024
"""What is indexed by one transaction: a few milliseconds."""
_REBUILT_AT_ONCE = 1000
_PAUSE_S = 0.01
"""Between two transactions that compact the index."""

_SELECT_KEYS = (
    "SELECT id, key FROM search_docs WHERE id IN (SELECT value FROM json_each(?))"
    " AND is_indexed = 1"
)
_SELECT_STREAMS = "SELECT id FROM streams WHERE name IN (SELECT value FROM json_each(?))"


class Query(NamedTuple):
    """A search for messages."""

    terms: list[str]
    """Texts that a message has to contain (``search_text.terms_of``)."""
    sessions: Collection[str] | None
    """Only of these (``SESSIONS_LIMIT`` at most); None: of all."""
    before: int
    """Only what has a lower number in the index; ``LARGEST_INT`` for the first page."""
    now: float
    """Seconds since the epoch: messages whose own ttl has expired are left out."""
    limit: int
    room: int = COMPARED_BYTES
    """Bytes of the messages that are found; more are not looked for."""


class Hit(NamedTuple):
    """A message that was found."""

    id: int
    """Number in the index: newer messages have higher ones."""
    found: Found
    snippet: str


class Hits(NamedTuple):
    """Messages that were found, the newest first."""

    hits: list[Hit]
    rest: int | None
    """``before`` of a query for the following ones; None: there are none."""


class SearchStore:
    """The search index.

    All methods raise ``StorageUnavailable``; those that write also ``StorageFull``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._newest = 0
        self.is_growing = False
        """Whether messages have come between the last two calls of ``index``."""

    async def find(self, query: Query) -> Hits:
        """The newest messages that match; fewer than ``limit`` with a ``rest``: ask again."""
        return await self._database.read(partial(_find, query=query))

    async def index(self) -> int:
        """Index the next messages of the queue; returns how many were taken out of it."""
        batch = await self._database.read(
            partial(search_rows.queued, limit=BATCH_MESSAGES, budget=BATCH_BYTES)
        )
        newest = batch[0].id if batch else 0
        self.is_growing = newest > self._newest > 0
        self._newest = max(newest, self._newest)
        if batch:
            await self._database.run(partial(search_rows.index, batch=batch))
        return len(batch)

    async def begin(self) -> None:
        """Empty the index if it was made by another version of the text's normal form, or by none.

        To be awaited before ``index``: what that has indexed would be lost until ``prepare`` has
        enqueued it again.
        """
        if not await self._database.read(search_rows.is_of_this_version):
            await self._database.run(search_rows.begin_anew)

    async def prepare(self) -> bool:
        """Enqueue a part of what was stored before the index; False: there is no more."""
        return await self._database.run(partial(search_rows.rebuild, limit=_REBUILT_AT_ONCE))

    async def waiting(self) -> int:
        """Number of messages that are to be indexed."""
        return await self._database.read(search_rows.waiting)

    async def compact(self) -> None:
        """Remove from the index what edited and deleted messages have left, in small parts."""
        if not await self._database.read(search_rows.has_remains):
            return
        await self._database.run(search_rows.begin_compacting)
        is_first = True
        while await self._database.run(partial(_compact, is_first=is_first)):
            is_first = False
            await asyncio.sleep(_PAUSE_S)
        await self._database.run(search_rows.end_compacting)


def _compact(db: Connection, is_first: bool) -> bool:
    return db.grams.compact(db, is_first)


def _find(db: Connection, query: Query) -> Hits:
    groups: list[int] | None = None
    if query.sessions is not None:
        names = [SESSION + session_id for session_id in query.sessions]
        groups = [id_ for (id_,) in db.execute(_SELECT_STREAMS, [db.listed(names)])]
        if not groups:
            return Hits([], None)
    grams = grams_to_ask(query.terms)
    if not grams:
        return Hits([], None)
    hits: list[Hit] = []
    last = query.before
    room, compared = query.room, 0
    for _ in range(0, CANDIDATES, _ASKED_AT_ONCE):
        ids = list(db.grams.find(db, grams, groups, last, _ASKED_AT_ONCE))
        for start in range(0, len(ids), _READ_AT_ONCE):
            for id_, size, hit in _compared(db, ids[start : start + _READ_AT_ONCE], query, groups):
                compared += size
                if hit is not None:
                    hits.append(hit)
                    room -= size
                if len(hits) == query.limit or room <= 0 or compared >= COMPARED_BYTES:
                    return Hits(hits, id_)
        if len(ids) < _ASKED_AT_ONCE:
            return Hits(hits, None)
        last = ids[-1]
    return Hits(hits, last)


def _compared(
    db: Connection, ids: Sequence[int], query: Query, groups: Collection[int] | None
) -> Iterable[tuple[int, int, Hit | None]]:
    """The number and size of some messages, in their order, and those whose text has the terms."""
    keys = dict(db.execute(_SELECT_KEYS, [db.listed(ids)]))
    found = found_with_keys(db, list(keys.values()))
    for id_ in ids:
        key = keys.get(id_, 0)
        message = found.get(key)
        if message is None or (groups is not None and key >> OFFSET_BITS not in groups):
            continue
        if message.has_ttl and message.expires_at <= query.now:
            continue
        text = searched_text(message.payload)
        is_hit = contains(text, query.terms)
        hit = Hit(id_, message, snippet(text, query.terms)) if is_hit else None
        yield id_, len(message.payload), hit
