"""``Redelivery``: resends inbox messages that a client has not acknowledged in time.

``UnackedIndex`` decides when: ``ack_timeout_s`` after each attempt, ``ack_retries`` times. Another
node may have settled a message meanwhile, and the signal of that got lost: so storage decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wsserver.clock import Clock
from wsserver.errors import WsServerError
from wsserver.protocol.pushes import positioned, redelivered
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.inbox.inbox_tracking import PushEncoded
from wsserver.realtime.inbox.message_status import MessageStatuses
from wsserver.realtime.inbox.unacked import Due, UnackedIndex
from wsserver.storage.messages.receipts import ReceiptStore
from wsserver.storage.messages.streams import Found, StreamStore

AT_ONCE = 100
READ_BYTES = 1024 * 1024
"""Messages and bytes read in one query; a single message may be larger."""


class Redelivery:
    """Reads the messages that are due from storage, and pushes them with ``redelivered``."""

    def __init__(
        self,
        messages: StreamStore,
        receipts: ReceiptStore,
        hub: Hub,
        unacked: UnackedIndex,
        statuses: MessageStatuses,
        push: PushEncoded,
        clock: Clock,
    ) -> None:
        self._messages = messages
        self._receipts = receipts
        self._hub = hub
        self._unacked = unacked
        self._statuses = statuses
        self._push = push
        self._clock = clock

    async def advance(self) -> None:
        """Resend the messages that are due.

        Raises ``StorageUnavailable``; messages that were not read are due again after the timeout.
        """
        due = self._unacked.due(self._clock.monotonic(), self._clock.wall())
        for start in range(0, len(due), AT_ONCE):
            await self._send_all(due[start : start + AT_ONCE])

    async def _send_all(self, due: list[Due]) -> None:
        ids = list({each.item.message_id for each in due})
        while ids:
            try:
                found, ids = await self._messages.find(ids, self._clock.wall(), READ_BYTES)
                # Read last: right before the messages are sent.
                unsettled = await self._receipts.unsettled(
                    [each.message_id for each in found], self._clock.wall()
                )
            except WsServerError:
                for each in due:
                    self._unacked.postpone(each, self._clock.monotonic())
                raise
            left = set(ids)
            self._send_found(
                [each for each in due if each.item.message_id not in left],
                {each.message_id: each for each in found if each.message_id in unsettled},
            )
            due = [each for each in due if each.item.message_id in left]

    def _send_found(self, due: Sequence[Due], kept: Mapping[str, Found]) -> None:
        for each in due:
            connection = self._hub.connections.get(each.feed.connection_id)
            message = kept.get(each.item.message_id)
            if message is None:  # acknowledged, expired or deleted
                self._unacked.settled(each.feed.user_id, [each.item.message_id])
            elif connection is not None and self._unacked.is_open(each):
                self._send_again(connection, each, message)

    def _send_again(self, connection: ConnectionInfo, due: Due, message: Found) -> None:
        now = self._clock.monotonic()
        text = positioned(message.payload, message.stream, message.epoch, message.offset)
        # A client whose queue is not empty has not read the first one yet.
        is_stuck = connection.websocket.waiting_since is not None
        if is_stuck or not self._push(connection, redelivered(text)):
            self._unacked.postpone(due, now)
            return
        self._unacked.again(due, now)
        self._statuses.report(
            message.message_id, connection.user_id, connection.connection_id, "sent"
        )
