"""Answers by idempotency key, so that a request sent again is not done again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import NamedTuple

import sqlite_utils

from wsserver.errors import IdempotencyConflict, IdempotencyPending
from wsserver.storage.database import Database

KEPT_S = 86_400
PENDING_S = 60

_BATCH_ROWS = 300


class StoredAnswer(NamedTuple):
    """The answer that the first request with the key got."""

    status: int
    headers: dict[str, str]
    body: bytes


class IdempotencyStore:
    """The table ``idempotency``.

    One instance is one run of the server: its unanswered claims mean nothing to the next one, nor,
    after 60 s, to itself.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._process = uuid.uuid4().hex

    async def claim(
        self, key_scope: str, key: str, fingerprint: str, now: float
    ) -> StoredAnswer | None:
        """Take a key for a request, or get the answer that was stored for it.

        ``key_scope``: who is asking (keys of different users never meet); ``fingerprint``: a digest
        of method, path and body; ``now``: seconds since the epoch. None: go ahead, then ``finish``
        or ``release``. Raises ``IdempotencyConflict`` (used within 24 h with another fingerprint),
        ``IdempotencyPending`` (the first is still running), ``StorageUnavailable``,
        ``StorageFull``.
        """

        def take(db: sqlite_utils.Database) -> StoredAnswer | None:
            row = db.execute(
                "SELECT fingerprint, process, claimed_at, status, headers, body FROM idempotency"
                " WHERE scope = ? AND key = ?",
                [key_scope, key],
            ).fetchone()
            if row is not None:
                known, process, claimed_at, status, headers, body = row
                age_s = now - claimed_at
                answered = status is not None and age_s < KEPT_S
                running = status is None and process == self._process and age_s < PENDING_S
                if (answered or running) and known != fingerprint:
                    raise IdempotencyConflict
                if running:
                    raise IdempotencyPending
                if answered:
                    return StoredAnswer(status, json.loads(headers), body)
            db.execute(
                "INSERT OR REPLACE INTO idempotency"
                " (scope, key, fingerprint, process, claimed_at) VALUES (?, ?, ?, ?, ?)",
                [key_scope, key, fingerprint, self._process, now],
            )
            return None

        return await self._database.run(take)

    async def finish(
        self,
        key_scope: str,
        key: str,
        fingerprint: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        """Store the answer of a claimed request; the first answer stands.

        Without a claim of this fingerprint (it died and the key was taken for something else)
        nothing is stored. Raises ``StorageUnavailable``, ``StorageFull``.
        """

        def store(db: sqlite_utils.Database) -> None:
            db.execute(
                "UPDATE idempotency SET status = ?, headers = ?, body = ?"
                " WHERE scope = ? AND key = ? AND fingerprint = ? AND status IS NULL",
                [status, json.dumps(dict(headers)), body, key_scope, key, fingerprint],
            )

        await self._database.run(store)

    async def release(self, key_scope: str, key: str, fingerprint: str) -> None:
        """Give a claim back, because the request had no effect; the key is free again.

        Raises ``StorageUnavailable``, ``StorageFull``; the claim dies after 60 s then.
        """

        def delete(db: sqlite_utils.Database) -> None:
            db.execute(
                "DELETE FROM idempotency"
                " WHERE scope = ? AND key = ? AND fingerprint = ? AND status IS NULL",
                [key_scope, key, fingerprint],
            )

        await self._database.run(delete)

    async def prune(self, now: float) -> int:
        """Delete what is older than 24 h, in small batches; answers how many."""
        deleted = 0
        while batch := await self._database.run(lambda db: _prune_batch(db, now - KEPT_S)):
            deleted += batch
        return deleted


def _prune_batch(db: sqlite_utils.Database, until: float) -> int:
    return db.execute(
        "DELETE FROM idempotency WHERE rowid IN"
        " (SELECT rowid FROM idempotency WHERE claimed_at <= ? ORDER BY claimed_at LIMIT ?)",
        [until, _BATCH_ROWS],
    ).rowcount
