"""Noting what was sent of an inbox: to be acknowledged, or delivered once it has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wsserver.clock import Clock
from wsserver.protocol.pushes import positioned, session_of
from wsserver.realtime.connections.connection import V1, ConnectionInfo
from wsserver.realtime.inbox.message_status import MessageStatuses, StatusUpdate
from wsserver.realtime.inbox.receipts import Receipts
from wsserver.realtime.inbox.unacked import Feed, Item, Ledger
from wsserver.realtime.messages.audience import read_audience
from wsserver.storage.messages.streams import Kept

Give = Callable[[ConnectionInfo, bytes], bool]
"""Writes an encoded push to a connection: the router's ``give``."""

_Sent = list[tuple[ConnectionInfo, Item]]


class InboxTracking:
    """What every way of sending an inbox message has in common.

    A client that acknowledges has time for that from now on. For a plain client the message is
    delivered when the operating system has taken it; what it has not taken when the connection ends
    stays pending.
    """

    def __init__(
        self, ledger: Ledger, receipts: Receipts, statuses: MessageStatuses, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._receipts = receipts
        self._statuses = statuses
        self._clock = clock
        self._unwritten: _Sent = []
        """What was sent to plain clients and has not left for them."""
        self._held: _Sent = []
        """Of that, what no system was asked to take yet: it goes out before the loop's next turn
        ends, together with what follows it."""

    def note(self, feed: Feed, connection: ConnectionInfo, item: Item) -> None:
        """A message was sent, live or not; the sender is told of the first time."""
        is_first = self._ledger.sent(feed, item, self._clock.monotonic())
        if is_first:
            update = StatusUpdate(item.message_id, item.session_id, "sent", feed.user_id)
            self._statuses.tell(update, item.sender if item.sender != feed.user_id else None)
        if not feed.acknowledges and not self._has_left(connection, item):
            self._look_again(connection, item)

    def note_kept(self, feed: Feed, connection: ConnectionInfo, kept: Kept) -> None:
        """A message was sent that comes from storage: the listeners do not know of that yet."""
        self._statuses.note(kept.message_id, feed.user_id, feed.connection_id, "sent")
        item = Item(
            kept.message_id, kept.offset, kept.sender, session_of(kept.payload), kept.expires_at
        )
        self.note(feed, connection, item)

    def check_written(self) -> None:
        """See what has left for plain clients meanwhile."""
        if self._unwritten:
            self._unwritten = self._still_here(self._unwritten)

    def _look_again(self, connection: ConnectionInfo, item: Item) -> None:
        """In the next turn, if it is only held back for what follows it; else from time to time.

        A client that has got it and goes away at once is not to be given it again.
        """
        if connection.websocket.waiting_since is not None:
            self._unwritten.append((connection, item))
            return
        if not self._held:
            asyncio.get_running_loop().call_soon(self._check_held)
        self._held.append((connection, item))

    def _check_held(self) -> None:
        held, self._held = self._held, []
        self._unwritten += self._still_here(held)

    def _still_here(self, sent: _Sent) -> _Sent:
        return [
            (connection, item)
            for connection, item in sent
            if connection.websocket.is_open and not self._has_left(connection, item)
        ]

    def _has_left(self, connection: ConnectionInfo, item: Item) -> bool:
        """Has the operating system taken all that was sent, this included?"""
        transport = connection.websocket
        if not transport.is_open or transport.queued_bytes:
            return False
        self._receipts.written(connection, item)
        return True


def feed_for(connection: ConnectionInfo, epoch: str, offset: int) -> Feed:
    """A feed of a connection that was given everything up to ``offset``."""
    return Feed(
        connection.connection_id, connection.user_id, connection.protocol == V1, epoch, offset
    )


def is_for(connection: ConnectionInfo, kept: Kept) -> bool:
    """Is a stored message for whoever is at this connection?"""
    audience = read_audience(kept.audience)
    return audience is None or audience.admits(connection.claims)


def push_of(user_id: str, epoch: str, kept: Kept) -> bytes:
    """A stored message of an inbox as it is sent."""
    return positioned(kept.payload, f"user:{user_id}", epoch, kept.offset)
