"""``Inboxes``: kept messages of one user, sent in order; ``Expirer``: deletes kept messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wsserver.clock import Clock
from wsserver.cluster.broker import InboxSettled, Publication
from wsserver.protocol.pushes import session_of
from wsserver.protocol.targets import TargetType
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.inbox.inbox_replay import PAGE, InboxReplay
from wsserver.realtime.inbox.inbox_tracking import InboxTracking, feed_for, is_for, push_of
from wsserver.realtime.inbox.message_status import MessageStatuses, Status, StatusUpdate
from wsserver.realtime.inbox.plain_receipts import PlainReceipts
from wsserver.realtime.inbox.receipt_recorder import ReceiptRecorder
from wsserver.realtime.inbox.redelivery import Redelivery
from wsserver.realtime.inbox.unacked import Settled, UnackedIndex, UnackedMessage
from wsserver.realtime.streams.retention_policy import Retention
from wsserver.storage.messages.receipts import Inbox, ReceiptStore
from wsserver.storage.messages.streams import Expired, Kept, Slice, StreamStore


@dataclass(slots=True, eq=False)
class InboxState:
    """State of an inbox while a connection is being accepted."""

    user_id: str
    epoch: str = ""
    offset: int = 0
    """Of its last message."""
    count: int = 0
    """Number of unacknowledged messages."""
    pending: list[Kept] = field(default_factory=list)
    """The oldest of those."""
    has_more: bool = False
    """Whether there are more than those."""
    is_stale: bool = False
    """Whether a message was published since, to the connections in the hub."""
    given: list[Kept] = field(default_factory=list)
    """Those that are sent with ``connection_established``."""
    _settled: Settled | None = None
    """Since reading began; None: nothing."""

    @property
    def is_read(self) -> bool:
        """Whether it was read from storage. An empty inbox need not be."""
        return self.epoch != ""

    @property
    def is_partial(self) -> bool:
        """Whether there may be more messages than those in ``given``."""
        return self.is_stale or self.has_more or len(self.given) < len(self.pending)

    def read(self, inbox: Inbox, page: Slice | None) -> None:
        """Note what was read from storage; no page: nothing is pending."""
        self.epoch, self.offset, self.count = inbox
        if page is not None:
            self.pending, self.has_more = page.messages, page.rest is not None
            if not self.has_more:
                self.count = len(self.pending)
        self._leave_out()

    def settled(self, message_ids: Sequence[str], up_to: int) -> None:
        """Messages were settled since reading began."""
        if self._settled is None:
            self._settled = Settled()
        self._settled.add(message_ids, up_to)
        self._leave_out()

    def _leave_out(self) -> None:
        settled = self._settled
        if settled is not None:
            left = [k for k in self.pending if not settled.covers(k.message_id, k.offset)]
            self.count -= len(self.pending) - len(left)
            self.pending = left

    def count_for(self, connection: ConnectionInfo) -> int:
        """``count`` without the ones of ``pending`` whose audience excludes the connection's user.

        The audiences of further messages are not known here.
        """
        return self.count - sum([not is_for(connection, kept) for kept in self.pending])


_USER = TargetType.USER
"""Looked up once: in a class of Python 3.11 that takes 0.1 µs each time."""


class Inboxes:
    """Sends each connection its user's inbox.

    For a new connection: ``open``, ``welcome``, ``greeted``, ``close``, and at its end ``forget``;
    for each kept message to a user: ``admitted``, then ``delivered``.
    """

    def __init__(
        self,
        *,
        store: ReceiptStore,
        unacked: UnackedIndex,
        tracking: InboxTracking,
        replay: InboxReplay,
        redelivery: Redelivery,
        receipts: ReceiptRecorder,
        statuses: MessageStatuses,
        clock: Clock,
        plain_receipts: PlainReceipts | None = None,
    ) -> None:
        self._plain_receipts = plain_receipts
        self._store = store
        self._unacked = unacked
        self._tracking = tracking
        self._replay = replay
        self._redelivery = redelivery
        self._receipts = receipts
        self._statuses = statuses
        self._clock = clock
        self._opening: dict[str, list[InboxState]] = {}

    # A new connection

    async def open(self, user_id: str) -> InboxState:
        """Read an inbox for a new connection; ``close`` has to be called in any case.

        Messages published between ``open`` and ``close`` set ``is_stale``. Raises
        ``StorageUnavailable``.
        """
        state = InboxState(user_id)
        self._opening.setdefault(user_id, []).append(state)
        now = self._clock.wall()
        try:
            inbox = await self._store.inbox(user_id, now)
            page = None
            if inbox.pending:
                page = await self._store.pending(
                    user_id, now, self._replay.budget_bytes, limit=PAGE
                )
            state.read(inbox, page)
        except BaseException:
            self.close(state)
            raise
        return state

    def close(self, state: InboxState) -> None:
        """The connection was accepted or refused. Has no effect on a state that was not opened."""
        opening = self._opening.get(state.user_id, [])
        if state in opening:
            opening.remove(state)
            if not opening:
                del self._opening[state.user_id]

    def welcome(self, connection: ConnectionInfo, state: InboxState) -> list[bytes]:
        """The pushes to be sent after ``connection_established``, oldest message first."""
        pushes: list[bytes] = []
        room = self._replay.budget_bytes
        for kept in state.pending:
            if is_for(connection, kept):
                text = push_of(state.user_id, state.epoch, kept)
                room -= len(text)
                if room < 0 and pushes:
                    break
                pushes.append(text)
            state.given.append(kept)
        return pushes

    def greeted(self, connection: ConnectionInfo, state: InboxState) -> None:
        """Track the pushes of ``welcome``: they are sent, and the connection is in the hub."""
        if not state.count and not state.is_stale:
            return  # all messages from now on are live
        offset = state.given[-1].offset if state.given else 0
        feed = self._unacked.open(feed_for(connection, state.epoch, offset))
        for kept in state.given:
            if is_for(connection, kept):
                self._tracking.note_kept(feed, connection, kept)
        if state.is_partial:
            self._replay.begin(feed, connection)

    def forget(self, connection: ConnectionInfo) -> None:
        """Remove a closed connection; its unacknowledged messages wait for the user's next one."""
        self._unacked.forget(connection.connection_id)
        self._replay.forget(connection.connection_id)

    # A new message

    def admitted(
        self, publication: Publication, connections: Iterable[ConnectionInfo]
    ) -> list[ConnectionInfo]:
        """The connections of a user that a kept message is to be written to now.

        Not those that have got it from storage already, and not those to which older messages
        are still being replayed.
        """
        feed_of = self._unacked.feed
        return [
            connection
            for connection in connections
            if (feed := feed_of(connection.connection_id)) is None
            or feed.takes(publication.epoch, publication.offset)
        ]

    def delivered(self, publication: Publication, connections: Sequence[ConnectionInfo]) -> None:
        """Track a kept message that was written to these connections of this node.

        To be called also without connections: one may be about to be accepted.
        """
        target = publication.target
        if target.type is not _USER:
            self._receipts.written_to_many(publication, connections)
            if self._plain_receipts is not None:
                self._plain_receipts.delivered(publication, connections)
            return
        for state in self._opening.get(target.id, ()):
            state.is_stale = True
        if not connections:
            return
        item = UnackedMessage(
            publication.message_id,
            publication.offset,
            publication.sender,
            session_of(publication.payload),
            publication.expires_at,
        )
        for connection in connections:
            if connection.websocket.is_open:
                feed = self._unacked.feed(connection.connection_id)
                if feed is None:
                    feed = self._unacked.open(feed_for(connection, publication.epoch, 0))
                self._tracking.note(feed, connection, item)

    def observes(self, sender: str | None) -> bool:
        """Whether anybody hears of messages of this sender for many that were written."""
        return self._plain_receipts is not None or self._receipts.are_wanted(sender)

    def settled(self, signal: InboxSettled) -> None:
        """Messages need not be resent to any connection of their user."""
        user_id, message_ids, up_to = signal.user_id, signal.message_ids, signal.up_to
        self._unacked.settled(user_id, message_ids, up_to)
        self._replay.settled(user_id, message_ids, up_to)
        for state in self._opening.get(user_id, ()):
            state.settled(message_ids, up_to)

    def queued(self, publication: Publication) -> None:
        """Push ``queued`` for a message to a user that matched no connection on any node."""
        if publication.target.type is not TargetType.USER:
            return
        message_id, user_id = publication.message_id, publication.target.id
        update = StatusUpdate(message_id, session_of(publication.payload), "queued", user_id)
        self._statuses.push(update, publication.sender)

    def ended(self, gone: Iterable[Expired], status: Status, reason: str | None = None) -> None:
        """Push the status of messages that were deleted from storage unacknowledged."""
        for each in gone:
            kind, _, user_id = each.stream.partition(":")
            if kind == "user" and each.is_pending:
                self._receipts.settled(user_id, [each.message_id])
                update = StatusUpdate(each.message_id, each.session_id, status, user_id, reason)
                self._statuses.push(update, each.sender)

    # Periodic work

    async def advance(self) -> None:
        """Continue replays and resend what is due; to be called every ``TICK_S`` seconds.

        Raises ``StorageUnavailable``.
        """
        self._tracking.check_written()
        self._replay.advance()
        await self._redelivery.advance()


class Expirer:
    """Deletes in small batches, to keep writes short; senders of pending messages are notified.

    An expired message gets the status ``expired``. The oldest messages of an inbox with more than
    ``stream_limit`` get ``failed`` with the reason ``inbox_full``; no other message is deleted
    before it expires. Where messages of sessions are archived, that limit is none for them.
    """

    def __init__(
        self,
        store: StreamStore,
        inboxes: Inboxes,
        clock: Clock,
        stream_limit: int,
        retention: Retention,
    ) -> None:
        self._store = store
        self._inboxes = inboxes
        self._clock = clock
        self._stream_limit = stream_limit
        self._retention = retention

    async def run(self) -> None:
        """Delete all that is due. Raises ``StorageUnavailable``, ``StorageFull``."""
        session_s = self._retention.session_s
        await self._store.shorten(session_s)
        while expired := await self._store.expire(self._clock.wall(), session_s=session_s):
            self._inboxes.ended(expired, "expired")
        with_sessions = not self._retention.is_archiving
        while trimmed := await self._store.trim(self._stream_limit, with_sessions=with_sessions):
            self._inboxes.ended(trimmed, "failed", "inbox_full")
