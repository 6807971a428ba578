"""Redelivery: inbox messages that a client does not acknowledge are sent to it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from wsserver.clock import Clock
from wsserver.errors import WsServerError
from wsserver.protocol.pushes import positioned, redelivered
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.inbox.inbox_tracking import Give
from wsserver.realtime.inbox.message_status import MessageStatuses
from wsserver.realtime.inbox.unacked import Due, Ledger
from wsserver.storage.messages.streams import Found

AT_ONCE = 100
READ_BYTES = 1024 * 1024
"""Messages read at once, and their bytes; one message may have more by itself."""


class Messages(Protocol):
    """What is needed of the storage of streams."""

    async def find(
        self, message_ids: Sequence[str], now: float, budget: int
    ) -> tuple[list[Found], list[str]]:
        """The messages that exist, and the ids for which the budget did not suffice."""
        ...


class Redelivery:
    """Reads what the ledger says is due, and sends it again with ``redelivered``."""

    def __init__(
        self,
        messages: Messages,
        hub: Hub,
        ledger: Ledger,
        statuses: MessageStatuses,
        give: Give,
        clock: Clock,
    ) -> None:
        self._messages = messages
        self._hub = hub
        self._ledger = ledger
        self._statuses = statuses
        self._give = give
        self._clock = clock

    async def advance(self) -> None:
        """Send again what is due.

        Raises ``StorageUnavailable``; what could not be read is tried again after the usual time.
        """
        due = self._ledger.due(self._clock.monotonic(), self._clock.wall())
        for start in range(0, len(due), AT_ONCE):
            await self._send_all(due[start : start + AT_ONCE])

    async def _send_all(self, due: list[Due]) -> None:
        ids = list({each.item.message_id for each in due})
        while ids:
            try:
                found, ids = await self._messages.find(ids, self._clock.wall(), READ_BYTES)
            except WsServerError:
                for each in due:
                    self._ledger.postpone(each, self._clock.monotonic())
                raise
            left = set(ids)
            self._send_found(
                [each for each in due if each.item.message_id not in left],
                {each.message_id: each for each in found},
            )
            due = [each for each in due if each.item.message_id in left]

    def _send_found(self, due: Sequence[Due], kept: Mapping[str, Found]) -> None:
        for each in due:
            connection = self._hub.connections.get(each.feed.connection_id)
            message = kept.get(each.item.message_id)
            if connection is not None and message is not None and self._ledger.is_open(each):
                self._send_again(connection, each, message)

    def _send_again(self, connection: ConnectionInfo, due: Due, message: Found) -> None:
        now = self._clock.monotonic()
        text = positioned(message.payload, message.stream, message.epoch, message.offset)
        # Who has not even been able to take the first one would only get further behind.
        is_stuck = connection.websocket.waiting_since is not None
        if is_stuck or not self._give(connection, redelivered(text)):
            self._ledger.postpone(due, now)
            return
        self._ledger.again(due, now)
        self._statuses.note(
            message.message_id, connection.user_id, connection.connection_id, "sent"
        )
