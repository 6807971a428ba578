"""Inboxes: kept messages for one user, given in order on connecting and while connected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wsserver.brokers.base import Publication
from wsserver.clock import Clock
from wsserver.protocol.pushes import session_of
from wsserver.protocol.targets import TargetType
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.inbox.inbox_replay import PAGE, InboxReplay
from wsserver.realtime.inbox.inbox_tracking import InboxTracking, feed_for, is_for, push_of
from wsserver.realtime.inbox.message_status import MessageStatuses, Status, StatusUpdate
from wsserver.realtime.inbox.receipts import Receipts
from wsserver.realtime.inbox.redelivery import Redelivery
from wsserver.realtime.inbox.unacked import Item, Ledger
from wsserver.storage.messages.receipts import Inbox
from wsserver.storage.messages.streams import Expired, Kept, Slice
from wsserver.wire.frames import build_frame


class Store(Protocol):
    """What is needed of the storage of receipts."""

    async def inbox(self, user_id: str, now: float) -> Inbox:
        """Where a user's inbox stands."""
        ...

    async def pending(
        self, user_id: str, now: float, budget: int, after: int = 0, limit: int = 1000
    ) -> Slice:
        """What is not acknowledged, oldest first."""
        ...


@dataclass(slots=True, eq=False)
class InboxState:
    """An inbox as it is when a connection is about to be let in."""

    user_id: str
    epoch: str = ""
    offset: int = 0
    """Of the last message that it ever got."""
    count: int = 0
    """Unacknowledged messages."""
    pending: list[Kept] = field(default_factory=list)
    """The oldest of them."""
    has_more: bool = False
    """Are there more than those?"""
    is_stale: bool = False
    """Has a message come since? It went to the connections that were there already."""
    given: list[Kept] = field(default_factory=list)
    """Those that go out with the greeting."""

    @property
    def is_read(self) -> bool:
        """Does it come from storage? Otherwise there was no need to look."""
        return self.epoch != ""

    @property
    def is_partial(self) -> bool:
        """May there be more than what goes out with the greeting?"""
        return self.is_stale or self.has_more or len(self.given) < len(self.pending)

    def count_for(self, connection: ConnectionInfo) -> int:
        """``count`` without those that are not for whoever is at this connection.

        Only the oldest are known well enough to be left out.
        """
        return self.count - sum([not is_for(connection, kept) for kept in self.pending])


class Inboxes:
    """Gives each connection its user's inbox.

    For a connection that comes: ``open``, ``welcome``, ``greeted``, ``close``, and at its end
    ``forget``; for each kept message to a user: ``admitted``, then ``delivered``.
    """

    def __init__(
        self,
        *,
        store: Store,
        ledger: Ledger,
        sending: InboxTracking,
        catching_up: InboxReplay,
        redelivery: Redelivery,
        receipts: Receipts,
        statuses: MessageStatuses,
        clock: Clock,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._sending = sending
        self._catching_up = catching_up
        self._redelivery = redelivery
        self._receipts = receipts
        self._statuses = statuses
        self._clock = clock
        self._opening: dict[str, list[InboxState]] = {}

    # A connection comes

    async def open(self, user_id: str) -> InboxState:
        """Read an inbox for a connection; to be followed by ``close``, whatever happens between.

        What is published from now on is not missed: until ``close`` it is noted that more came.
        Raises ``StorageUnavailable``.
        """
        state = InboxState(user_id)
        self._opening.setdefault(user_id, []).append(state)
        now = self._clock.wall()
        try:
            state.epoch, state.offset, state.count = await self._store.inbox(user_id, now)
            if state.count:
                page = await self._store.pending(
                    user_id, now, self._catching_up.budget_bytes, limit=PAGE
                )
                state.pending, state.has_more = page.messages, page.rest is not None
        except BaseException:
            self.close(state)
            raise
        return state

    def close(self, state: InboxState) -> None:
        """The connection is there, or is not going to be. Harmless for one that was not opened."""
        opening = self._opening.get(state.user_id, [])
        if state in opening:
            opening.remove(state)
            if not opening:
                del self._opening[state.user_id]

    def welcome(self, connection: ConnectionInfo, state: InboxState) -> list[bytes]:
        """The frames that go out right after the greeting, oldest message first."""
        frames: list[bytes] = []
        room = self._catching_up.budget_bytes
        for kept in state.pending:
            if is_for(connection, kept):
                frame = build_frame(push_of(state.user_id, state.epoch, kept))
                room -= len(frame)
                if room < 0 and frames:
                    break
                frames.append(frame)
            state.given.append(kept)
        return frames

    def greeted(self, connection: ConnectionInfo, state: InboxState) -> None:
        """The greeting and the frames were sent, and the connection is in the hub."""
        if not state.count and not state.is_stale:
            return  # whatever is published from now on is new
        offset = state.given[-1].offset if state.given else 0
        feed = self._ledger.open(feed_for(connection, state.epoch, offset))
        for kept in state.given:
            if is_for(connection, kept):
                self._sending.note_kept(feed, connection, kept)
        if state.is_partial:
            self._catching_up.begin(feed, connection)

    def forget(self, connection: ConnectionInfo) -> None:
        """The connection has gone; what it has not acknowledged waits for the next one."""
        self._ledger.forget(connection.connection_id)
        self._catching_up.forget(connection.connection_id)

    # A message comes

    def admitted(
        self, publication: Publication, connections: Iterable[ConnectionInfo]
    ) -> list[ConnectionInfo]:
        """Those of a user's connections that a kept message is to be written to now.

        Not those that were given it already, from storage, and not those that are still being given
        what came before it: they get it in its turn.
        """
        feed_of = self._ledger.feed
        return [
            connection
            for connection in connections
            if (feed := feed_of(connection.connection_id)) is None
            or feed.takes(publication.epoch, publication.offset)
        ]

    def delivered(self, publication: Publication, connections: Sequence[ConnectionInfo]) -> None:
        """A kept message was written to these connections of this node.

        To be called for every one, also if there was nobody: somebody may be about to come.
        """
        target = publication.target
        if target.type is not TargetType.USER:
            self._receipts.written_to_many(publication, connections)
            return
        for state in self._opening.get(target.id, ()):
            state.is_stale = True
        if not connections:
            return
        item = Item(
            publication.message_id,
            publication.offset,
            publication.sender,
            session_of(publication.payload),
            publication.expires_at,
        )
        for connection in connections:
            if connection.websocket.is_open:
                feed = self._ledger.feed(connection.connection_id)
                if feed is None:
                    feed = self._ledger.open(feed_for(connection, publication.epoch, 0))
                self._sending.note(feed, connection, item)

    def queued(self, publication: Publication) -> None:
        """A kept message found nobody, on any node: in an inbox it waits for its user."""
        if publication.target.type is not TargetType.USER:
            return
        message_id, user_id = publication.message_id, publication.target.id
        update = StatusUpdate(message_id, session_of(publication.payload), "queued", user_id)
        self._statuses.tell(update, publication.sender)

    def ended(self, gone: Iterable[Expired], status: Status, reason: str | None = None) -> None:
        """Messages have gone from storage; those that nobody had acknowledged are told of."""
        for each in gone:
            kind, _, user_id = each.stream.partition(":")
            if kind == "user" and each.is_pending:
                id_ = each.message_id
                item = self._ledger.items(user_id, [id_]).get(id_)
                session_id = item.session_id if item is not None else None
                self._ledger.settled(user_id, [id_])
                update = StatusUpdate(id_, session_id, status, user_id, reason)
                self._statuses.tell(update, each.sender)

    # Time passes

    async def advance(self) -> None:
        """Send again what is due, and go on with what was too much at once.

        To be called every ``TICK_S`` seconds. Raises ``StorageUnavailable``.
        """
        self._sending.check_written()
        self._catching_up.advance()
        await self._redelivery.advance()
