"""``InboxTracking``: tracks inbox messages after they were sent, until they are received."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wsserver.clock import Clock
from wsserver.protocol.pushes import positioned, session_of
from wsserver.realtime.connections.connection import V1, ConnectionInfo
from wsserver.realtime.inbox.message_status import MessageStatuses, StatusUpdate
from wsserver.realtime.inbox.receipt_recorder import ReceiptRecorder
from wsserver.realtime.inbox.unacked import Feed, UnackedIndex, UnackedMessage
from wsserver.realtime.messages.audience import read_audience
from wsserver.storage.messages.streams import Kept

PushEncoded = Callable[[ConnectionInfo, bytes], bool]
"""Writes an encoded push to a connection: ``ConnectionWriter.push_encoded``."""

_Sent = list[tuple[ConnectionInfo, UnackedMessage]]


class InboxTracking:
    """Called for every inbox message that is sent: live, on connecting, on redelivery.

    For a client that acknowledges, the timeout of the acknowledgement starts. For a plain client
    the message counts as delivered once it is in the socket's buffer; until then it is pending.
    """

    def __init__(
        self,
        unacked: UnackedIndex,
        receipts: ReceiptRecorder,
        statuses: MessageStatuses,
        clock: Clock,
    ) -> None:
        self._unacked = unacked
        self._receipts = receipts
        self._statuses = statuses
        self._clock = clock
        self._unwritten: _Sent = []
        """Sent to plain clients, but still in the connection's queue."""
        self._held: _Sent = []
        """The same, where writing was only deferred to the end of this event loop iteration."""

    def note(self, feed: Feed, connection: ConnectionInfo, item: UnackedMessage) -> None:
        """Track a sent message; the sender is notified when it is the first time."""
        is_first = self._unacked.sent(feed, item, self._clock.monotonic())
        if is_first:
            update = StatusUpdate(item.message_id, item.session_id, "sent", feed.user_id)
            self._statuses.push(update, item.sender if item.sender != feed.user_id else None)
        if not feed.acknowledges and not self._is_written(connection, item):
            self._check_later(connection, item)

    def note_kept(self, feed: Feed, connection: ConnectionInfo, kept: Kept) -> None:
        """Track a sent message that was read from storage, and report it to listeners."""
        self._statuses.report(kept.message_id, feed.user_id, feed.connection_id, "sent")
        item = UnackedMessage(
            kept.message_id, kept.offset, kept.sender, session_of(kept.payload), kept.expires_at
        )
        self.note(feed, connection, item)

    def check_written(self) -> None:
        """Record receipts of messages that were written to plain clients meanwhile."""
        if self._unwritten:
            self._unwritten = self._still_queued(self._unwritten)

    def _check_later(self, connection: ConnectionInfo, item: UnackedMessage) -> None:
        """Check again: in the next iteration of the event loop if writing is deferred, else in
        ``check_written``.

        Soon, as a client that disconnects right after it got a message must not get it again.
        """
        if connection.websocket.waiting_since is not None:
            self._unwritten.append((connection, item))
            return
        if not self._held:
            asyncio.get_running_loop().call_soon(self._check_held)
        self._held.append((connection, item))

    def _check_held(self) -> None:
        held, self._held = self._held, []
        self._unwritten += self._still_queued(held)

    def _still_queued(self, sent: _Sent) -> _Sent:
        return [
            (connection, item)
            for connection, item in sent
            if connection.websocket.is_open and not self._is_written(connection, item)
        ]

    def _is_written(self, connection: ConnectionInfo, item: UnackedMessage) -> bool:
        """Whether all that was sent is in the socket's buffer; records the receipt then."""
        transport = connection.websocket
        if not transport.is_open or transport.queued_bytes:
            return False
        self._receipts.written(connection, item)
        return True


def feed_for(connection: ConnectionInfo, epoch: str, offset: int) -> Feed:
    """The feed of a connection that has got everything up to ``offset``."""
    return Feed(
        connection.connection_id, connection.user_id, connection.protocol == V1, epoch, offset
    )


def is_for(connection: ConnectionInfo, kept: Kept) -> bool:
    """Whether the audience of a stored message includes the user of a connection."""
    audience = read_audience(kept.audience)
    return audience is None or audience.admits(connection.claims)


def push_of(user_id: str, epoch: str, kept: Kept) -> bytes:
    """The push of a stored message of an inbox, with its position."""
    return positioned(kept.payload, f"user:{user_id}", epoch, kept.offset)
