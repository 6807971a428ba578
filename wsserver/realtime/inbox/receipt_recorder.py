"""``ReceiptRecorder``: records acknowledgements and read receipts, then pushes message statuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Protocol

from wsserver.clock import Clock
from wsserver.cluster.broker import Broker, InboxSettled, Publication
from wsserver.errors import BadRequest, Forbidden, SessionBound, WsServerError
from wsserver.identity.claims import Claims
from wsserver.protocol.targets import TargetType
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.connections.connection import PLAIN, ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.inbox.message_status import MessageStatuses, StatusUpdate
from wsserver.realtime.inbox.unacked import UnackedIndex, UnackedMessage
from wsserver.realtime.messages.audience import read_audience
from wsserver.realtime.observability import events
from wsserver.realtime.observability.events import EventBus
from wsserver.storage.messages.message_rows import INBOX
from wsserver.storage.messages.receipts import Change, ReceiptStore
from wsserver.storage.messages.streams import Located, StreamStore
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

INDIVIDUALLY = 100
"""In a session with more users than this, single receipts are not pushed to the sender."""
WAITING_LIMIT = 20_000
"""Queue limit of receipts of plain clients that are not recorded yet."""
AT_ONCE = 200
"""Connections whose receipts are recorded concurrently."""
RETRY_S = 1.0
NOTIFICATION = "notify_"
"""Prefix of the ids of notifications."""

State = Literal["delivered", "read"]
STATES: tuple[State, ...] = ("delivered", "read")


class NotificationReceipts(Protocol):
    """Receipts of notifications, which are acknowledged by their own ids or by their messages'."""

    def of_inbox(self, user_id: str, message_ids: Sequence[str], state: State) -> None:
        """Note committed receipts of messages in a user's inbox."""
        ...

    async def of_notifications(
        self, user_id: str, notification_ids: Sequence[str], state: State
    ) -> list[str]:
        """Record receipts of notifications; returns the ids of the messages that contain them."""
        ...


class ReceiptRecorder:
    """Records receipts; pushes each to the sender, the monitors and the user's other connections.

    Pushes follow the commit. Each user's receipt for a message is pushed once in each state,
    however many connections acknowledge it; and not to the same user, except for messages in the
    user's own inbox.
    """

    def __init__(
        self,
        *,
        messages: StreamStore,
        store: ReceiptStore,
        broker: Broker,
        unacked: UnackedIndex,
        statuses: MessageStatuses,
        notifications: NotificationReceipts | None,
        access: SessionAccess,
        hub: Hub,
        events: EventBus,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._messages = messages
        self._store = store
        self._broker = broker
        self._unacked = unacked
        self._statuses = statuses
        self._notifications = notifications
        self._access = access
        self._hub = hub
        self._events = events
        self._clock = clock
        self._tasks = tasks
        self._written: dict[ConnectionInfo, list[UnackedMessage]] = {}
        self._written_count = 0
        self._recorder: asyncio.Task[Any] | None = None
        self.unrecorded = 0
        """Receipts of plain clients that were dropped; those messages will be sent again."""

    # Clients that acknowledge

    async def acknowledge(
        self, connection: ConnectionInfo, message_ids: Iterable[str], state: State
    ) -> int:
        """Record that a user has received or read messages; returns the number of new receipts.

        Unknown ids and ids of messages that are out of the connection's reach are skipped alike;
        ids of live messages are reported to the status listeners. Raises ``StorageUnavailable``,
        ``StorageFull``.
        """
        user_id, at = connection.user_id, self._clock.wall()
        ids = await self._with_notifications(user_id, list(dict.fromkeys(message_ids)), state)
        waiting = self._unacked.items(user_id, ids)
        others = [id_ for id_ in ids if id_ not in waiting]
        found = await self._messages.locate(others, at) if others else []
        await self._prepare(connection.claims, {each.stream for each in found})
        seen = [each for each in found if self._may_see(connection, each)]
        kept = [*waiting, *[each.message_id for each in seen]]
        # Also those recorded before: they may have been read from storage for a replay meanwhile.
        inbox = [*waiting, *[each.message_id for each in seen if each.stream.startswith(INBOX)]]
        sessions = {item.message_id: item.session_id for item in waiting.values()}
        done = partial(self._recorded, connection, inbox, sessions | _sessions_of(seen))
        changes = await self._store.record(user_id, kept, read=state == "read", at=at, late=done)
        done(changes)
        for message_id in set(others).difference([each.message_id for each in found]):
            self._statuses.report(message_id, user_id, connection.connection_id, state)
        return len(changes)

    async def _with_notifications(self, user_id: str, ids: list[str], state: State) -> list[str]:
        """Replace the ids of notifications by those of the messages that contain them."""
        named = [id_ for id_ in ids if id_.startswith(NOTIFICATION)]
        if not named or self._notifications is None:
            return ids
        messages = await self._notifications.of_notifications(user_id, named, state)
        return list(dict.fromkeys([*[i for i in ids if i not in set(named)], *messages]))

    async def read_elsewhere(self, user_id: str, message_ids: Sequence[str]) -> None:
        """Record that a user has read messages of the own inbox, by other means than a connection.

        They are not resent to any device. What they carry is marked already. Raises
        ``StorageUnavailable``, ``StorageFull``.
        """
        changes = await self._store.record(user_id, message_ids, read=True, at=self._clock.wall())
        self.settled(user_id, message_ids)
        for change in changes:
            self._emit(StatusUpdate(change.message_id, None, change.state, user_id), change.sender)

    async def acknowledge_up_to(self, connection: ConnectionInfo, stream: str, offset: int) -> int:
        """Record that a user has received a stream up to an offset; returns the new receipts.

        Raises ``Forbidden`` for a stream that the user may not read, ``SessionBound`` for that of
        another session on a bound connection, ``BadRequest`` for an offset past its end: it may be
        of an older epoch, and would acknowledge messages that were never sent. Raises
        ``StorageUnavailable``, ``StorageFull``.
        """
        user_id, at = connection.user_id, self._clock.wall()
        await self._prepare(connection.claims, (stream,))
        self._require(connection, stream)
        head = await self._messages.head(stream)
        if offset > head.offset:
            raise BadRequest(f"offset: {stream} ends at {head.offset}", field="offset")
        changes = await self._store.advance(user_id, stream, offset, at)
        if stream.startswith(INBOX):
            items = self._unacked.covered(user_id, offset)
            self.settled(user_id, [], offset)
            sessions = {item.message_id: item.session_id for item in items}
            # Sent to the user by another node, or by an earlier run.
            others = [each.message_id for each in changes if each.message_id not in sessions]
            if others:
                sessions |= _sessions_of(await self._messages.locate(others, at))
        else:  # without messages whose audience excludes the user
            found = await self._messages.locate([change.message_id for change in changes], at)
            seen = [each for each in found if self._may_see(connection, each)]
            sessions = _sessions_of(seen)
            changes = [change for change in changes if change.message_id in sessions]
        self._announce(connection, changes, sessions)
        return len(changes)

    # Plain clients

    def written(self, connection: ConnectionInfo, item: UnackedMessage) -> None:
        """Record the receipt of a plain client: a message of the inbox was written to it.

        In the background, together with others; until then the message is pending.
        """
        if self._written_count >= WAITING_LIMIT:
            self.unrecorded += 1
            if self.unrecorded & (self.unrecorded - 1) == 0:  # at 1, 2, 4, 8 …
                log.warning("receipts of plain clients dropped total=%d", self.unrecorded)
            return
        self._written_count += 1
        self._written.setdefault(connection, []).append(item)
        if self._recorder is None:
            self._recorder = self._tasks.spawn(self._record_written(), name="receipts")

    def written_to_many(
        self, publication: Publication, connections: Collection[ConnectionInfo]
    ) -> None:
        """Push ``delivered`` for the plain clients that a kept message for many was written to.

        Once a user and without recording it: resuming does not need it, and it would be a row for
        each client and message. Not for users who also have a client that acknowledges, and not
        if there are more than ``INDIVIDUALLY`` users.
        """
        if not connections:
            return
        if len(connections) == 1 and next(iter(connections)).user_id == publication.sender:
            return
        if not self.are_wanted(publication.sender):
            return  # called for every kept message, so skip what has no receiver
        # Found now: a client may be gone once it is known whether the sender is connected.
        recipients = _plain_recipients(publication, connections)
        if not recipients:
            return
        push = partial(self._push_written, publication, recipients)
        if self._events.hears(events.MESSAGE_DELIVERED) or not self._statuses.defers(
            publication.sender, push
        ):
            push()

    def _push_written(self, publication: Publication, recipients: Iterable[str]) -> None:
        target = publication.target
        session_id = target.id if target.type is TargetType.SESSION else None
        for user_id in recipients:
            update = StatusUpdate(publication.message_id, session_id, "delivered", user_id)
            self._statuses.push(update, publication.sender, is_asking=True)
            self._emit(update, publication.sender)

    def are_wanted(self, sender: str | None) -> bool:
        """Whether anybody gets the receipts of a sender's messages for many."""
        return self._statuses.has_receivers(sender) or self._events.hears(events.MESSAGE_DELIVERED)

    async def settle(self) -> None:
        """Wait until the queued receipts are recorded; not longer than two attempts."""
        if self._recorder is not None:
            await asyncio.wait({self._recorder}, timeout=2 * RETRY_S)

    async def _record_written(self) -> None:
        """Record group after group; failed ones are retried until they succeed."""
        try:
            while self._written:
                batch, self._written = list(self._written.items()), {}
                self._written_count = 0
                refused = 0
                for start in range(0, len(batch), AT_ONCE):
                    some = batch[start : start + AT_ONCE]
                    outcomes = await asyncio.gather(*[self._record(*each) for each in some])
                    refused += outcomes.count(False)
                if refused:
                    await asyncio.sleep(RETRY_S)
        finally:
            self._recorder = None

    async def _record(self, connection: ConnectionInfo, items: list[UnackedMessage]) -> bool:
        """Record the receipts of one plain client; False: queued again after an error."""
        ids = [item.message_id for item in items]
        done = partial(
            self._recorded, connection, ids, {item.message_id: item.session_id for item in items}
        )
        try:
            changes = await self._store.record(
                connection.user_id, ids, read=False, at=self._clock.wall(), late=done
            )
        except WsServerError as error:
            log.warning(
                "receipts not recorded connection_id=%s error=%s", connection.connection_id, error
            )
            for item in items:
                self.written(connection, item)
            return False
        done(changes)
        return True

    def _recorded(
        self,
        connection: ConnectionInfo,
        inbox: Sequence[str],
        sessions: Mapping[str, str | None],
        changes: Iterable[Change] | None,
    ) -> None:
        """Receipts were recorded, some perhaps before; None: they were not.

        ``inbox``: those of the own inbox.
        """
        if changes is not None:
            self.settled(connection.user_id, inbox)
            self._announce(connection, changes, sessions)

    def settled(self, user_id: str, message_ids: Sequence[str], up_to: int = 0) -> None:
        """Messages of an inbox need not be resent, to no device of the user on any node.

        By their ids, and all up to an offset.
        """
        if message_ids or up_to:
            self._broker.signal(InboxSettled(user_id, message_ids, up_to))

    # Status updates

    def _announce(
        self,
        connection: ConnectionInfo,
        changes: Iterable[Change],
        sessions: Mapping[str, str | None],
    ) -> None:
        """Push and report new receipts; ``sessions``: session id of each message, if any."""
        user_id = connection.user_id
        changes = list(changes)
        self._note_notifications(user_id, changes)
        is_crowded: dict[str, bool] = {}
        for change in changes:
            update = StatusUpdate(
                change.message_id, sessions.get(change.message_id), change.state, user_id
            )
            self._statuses.report(
                change.message_id, user_id, connection.connection_id, change.state
            )
            stream, sender = change.stream, change.sender
            if stream.startswith("user:"):
                self._statuses.push_to_devices(update, connection)
                self._statuses.push(update, sender if sender != user_id else None)
            elif sender == user_id:
                continue
            else:
                if stream not in is_crowded:
                    is_crowded[stream] = self._is_crowded(stream)
                if not is_crowded[stream]:
                    self._statuses.push(update, sender)
            self._emit(update, sender)

    def _note_notifications(self, user_id: str, changes: list[Change]) -> None:
        if self._notifications is None:
            return
        for state in STATES:
            ids = [
                change.message_id
                for change in changes
                if change.state == state and change.stream.startswith("user:")
            ]
            if ids:
                self._notifications.of_inbox(user_id, ids, state)

    def _emit(self, update: StatusUpdate, sender: str | None) -> None:
        self._events.emit(
            events.MESSAGE_DELIVERED,
            message_id=update.message_id,
            user_id=update.user_id,
            session_id=update.session_id,
            status=update.status,
            sender=sender,
        )

    def _is_crowded(self, stream: str) -> bool:
        """Whether a stream has more than ``INDIVIDUALLY`` connected users."""
        kind, _, id_ = stream.partition(":")
        if kind == "broadcast":
            return len(self._hub.user_connections) > INDIVIDUALLY
        of_kind = self._hub.of_organization if kind == "organization" else self._hub.of_session
        users: set[str] = set()
        for connection in of_kind(id_):
            users.add(connection.user_id)
            if len(users) > INDIVIDUALLY:
                return True
        return False

    # Access

    async def _prepare(self, claims: Claims, streams: Iterable[str]) -> None:
        """Look up which organizations own the sessions of streams, where access depends on it.

        Raises ``StorageUnavailable``.
        """
        for stream in streams:
            kind, _, id_ = stream.partition(":")
            if kind == "session" and self._access.needs_preparing(claims, id_):
                await self._access.prepare(claims, id_)

    def _may_see(self, connection: ConnectionInfo, found: Located) -> bool:
        audience = read_audience(found.audience)
        return self._may_read(connection, found.stream) and (
            audience is None or audience.admits(connection.claims)
        )

    def _may_read(self, connection: ConnectionInfo, stream: str) -> bool:
        return self._access.allows_stream(connection.claims, connection.session_id, stream)

    def _require(self, connection: ConnectionInfo, stream: str) -> None:
        kind, _, id_ = stream.partition(":")
        if kind == "session":
            if connection.session_id not in (None, id_):
                raise SessionBound(str(connection.session_id))
            self._access.require(connection.claims, id_)
        elif not self._may_read(connection, stream):
            raise Forbidden(f"{stream} is not your {'inbox' if kind == 'user' else 'organization'}")


def _sessions_of(found: Iterable[Located]) -> dict[str, str | None]:
    sessions: dict[str, str | None] = {}
    for each in found:
        kind, _, id_ = each.stream.partition(":")
        sessions[each.message_id] = id_ if kind == "session" else each.session_id
    return sessions


def _plain_recipients(publication: Publication, connections: Iterable[ConnectionInfo]) -> list[str]:
    """Users with plain clients only that it was written to, except the sender.

    Empty if there are more than ``INDIVIDUALLY`` users.
    """
    users: set[str] = set()
    acknowledging: set[str] = set()
    plain: set[str] = set()
    for connection in connections:
        users.add(connection.user_id)
        if len(users) > INDIVIDUALLY:
            return []
        if connection.protocol != PLAIN:
            acknowledging.add(connection.user_id)
        elif connection.websocket.is_open:
            plain.add(connection.user_id)
    return sorted(plain - acknowledging - {publication.sender})
