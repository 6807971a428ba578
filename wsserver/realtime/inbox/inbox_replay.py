"""``InboxReplay``: sends a large inbox page by page, as fast as the client reads."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from wsserver.clock import Clock
from wsserver.errors import WsServerError
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.inbox.inbox_tracking import InboxTracking, PushEncoded, is_for, push_of
from wsserver.realtime.inbox.unacked import Feed, Settled, UnackedIndex
from wsserver.storage.engine.fair_queue import read_for
from wsserver.storage.messages.receipts import ReceiptStore
from wsserver.storage.messages.streams import Kept
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

PAGE = 100
"""Messages read in one query."""


class InboxReplay:
    """Replays inboxes from storage to connections that have not got all of it yet.

    At most ``budget_bytes`` are queued for a connection. Live messages are withheld from it
    meanwhile, so that it gets its inbox in the order of the offsets.
    """

    def __init__(
        self,
        store: ReceiptStore,
        unacked: UnackedIndex,
        tracking: InboxTracking,
        push: PushEncoded,
        budget_bytes: int,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self.budget_bytes = budget_bytes
        self._store = store
        self._unacked = unacked
        self._tracking = tracking
        self._push = push
        self._clock = clock
        self._tasks = tasks
        self._behind: dict[str, tuple[Feed, ConnectionInfo]] = {}
        self._reading: dict[str, Settled] = {}
        """By connection for which storage is being read: what was settled meanwhile."""

    def __len__(self) -> int:
        return len(self._behind)

    def begin(self, feed: Feed, connection: ConnectionInfo) -> None:
        """Start to send what is stored after ``feed.offset``; live messages are withheld."""
        feed.is_behind = True
        self._behind[feed.connection_id] = (feed, connection)
        self._continue(feed, connection)

    def forget(self, connection_id: str) -> None:
        """Stop for a connection that was closed."""
        self._behind.pop(connection_id, None)

    def settled(self, user_id: str, message_ids: Sequence[str], up_to: int) -> None:
        """Leave out messages that were settled while they are being read."""
        for connection_id, settled in self._reading.items():
            feed = self._unacked.feed(connection_id)
            if feed is not None and feed.user_id == user_id:
                settled.add(message_ids, up_to)

    def advance(self) -> None:
        """Continue for all connections whose queue has room."""
        for feed, connection in list(self._behind.values()):
            self._continue(feed, connection)

    def _continue(self, feed: Feed, connection: ConnectionInfo) -> None:
        """Continue for a connection, if its queue has room."""
        if connection.connection_id not in self._reading and self._has_room(connection):
            self._reading[connection.connection_id] = Settled()
            self._tasks.spawn(self._send_rest(feed, connection), name="inbox")

    async def _send_rest(self, feed: Feed, connection: ConnectionInfo) -> None:
        """Send page after page, until the end or until the queue is full."""
        read_for(feed.user_id)
        try:
            while feed.is_behind and self._has_room(connection):
                withheld = feed.withheld
                settled = self._reading[feed.connection_id] = Settled()
                page = await self._store.pending(
                    feed.user_id,
                    self._clock.wall(),
                    self.budget_bytes - connection.websocket.queued_bytes,
                    after=feed.offset,
                    limit=PAGE,
                )
                if self._unacked.feed(feed.connection_id) is not feed:
                    return
                if not self._send_page(feed, connection, page.messages, settled):
                    return
                if page.rest is None:
                    feed.caught_up(withheld)
            if not feed.is_behind:
                self._behind.pop(feed.connection_id, None)
        except WsServerError as error:
            log.warning("inbox not read connection_id=%s error=%s", feed.connection_id, error)
        finally:
            del self._reading[feed.connection_id]

    def _send_page(
        self, feed: Feed, connection: ConnectionInfo, page: Sequence[Kept], settled: Settled
    ) -> bool:
        """Send messages in their order; False: the queue is full, or the connection broken."""
        for kept in page:
            if is_for(connection, kept) and not settled.covers(kept.message_id, kept.offset):
                text = push_of(feed.user_id, feed.epoch, kept)
                queued = connection.websocket.queued_bytes
                if queued and queued + len(text) > self.budget_bytes:
                    return False
                if not self._push(connection, text):
                    return False
                self._tracking.note_kept(feed, connection, kept)
            feed.offset = max(feed.offset, kept.offset)
        return True

    def _has_room(self, connection: ConnectionInfo) -> bool:
        transport = connection.websocket
        return transport.is_open and transport.queued_bytes <= self.budget_bytes // 2
