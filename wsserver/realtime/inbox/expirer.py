"""``Expirer``: deletes kept messages that have expired or exceed their stream's limit."""

from __future__ import annotations

from wsserver.clock import Clock
from wsserver.realtime.inbox.inboxes import Inboxes
from wsserver.storage.messages.streams import StreamStore


class Expirer:
    """Deletes in small batches, to keep writes short; senders of pending messages are notified.

    An expired message gets the status ``expired``. The oldest messages of an inbox with more than
    ``stream_limit`` get ``failed`` with the reason ``inbox_full``; no other message is deleted
    before it expires.
    """

    def __init__(
        self, store: StreamStore, inboxes: Inboxes, clock: Clock, stream_limit: int
    ) -> None:
        self._store = store
        self._inboxes = inboxes
        self._clock = clock
        self._stream_limit = stream_limit

    async def run(self) -> None:
        """Delete all that is due. Raises ``StorageUnavailable``, ``StorageFull``."""
        while expired := await self._store.expire(self._clock.wall()):
            self._inboxes.ended(expired, "expired")
        while trimmed := await self._store.trim(self._stream_limit):
            self._inboxes.ended(trimmed, "failed", "inbox_full")
