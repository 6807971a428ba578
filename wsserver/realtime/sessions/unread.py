"""``UnreadPushes``: ``unread_changed`` to the connections of users whose unread messages change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.broker import Push, Signal
from wsserver.cluster.control import Control, Notice
from wsserver.errors import WsServerError
from wsserver.protocol.pushes import push
from wsserver.protocol.targets import user
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.streams.drafts import Draft
from wsserver.storage.messages.message_rows import SESSION, Appended
from wsserver.storage.messages.participant_store import ParticipantStore
from wsserver.storage.messages.participants import NEW_MESSAGE, Unread
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

SPACING_S = 0.25
"""Between two pushes to one user."""
GATHER_S = 0.05
"""Time in which changes are gathered after the first ones were looked at, and before other nodes
hear of them."""
SHARE = 20
"""Of the time, one part in so many is spent on looking changes up; they are gathered for longer
then, but not for longer than ``GATHER_AT_MOST_S``."""
GATHER_AT_MOST_S = 2.0
RETRY_S = 1.0
"""After a failure of storage."""
AT_ONCE = 500
"""Sessions in one query, rows until other work is let in, sessions in one notice."""
COMPARED_AT_ONCE = 20
"""Users that are looked at as a whole before changes of sessions get their turn."""
COUNTED_TYPES = frozenset({NEW_MESSAGE, "message_deleted"})
"""Types of messages that change what is unread."""


class UnreadChanged(Notice, frozen=True):
    """What is unread has changed: in whole sessions, and to some users by their own doing.

    May get lost; after a gap in what a node hears, it looks at everything again.
    """

    sessions: tuple[str, ...]
    moved: tuple[tuple[str, str], ...] = ()
    """Session and user."""


class _User:
    """A user with connections here, and the counts that were pushed to them last."""

    __slots__ = ("free_at", "pending", "timer", "total", "unread")

    def __init__(self) -> None:
        self.unread: dict[str, int] = {}
        """By session; sessions without unread messages are left out."""
        self.total = 0
        self.pending: dict[str, None] = {}
        """Sessions that a push is due for, in the order of their changes."""
        self.free_at = 0.0
        """When the next push may be sent, by the clock of the event loop."""
        self.timer: asyncio.TimerHandle | None = None

    def set(self, session_id: str, count: int) -> bool:
        """Note the count of a session; whether it is another one than before."""
        before = self.unread.get(session_id, 0)
        if count:
            self.unread[session_id] = count
        else:
            self.unread.pop(session_id, None)
        self.total += count - before
        return count != before


class UnreadPushes:
    """Pushes ``unread_changed`` to users that are connected to this node.

    Whoever commits a change notifies all nodes, and each looks up what is unread to its own users,
    one query after the other: a push is never of a state before the commit, nor of one before the
    latest push. A user gets at most one push in ``SPACING_S``, the
    one about a session's latest state always. ``deliver`` writes a signal to this node's
    connections.
    """

    def __init__(
        self,
        store: ParticipantStore,
        hub: Hub,
        deliver: Callable[[Signal], None],
        control: Control,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._store = store
        self._hub = hub
        self._deliver = deliver
        self._control = control
        self._clock = clock
        self._tasks = tasks
        self._outgoing: dict[str, None] = {}
        self._outgoing_moved: dict[tuple[str, str], None] = {}
        self._is_sending = False
        self._sessions: dict[str, None] = {}
        self._moved: dict[str, set[str]] = {}
        """By session: users to look at, if it is not all of them."""
        self._outdated: dict[str, None] = {}
        """Users whose counts are to be compared in all sessions."""
        self._users: dict[str, _User] = {}
        self._runner: asyncio.Task[Any] | None = None
        control.add_listener(UnreadChanged, self._noticed)
        control.add_gap_listener(self._look_at_all)

    # What this node has committed

    def stored(self, drafts: Sequence[Draft], places: Sequence[Appended]) -> None:
        """Messages were stored."""
        for stream in dict.fromkeys([each.stream for each in drafts if each.type in COUNTED_TYPES]):
            if stream.startswith(SESSION):
                self.changed(stream[len(SESSION) :])

    def changed(self, session_id: str) -> None:
        """What is unread in a session has changed, to any of its users."""
        self._outgoing[session_id] = None
        if not self._is_sending:
            self._send_soon()

    def moved(self, session_id: str, user_id: str) -> None:
        """The read position of a user has moved."""
        self._outgoing_moved[session_id, user_id] = None
        self._send_soon()

    def _send_soon(self) -> None:
        if not self._is_sending:
            self._is_sending = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        """Notify all nodes, this one included; again after ``GATHER_S``, if there is more."""
        if not self._outgoing and not self._outgoing_moved:
            self._is_sending = False
            return
        sessions, moved = list(self._outgoing), list(self._outgoing_moved)
        self._outgoing.clear()
        self._outgoing_moved.clear()
        for start in range(0, max(len(sessions), len(moved)), AT_ONCE):
            end = start + AT_ONCE
            self._control.notify(UnreadChanged(tuple(sessions[start:end]), tuple(moved[start:end])))
        asyncio.get_running_loop().call_later(GATHER_S, self._send)

    # What any node has committed

    def _noticed(self, notice: UnreadChanged) -> None:
        if not self._hub.user_connections:
            self._users.clear()
            return
        self._sessions.update(dict.fromkeys(notice.sessions))
        for session_id, user_id in notice.moved:
            self._look_at(session_id, user_id)
        self._run_soon()

    def members_changed(self, session_id: str, user_ids: Iterable[str]) -> None:
        """Users were put on a member list, or taken off; each node hears of it otherwise."""
        for user_id in user_ids:
            self._look_at(session_id, user_id)
        self._run_soon()

    def _look_at(self, session_id: str, user_id: str) -> None:
        if self._hub.user_connections.count(user_id):
            self._moved.setdefault(session_id, set()).add(user_id)
        else:
            self._users.pop(user_id, None)  # what is known of the user is no longer true

    def look_at_all_of(self, user_id: str) -> None:
        """What is unread to a user has changed in many sessions; each node hears of it."""
        if user_id in self._users:
            self._outdated[user_id] = None
            self._run_soon()

    def _look_at_all(self) -> None:
        """Notices may have been missed."""
        self._outdated.update(dict.fromkeys(self._users))
        self._run_soon()

    def _run_soon(self) -> None:
        if self._runner is None and self._has_work():
            self._runner = self._tasks.spawn(self._run(), name="unread")

    def _has_work(self) -> bool:
        return bool(self._sessions or self._moved or self._outdated)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._has_work():
                began = loop.time()
                pause_s = GATHER_S
                try:
                    await self._look_up()
                except WsServerError as error:
                    log.info("unread messages not counted yet error=%s", error)
                    pause_s = RETRY_S
                if self._outdated:
                    await self._compare(list(self._outdated)[:COMPARED_AT_ONCE])
                    continue
                took_s = loop.time() - began
                await asyncio.sleep(min(max(pause_s, took_s * (SHARE - 1)), GATHER_AT_MOST_S))
        finally:
            self._runner = None

    async def _look_up(self) -> None:
        """Look up what has changed by now; what fails is left for the next time."""
        changed = list(self._sessions | dict.fromkeys(self._moved))
        for start in range(0, len(changed), AT_ONCE):
            ids = changed[start : start + AT_ONCE]
            moved = {each: self._moved[each] for each in ids if each in self._moved}
            whole = {each for each in ids if each in self._sessions}
            for each in ids:  # changes from here on are looked up again
                self._sessions.pop(each, None)
                self._moved.pop(each, None)
            try:
                found = await self._store.unread_in(ids)
                await self._take(found, whole, moved)
            except WsServerError:
                self._sessions.update(dict.fromkeys(whole))
                for session_id, users in moved.items():
                    self._moved.setdefault(session_id, set()).update(users)
                raise

    async def _take(self, found: list[Unread], whole: set[str], moved: dict[str, set[str]]) -> None:
        gone = {(session_id, user_id) for session_id, users in moved.items() for user_id in users}
        fresh: set[str] = set()
        for number, each in enumerate(found, 1):
            gone.discard((each.session_id, each.user_id))
            if each.session_id in whole or each.user_id in moved.get(each.session_id, ()):
                await self._update(each.user_id, each.session_id, self._shown(each), fresh)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        for session_id, user_id in gone:  # no longer among the users of the session
            await self._update(user_id, session_id, 0, fresh)
        if len(self._users) > 2 * len(self._hub.user_connections) + AT_ONCE:
            connected = self._hub.user_connections
            self._users = {each: self._users[each] for each in self._users if each in connected}

    async def _update(self, user_id: str, session_id: str, count: int, fresh: set[str]) -> None:
        """Note a count and push it; ``fresh``: users that were read later than it."""
        if not self._hub.user_connections.count(user_id):
            self._users.pop(user_id, None)
            return
        known = self._users.get(user_id)
        if known is None:
            found = await self._store.unread_of(user_id)
            known = self._users[user_id] = _User()
            for each in found:
                known.set(each.session_id, self._shown(each))
            fresh.add(user_id)
        elif user_id not in fresh and not known.set(session_id, count):
            return
        known.pending.pop(session_id, None)
        known.pending[session_id] = None
        self._push_next(user_id, known)

    async def _compare(self, user_ids: list[str]) -> None:
        """Read all that is unread to users, and push what differs from the latest push."""
        for user_id in user_ids:
            del self._outdated[user_id]  # what comes from here on is compared again
            known = self._users.get(user_id)
            if known is None:
                continue
            try:
                found = await self._store.unread_of(user_id)
            except WsServerError:
                self._users.pop(user_id, None)  # the next change looks at all of it
                continue
            if self._users.get(user_id) is not known:  # the user's last connection has gone
                continue
            counts = dict.fromkeys(known.unread, 0)
            counts.update({each.session_id: self._shown(each) for each in found})
            for session_id, count in counts.items():
                if known.set(session_id, count):
                    known.pending[session_id] = None
            self._push_next(user_id, known)

    def _shown(self, found: Unread) -> int:
        """What counts of a session: it is one of the user's, and may be entered."""
        if found.is_member or found.has_written:
            return found.unread
        may_enter = found.has_joined and any(
            connection.claims.opens(found.session_id)
            for connection in self._hub.of_user(found.user_id)
        )
        return found.unread if may_enter else 0

    # Pushing

    def _push_next(self, user_id: str, known: _User) -> None:
        """Push about the session whose change is the oldest, now or as soon as it may be."""
        loop = asyncio.get_running_loop()
        wait_s = known.free_at - loop.time()
        if wait_s <= 0:
            self._push_now(user_id, known)
        elif known.timer is None and known.pending:
            known.timer = loop.call_later(wait_s, self._push_now, user_id, known)

    def _push_now(self, user_id: str, known: _User) -> None:
        known.timer = None
        if self._users.get(user_id) is not known or not known.pending:
            return
        if not self._hub.user_connections.count(user_id):
            del self._users[user_id]
            return
        session_id = next(iter(known.pending))
        del known.pending[session_id]
        text = push(
            "unread_changed",
            rfc3339(self._clock.wall()),
            session_id=session_id,
            unread=known.unread.get(session_id, 0),
            total=known.total,
        )
        self._deliver(Push((user(user_id),), text))
        known.free_at = asyncio.get_running_loop().time() + SPACING_S
        if known.pending:
            self._push_next(user_id, known)
