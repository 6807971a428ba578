"""Stored answers by idempotency key, so that a repeated request is not executed again."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Mapping
from itertools import islice
from typing import NamedTuple

from wsserver.errors import (
    IdempotencyConflict,
    IdempotencyLimit,
    IdempotencyPending,
    StorageFull,
    StorageUnavailable,
)
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database

log = logging.getLogger(__name__)

KEPT_S = 86_400
PENDING_S = 60
QUOTA_BYTES = 64 * 1024 * 1024
BYTES_PER_KEY = 256
"""Limit of the bytes that keys and answers of one quota take: ``QUOTA_BYTES``, or ``BYTES_PER_KEY``
for each key that it allows, whichever is more."""

OWED_LIMIT = 10_000
OWED_LIMIT_BYTES = 16 * 1024 * 1024
"""Ends of claims that wait for the database; the claims of further ones end after ``PENDING_S``."""

_BATCH_ROWS = 300
_RELEASE = (
    "DELETE FROM idempotency"
    " WHERE scope = ? AND key = ? AND fingerprint = ? AND process = ? AND status IS NULL"
)


class Quota(NamedTuple):
    """The account that a key counts on, and its limit of keys."""

    name: str
    keys: int

    @property
    def bytes(self) -> int:
        """Limit of bytes of the keys with their stored answers."""
        return max(QUOTA_BYTES, self.keys * BYTES_PER_KEY)


class StoredAnswer(NamedTuple):
    """The answer to the first request with a key."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Owed(NamedTuple):
    """The end of a claim that the database has not taken yet."""

    fingerprint: str
    answer: StoredAnswer | None
    """None: the claim is released."""
    claimed_at: float | None = None
    """Of a claim that may have been stored or not; None: it was, so this process has no later one.
    """

    @property
    def bytes(self) -> int:
        return BYTES_PER_KEY + (len(self.answer.body) if self.answer is not None else 0)


_Place = tuple[str, str, float | None]
"""Scope, key, and ``claimed_at`` of what is owed."""


class IdempotencyStore:
    """The table ``idempotency``.

    Unanswered claims end after 60 s, or with their process: where no other one can write to the
    database, with the run of the server; else when it has left or is lost (``SqlLeases``).
    What could not be written at the end of a request, because the database was away, is written
    by ``advance``, and before the next claim.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._process = database.process
        self._owed: dict[_Place, _Owed] = {}
        self._owed_bytes = 0
        self._settling = asyncio.Lock()

    async def claim(
        self, key_scope: str, key: str, fingerprint: str, now: float, quota: Quota
    ) -> StoredAnswer | None:
        """Claim a key for a request, or return the stored answer.

        ``key_scope``: namespace of the keys of one user; ``fingerprint``: a digest of method, path
        and body; ``now``: seconds since the epoch. None: execute the request, then call ``finish``
        or ``release``. Raises ``IdempotencyConflict`` (used within 24 h with another fingerprint),
        ``IdempotencyPending`` (the first request is still running), ``IdempotencyLimit`` (quota of
        keys or bytes used up), ``StorageUnavailable``, ``StorageFull``.
        """

        def take(db: Connection) -> StoredAnswer | None:
            row = db.execute(
                "SELECT fingerprint, process, claimed_at, status, headers, body FROM idempotency"
                " WHERE scope = ? AND key = ?",
                [key_scope, key],
            ).fetchone()
            if row is not None:
                known, process, claimed_at, status, headers, body = row
                age_s = now - claimed_at
                answered = status is not None and age_s < KEPT_S
                running = status is None and age_s < PENDING_S and self._is_alive(db, process)
                if (answered or running) and known != fingerprint:
                    raise IdempotencyConflict
                if running:
                    raise IdempotencyPending
                if answered:
                    return StoredAnswer(status, json.loads(headers), body)
            else:
                _require_room(db, quota, now)
            # Not REPLACE, which would bypass the triggers that count.
            db.execute(
                "INSERT INTO idempotency (scope, key, fingerprint, process, claimed_at, quota)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (scope, key) DO UPDATE SET"
                " fingerprint = excluded.fingerprint, process = excluded.process,"
                " claimed_at = excluded.claimed_at, quota = excluded.quota,"
                " status = NULL, headers = NULL, body = NULL",
                [key_scope, key, fingerprint, self._process, now, quota.name],
            )
            return None

        if self._owed or self._settling.locked():
            await self._settle()
        try:
            return await self._database.run(take)
        except StorageUnavailable:  # the answer to a commit may have been lost
            self._owe(key_scope, key, _Owed(fingerprint, None, now))
            raise

    def _is_alive(self, db: Connection, process: str) -> bool:
        if process == self._process or not self._database.is_shared:
            return process == self._process
        row = db.execute("SELECT 1 FROM processes WHERE id = ?", [process]).fetchone()
        return row is not None

    async def finish(
        self,
        key_scope: str,
        key: str,
        fingerprint: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        """Store the answer of a claimed request, unless it has one.

        Without a claim of this fingerprint by this process (it expired, and the key was claimed by
        another request) nothing is stored. Raises ``StorageUnavailable``, ``StorageFull`` only if
        too much is to be written later already.
        """
        owed = _Owed(fingerprint, StoredAnswer(status, dict(headers), body))
        await self._end(key_scope, key, owed)

    async def release(self, key_scope: str, key: str, fingerprint: str) -> None:
        """Delete a claim, because the request had no effect; the key can be used again.

        Raises as ``finish``; then the claim expires after 60 s.
        """
        await self._end(key_scope, key, _Owed(fingerprint, None))

    async def _end(self, key_scope: str, key: str, owed: _Owed) -> None:
        try:
            await self._database.run(lambda db: self._write(db, key_scope, key, owed))
        except (StorageUnavailable, StorageFull):
            if not self._owe(key_scope, key, owed):
                raise

    def _write(self, db: Connection, key_scope: str, key: str, owed: _Owed) -> None:
        claim = (key_scope, key, owed.fingerprint, self._process)
        if owed.answer is not None:
            status, headers, body = owed.answer
            db.execute(
                "UPDATE idempotency SET status = ?, headers = ?, body = ?"
                " WHERE scope = ? AND key = ? AND fingerprint = ? AND process = ?"
                " AND status IS NULL",
                [status, json.dumps(headers), body, *claim],
            )
            return
        if owed.claimed_at is None:
            db.execute(_RELEASE, claim)
        else:
            db.execute(f"{_RELEASE} AND claimed_at = ?", [*claim, owed.claimed_at])

    # What is written later

    def _owe(self, key_scope: str, key: str, owed: _Owed) -> bool:
        """Note what ``advance`` is to write; False: too much is noted already."""
        place = (key_scope, key, owed.claimed_at)
        if place in self._owed:
            return True
        if len(self._owed) >= OWED_LIMIT or self._owed_bytes + owed.bytes > OWED_LIMIT_BYTES:
            return False
        self._owed[place] = owed
        self._owed_bytes += owed.bytes
        return True

    def advance(self) -> Awaitable[None] | None:
        """Write what could not be written before; None: nothing is to be done."""
        return self._try_to_settle() if self._owed else None

    async def _try_to_settle(self) -> None:
        try:
            await self._settle()
        except (StorageUnavailable, StorageFull) as error:
            log.debug("claims not ended yet error=%s", error)

    async def _settle(self) -> None:
        """Write all that is noted, in batches. Raises ``StorageUnavailable``, ``StorageFull``."""
        async with self._settling:
            while self._owed:
                await self._write_some(dict(islice(self._owed.items(), _BATCH_ROWS)))

    async def _write_some(self, batch: Mapping[_Place, _Owed]) -> None:
        await self._database.run(lambda db: self._write_all(db, batch))
        for place, owed in batch.items():
            del self._owed[place]
            self._owed_bytes -= owed.bytes

    def _write_all(self, db: Connection, batch: Mapping[_Place, _Owed]) -> None:
        for (key_scope, key, _), owed in batch.items():
            self._write(db, key_scope, key, owed)

    async def prune(self, now: float) -> int:
        """Delete keys older than 24 h, in small batches; returns the number deleted."""
        deleted = 0
        while batch := await self._database.run(lambda db: _prune_batch(db, now - KEPT_S)):
            deleted += batch
        return deleted


def _require_room(db: Connection, quota: Quota, now: float) -> None:
    """Raise ``IdempotencyLimit`` if a quota is used up, after deleting its expired keys."""
    if _excess(db, quota) is None:
        return
    db.execute(
        "DELETE FROM idempotency WHERE (scope, key) IN (SELECT scope, key FROM idempotency"
        " WHERE quota = ? AND claimed_at <= ? ORDER BY claimed_at LIMIT ?)",
        [quota.name, now - KEPT_S, _BATCH_ROWS],
    )
    excess = _excess(db, quota)
    if excess is None:
        return
    (oldest,) = db.execute(
        "SELECT min(claimed_at) FROM idempotency WHERE quota = ?", [quota.name]
    ).fetchone()
    raise IdempotencyLimit(excess, max(1, math.ceil(oldest + KEPT_S - now)))


def _excess(db: Connection, quota: Quota) -> str | None:
    """Error text for a quota that is used up; None: it is not."""
    row = db.execute(
        "SELECT keys, bytes FROM idempotency_quotas WHERE quota = ?", [quota.name]
    ).fetchone()
    if row is None:
        return None
    keys, size = row
    if keys >= quota.keys:
        return f"{keys} idempotency keys of yours are stored, the most that may be"
    if size >= quota.bytes:
        return f"your idempotency keys and their answers take {size} bytes, the most that may be"
    return None


def _prune_batch(db: Connection, until: float) -> int:
    return db.execute(
        "DELETE FROM idempotency WHERE (scope, key) IN"
        " (SELECT scope, key FROM idempotency WHERE claimed_at <= ? ORDER BY claimed_at LIMIT ?)",
        [until, _BATCH_ROWS],
    ).rowcount
