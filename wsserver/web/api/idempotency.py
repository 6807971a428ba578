"""Idempotency keys: a repeated POST gets the stored answer and is not run again."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from wsserver.errors import BadRequest, WsServerError
from wsserver.storage.tables.idempotency import IdempotencyStore, Quota
from wsserver.web.http.replies import Reply

log = logging.getLogger(__name__)

REPLAYED = "Idempotency-Replayed"
_KEY = re.compile(r"[ -~]{1,255}")


class Claimed:
    """A key claimed for one request; released on exit unless ``finish`` was called.

    Answers of refused requests are not stored: they changed nothing, and the same key may be
    tried again.
    """

    def __init__(self, store: IdempotencyStore, scope: str, key: str, digest: str) -> None:
        self._store = store
        self._place = (scope, key, digest)
        self._is_finished = False

    async def finish(self, reply: Reply, *, is_secret: bool = False) -> None:
        """Store the answer; without headers and body if it has a secret.

        A failure is only logged, as the request itself is done.
        """
        self._is_finished = True
        headers = {} if is_secret else {"Content-Type": reply.content_type, **reply.headers}
        body = b"" if is_secret else reply.body
        try:
            await self._store.finish(*self._place, reply.status, headers, body)
        except WsServerError as error:
            log.warning("answer not stored for its idempotency key error=%s", error)

    async def __aenter__(self) -> Claimed:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._is_finished:
            return
        try:
            await self._store.release(*self._place)
        except WsServerError as refusal:
            log.warning("idempotency key not released error=%s", refusal)


async def claim(
    store: IdempotencyStore, keys: Sequence[str], scope: str, digest: str, now: float, quota: Quota
) -> Claimed | Reply:
    """Claim the key of a request, or return the answer of the first request with it.

    ``keys`` are the values of the header; ``now`` is wall-clock seconds. Raises ``BadRequest``
    for a malformed key, ``IdempotencyConflict``, ``IdempotencyPending``, ``IdempotencyLimit``,
    ``StorageUnavailable``.
    """
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise BadRequest(
            "Idempotency-Key: send one, with 1 to 255 printable ASCII characters",
            field="Idempotency-Key",
        )
    stored = await store.claim(scope, keys[0], digest, now, quota)
    if stored is None:
        return Claimed(store, scope, keys[0], digest)
    headers = {**stored.headers, REPLAYED: "true"}
    content_type = headers.pop("Content-Type", "application/json")
    return Reply(stored.body, content_type, stored.status, headers)


def fingerprint(body: Any) -> str:
    """SHA-256 of decoded JSON, independent of member order and whitespace."""
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()
