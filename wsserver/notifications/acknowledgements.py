"""Acknowledgements of inbox messages, applied to the notifications that they carry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from wsserver.clock import Clock
from wsserver.errors import WsServerError
from wsserver.notifications.metrics import NotificationMetrics
from wsserver.storage.notifications.acknowledgements import (
    Acknowledged,
    Acknowledgement,
    AcknowledgementStore,
    State,
)
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

WAITING_LIMIT = 20_000
RETRY_S = 1.0


class Acknowledgements:
    """Marks deliveries as delivered or read, which cancels pending escalations.

    The inbox commits first. ``start`` repeats what a crash between the two prevented.
    """

    def __init__(
        self, store: AcknowledgementStore, metrics: NotificationMetrics, clock: Clock, tasks: Tasks
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._tasks = tasks
        self._waiting: list[Acknowledgement] = []
        self._runner: asyncio.Task[Any] | None = None
        self._read_listeners: list[Callable[[list[tuple[str, str]]], None]] = []

    def add_read_listener(self, listener: Callable[[list[tuple[str, str]]], None]) -> None:
        """Call it with users and the notifications that they have read only now."""
        self._read_listeners.append(listener)

    async def start(self) -> None:
        """Apply acknowledgements from before a crash. Raises ``StorageUnavailable``."""
        await self._store.reconcile()

    def of_inbox(self, user_id: str, message_ids: Sequence[str], state: State) -> None:
        """Messages of a user's inbox were delivered or read; some may carry notifications."""
        if len(self._waiting) >= WAITING_LIMIT:
            # Storage has failed for long. The next start finds them by the receipts of the inbox.
            log.warning("acknowledgements of notifications deferred count=%d", len(message_ids))
            return
        at = self._clock.wall()
        self._waiting.append(Acknowledgement(user_id, message_ids, state, at))
        if self._runner is None:
            self._runner = self._tasks.spawn(self._run(), name="acknowledgements")

    async def of_notifications(
        self, user_id: str, notification_ids: Sequence[str], state: State
    ) -> list[str]:
        """Mark notifications of a user as delivered or read, by their own ids.

        Returns the ids of the messages that carry them, for the inbox. Raises
        ``StorageUnavailable``, ``StorageFull``.
        """
        one = Acknowledgement(user_id, notification_ids, state, self._clock.wall(), True)
        self._count(await self._store.acknowledge([one], self._count))
        return await self._store.messages_of(user_id, notification_ids)

    async def settle(self) -> None:
        """Wait until acknowledgements are stored, but not for storage that fails."""
        if self._runner is not None:
            await asyncio.wait({self._runner}, timeout=2 * RETRY_S)

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    self._count(await self._store.acknowledge(batch, self._count))
                except WsServerError as error:
                    log.warning("acknowledgements of notifications not stored yet error=%s", error)
                    self._waiting[:0] = batch
                    await asyncio.sleep(RETRY_S)
        finally:
            self._runner = None

    def _count(self, changed: Sequence[Acknowledged] | None) -> None:
        """Count what was stored, at once or by a commit whose outcome was found out later."""
        if changed is None:
            return
        metrics = self._metrics.of("websocket")
        for each in changed:
            if each.after_s is not None:
                metrics.note_acknowledged(max(0.0, each.after_s))
        read = [each.read for each in changed if each.read is not None]
        if read:
            for listener in self._read_listeners:
                listener(read)
