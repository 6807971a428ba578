"""Stored answers by idempotency key, so that a repeated request is not executed again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import NamedTuple

from wsserver.errors import IdempotencyConflict, IdempotencyLimit, IdempotencyPending
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database

KEPT_S = 86_400
PENDING_S = 60
QUOTA_BYTES = 64 * 1024 * 1024
BYTES_PER_KEY = 256
"""Limit of the bytes that keys and answers of one quota take: ``QUOTA_BYTES``, or ``BYTES_PER_KEY``
for each key that it allows, whichever is more."""

_BATCH_ROWS = 300


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


class IdempotencyStore:
    """The table ``idempotency``.

    Unanswered claims end after 60 s, or with their process: where no other one can write to the
    database, with the run of the server; else when it has left or is lost (``SqlLeases``).
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._process = database.process

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

        return await self._database.run(take)

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
        another request) nothing is stored. Raises ``StorageUnavailable``, ``StorageFull``.
        """

        def store(db: Connection) -> None:
            db.execute(
                "UPDATE idempotency SET status = ?, headers = ?, body = ?"
                " WHERE scope = ? AND key = ? AND fingerprint = ? AND process = ?"
                " AND status IS NULL",
                [
                    *(status, json.dumps(dict(headers)), body),
                    *(key_scope, key, fingerprint, self._process),
                ],
            )

        await self._database.run(store)

    async def release(self, key_scope: str, key: str, fingerprint: str) -> None:
        """Delete a claim, because the request had no effect; the key can be used again.

        Raises ``StorageUnavailable``, ``StorageFull``; then the claim expires after 60 s.
        """

        def delete(db: Connection) -> None:
            db.execute(
                "DELETE FROM idempotency"
                " WHERE scope = ? AND key = ? AND fingerprint = ? AND process = ?"
                " AND status IS NULL",
                [key_scope, key, fingerprint, self._process],
            )

        await self._database.run(delete)

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
