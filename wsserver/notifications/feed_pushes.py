"""``FeedPushes``: ``notifications_changed`` to the connections that have listed notifications."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.control import Control, Notice
from wsserver.errors import WsServerError
from wsserver.protocol.pushes import push
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.local_delivery import ConnectionWriter
from wsserver.realtime.operations.user_records import UserErased
from wsserver.storage.notifications.feed import FeedStore
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

CHANGED = "notifications_changed"
"""Type of the push."""
GATHER_S = 0.05
"""Changes are gathered for so long before a push, and after it."""
SHARE = 20
"""Counting takes at most one part in so many of the time; if it is slow, pauses are longer."""
GATHER_AT_MOST_S = 2.0
RETRY_S = 1.0
"""After a failure of storage."""
AT_ONCE = 500
"""Users in one query, and in one notice."""
NAMED_LIMIT = 1000
"""Notifications named in one push; for more it has only the number of unread ones."""


class FeedMarks(Struct, frozen=True):
    """What a user has marked; None: it stays as it was."""

    notification_ids: tuple[str, ...]
    read: bool | None = None
    archived: bool | None = None


class FeedChanged(Notice, frozen=True):
    """The feeds of users have changed: something came, or they have marked something.

    May get lost; after a gap in its notices a node pushes the number to all of its users.
    """

    user_ids: tuple[str, ...]
    marked: tuple[tuple[str, FeedMarks], ...] = ()
    """What users have marked, by user."""


class FeedPushes:
    """Pushes ``notifications_changed`` to connections of this node that have listed the feed.

    Whoever commits a change notifies all nodes, and each counts what is unread to its own users: a
    push is never of a state before the commit, and the last one has the number that is stored.
    Connections that have not listed it get none, and cost nothing.
    """

    def __init__(
        self,
        store: FeedStore,
        hub: Hub,
        writer: ConnectionWriter,
        control: Control,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._store = store
        self._hub = hub
        self._writer = writer
        self._control = control
        self._clock = clock
        self._tasks = tasks
        self._outgoing: dict[str, None] = {}
        self._is_sending = False
        self._pending: dict[str, list[FeedMarks]] = {}
        """By user: marks to be pushed, besides the number."""
        self._runner: asyncio.Task[Any] | None = None
        control.add_listener(FeedChanged, self._noticed)
        control.add_listener(UserErased, self.erased)
        control.add_gap_listener(self._look_at_all)

    # What this node has committed

    def grown(self, user_id: str) -> None:
        """A notification has come to the feed of a user."""
        self._outgoing[user_id] = None
        if not self._is_sending:
            self._is_sending = True
            asyncio.get_running_loop().call_soon(self._send)

    def marked(self, user_id: str, marks: FeedMarks) -> None:
        """A user has marked notifications."""
        if len(marks.notification_ids) > NAMED_LIMIT:
            marks = FeedMarks(())
        self._control.notify(FeedChanged((), ((user_id, marks),)))

    def read(self, by_user: Iterable[tuple[str, str]]) -> None:
        """Users have read notifications by the commands of receipts: user and notification."""
        found: dict[str, list[str]] = {}
        for user_id, notification_id in by_user:
            found.setdefault(user_id, []).append(notification_id)
        for user_id, ids in found.items():
            self.marked(user_id, FeedMarks(tuple(ids), read=True))

    def _send(self) -> None:
        """Notify all nodes, this one included; again after ``GATHER_S``, if there is more."""
        if not self._outgoing:
            self._is_sending = False
            return
        user_ids = list(self._outgoing)
        self._outgoing.clear()
        for start in range(0, len(user_ids), AT_ONCE):
            self._control.notify(FeedChanged(tuple(user_ids[start : start + AT_ONCE])))
        asyncio.get_running_loop().call_later(GATHER_S, self._send)

    # What any node has committed

    def _noticed(self, notice: FeedChanged) -> None:
        for user_id in notice.user_ids:
            self._look_at(user_id)
        for user_id, marks in notice.marked:
            self._look_at(user_id, marks)
        self._run_soon()

    def erased(self, notice: UserErased) -> None:
        """What was stored about a user is erased; each node has this notice."""
        if notice.version:
            self._look_at(notice.user_id)
            self._run_soon()

    def _look_at(self, user_id: str, *marks: FeedMarks) -> None:
        if self._followers(user_id):
            self._pending.setdefault(user_id, []).extend(marks)

    def _followers(self, user_id: str) -> list[ConnectionInfo]:
        return [each for each in self._hub.of_user(user_id) if each.follows_notifications]

    def _look_at_all(self) -> None:
        """Notices may have been missed."""
        for user_id in self._hub.user_connections:
            self._look_at(user_id)
        self._run_soon()

    def _run_soon(self) -> None:
        if self._runner is None and self._pending:
            self._runner = self._tasks.spawn(self._run(), name="feeds")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._pending:
                began = loop.time()
                pause_s = GATHER_S
                some = {each: self._pending.pop(each) for each in list(self._pending)[:AT_ONCE]}
                try:
                    counts = await self._store.unread_of(list(some))
                except WsServerError as error:
                    log.info("unread notifications not counted yet error=%s", error)
                    for user_id, marks in some.items():
                        self._pending[user_id] = marks + self._pending.get(user_id, [])
                    pause_s = RETRY_S
                else:
                    for user_id, marks in some.items():
                        self._tell(user_id, marks, counts.get(user_id, 0))
                took_s = loop.time() - began
                await asyncio.sleep(min(max(pause_s, took_s * (SHARE - 1)), GATHER_AT_MOST_S))
        finally:
            self._runner = None

    def _tell(self, user_id: str, marks: Sequence[FeedMarks], unread: int) -> None:
        """Push each marking, or else the number alone."""
        transports = [connection.websocket for connection in self._followers(user_id)]
        for each in marks or (FeedMarks(()),):
            members: dict[str, Any] = {"notification_ids": each.notification_ids}
            for name in ("read", "archived"):
                value = getattr(each, name)
                if value is not None:
                    members[name] = value
            text = push(CHANGED, rfc3339(self._clock.wall()), **members, unread=unread)
            self._writer.write(transports, text)
