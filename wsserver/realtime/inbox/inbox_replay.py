"""Catching up: an inbox that is too much for one queue is given as fast as the client takes it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from wsserver.clock import Clock
from wsserver.errors import WsServerError
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.inbox.inbox_tracking import Give, InboxTracking, is_for, push_of
from wsserver.realtime.inbox.unacked import Feed, Ledger
from wsserver.storage.engine.fair_queue import read_for
from wsserver.storage.messages.streams import Kept, Slice
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

PAGE = 100
"""Messages read at once, at most."""


class Store(Protocol):
    """What is needed of the storage of receipts."""

    async def pending(
        self, user_id: str, now: float, budget: int, after: int = 0, limit: int = 1000
    ) -> Slice:
        """What is not acknowledged, oldest first."""
        ...


class InboxReplay:
    """The connections that were not yet given all of their user's inbox that is in storage.

    At most ``budget_bytes`` wait for one of them. Live messages are withheld from it meanwhile, so
    that each connection gets its inbox in the order of the offsets.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        sending: InboxTracking,
        give: Give,
        budget_bytes: int,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self.budget_bytes = budget_bytes
        self._store = store
        self._ledger = ledger
        self._sending = sending
        self._give = give
        self._clock = clock
        self._tasks = tasks
        self._behind: dict[str, tuple[Feed, ConnectionInfo]] = {}
        self._reading: set[str] = set()
        """Those for which storage is being read."""

    def __len__(self) -> int:
        return len(self._behind)

    def begin(self, feed: Feed, connection: ConnectionInfo) -> None:
        """Give what comes after ``feed.offset``, with what is withheld; then live ones pass."""
        feed.is_behind = True
        self._behind[feed.connection_id] = (feed, connection)
        self._go_on(feed, connection)

    def forget(self, connection_id: str) -> None:
        """The connection has gone."""
        self._behind.pop(connection_id, None)

    def advance(self) -> None:
        """Go on where the client has taken what it was given."""
        for feed, connection in list(self._behind.values()):
            self._go_on(feed, connection)

    def _go_on(self, feed: Feed, connection: ConnectionInfo) -> None:
        """Give more of what is in storage, if the client has taken what it was given."""
        if connection.connection_id not in self._reading and self._has_room(connection):
            self._reading.add(connection.connection_id)
            self._tasks.spawn(self._give_rest(feed, connection), name="inbox")

    async def _give_rest(self, feed: Feed, connection: ConnectionInfo) -> None:
        """Give page after page, until there are no more or the queue is full."""
        read_for(feed.user_id)
        try:
            while feed.is_behind and self._has_room(connection):
                withheld = feed.withheld
                page = await self._store.pending(
                    feed.user_id,
                    self._clock.wall(),
                    self.budget_bytes - connection.websocket.queued_bytes,
                    after=feed.offset,
                    limit=PAGE,
                )
                if self._ledger.feed(feed.connection_id) is not feed:
                    return
                if not self._give_page(feed, connection, page.messages):
                    return
                if page.rest is None:
                    feed.caught_up(withheld)
            if not feed.is_behind:
                self._behind.pop(feed.connection_id, None)
        except WsServerError as error:
            log.warning("inbox not read connection_id=%s error=%s", feed.connection_id, error)
        finally:
            self._reading.discard(feed.connection_id)

    def _give_page(self, feed: Feed, connection: ConnectionInfo, page: Sequence[Kept]) -> bool:
        """Give messages in their order; False: the queue is full, or the connection broken."""
        for kept in page:
            if is_for(connection, kept):
                text = push_of(feed.user_id, feed.epoch, kept)
                queued = connection.websocket.queued_bytes
                if queued and queued + len(text) > self.budget_bytes:
                    return False
                if not self._give(connection, text):
                    return False
                self._sending.note_kept(feed, connection, kept)
            feed.offset = max(feed.offset, kept.offset)
        return True

    def _has_room(self, connection: ConnectionInfo) -> bool:
        transport = connection.websocket
        return transport.is_open and transport.queued_bytes <= self.budget_bytes // 2
