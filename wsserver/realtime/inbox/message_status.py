"""``message_status_update``: status of messages, for senders, monitors and listeners."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import Any, Literal, NamedTuple

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.broker import Broker, Push
from wsserver.cluster.directory import ConnectionDirectory
from wsserver.protocol.pushes import push
from wsserver.protocol.targets import user
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.observability.monitors import Monitors

log = logging.getLogger(__name__)

Status = Literal["queued", "sent", "delivered", "read", "failed", "expired"]
Progress = Literal["sent", "delivered", "read"]
_PROGRESS: dict[Status, int] = {
    "queued": 0,
    "sent": 1,
    "delivered": 2,
    "read": 3,
    "failed": 4,
    "expired": 4,
}
"""In this order a message goes through its statuses."""

WAITING_LIMIT = 1000
"""Pushes for one sender that wait until it is known whether the sender is connected.

They are made in one go then: more of them would hold up the event loop.
"""

Listener = Callable[[str, str, str, Progress], None]
"""Called with message id, user id, connection id and progress."""


class StatusUpdate(NamedTuple):
    """The status of a message for one recipient."""

    message_id: str
    session_id: str | None
    status: Status
    user_id: str
    """The recipient."""
    reason: str | None = None


class _Asked:
    """Pushes for a sender while it is asked whether any node has a connection of theirs."""

    __slots__ = ("covered", "later")

    def __init__(self) -> None:
        self.covered: deque[Callable[[], None]] = deque()
        """Those that came before the question: the answer holds for them."""
        self.later: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return len(self.covered) + len(self.later)


class MessageStatuses:
    """Pushes ``message_status_update`` to live connections of all nodes; it is not stored.

    Nodes push independently of each other what they have written to their connections. The signals
    carry the progress, by which the broker drops those that would repeat or go back.
    """

    def __init__(
        self, broker: Broker, connections: ConnectionDirectory, monitors: Monitors, clock: Clock
    ) -> None:
        self._broker = broker
        self._connections = connections
        self._monitors = monitors
        self._clock = clock
        self._listeners: list[Listener] = []
        self._asked: dict[str, _Asked] = {}
        """By sender."""

    def add_listener(self, listener: Listener) -> None:
        """Call ``listener`` for every acknowledgement, and for every sending after the first.

        It must neither block nor raise. Ids of live messages and unknown ids are reported too, as
        clients may acknowledge any id.
        """
        self._listeners.append(listener)

    def report(self, message_id: str, user_id: str, connection_id: str, progress: Progress) -> None:
        """Call the listeners."""
        for listener in self._listeners:
            listener(message_id, user_id, connection_id, progress)

    def has_receivers(self, sender: str | None) -> bool:
        """Whether ``push`` may write to any connection."""
        if self._monitors.has_any:
            return True
        return sender is not None and self._connections.may_be_online(sender)

    def push(self, update: StatusUpdate, sender: str | None, *, is_asking: bool = False) -> None:
        """Push to all connections of the sender and to the monitors, each connection once.

        ``is_asking``: also note whether it has reached a node, for ``defers``.
        """
        members = _members(update)
        self._monitors.notify_status(members, _PROGRESS[update.status])
        if sender is not None and self._connections.may_be_online(sender):
            if not is_asking or sender in self._asked:
                self._push(sender, update, members)
                return
            self._asked[sender] = _Asked()
            try:
                self._push(sender, update, members, reached=partial(self._answered, sender))
            except Exception:  # without an answer, later pushes would wait for ever
                self._asked.pop(sender, None)
                raise

    def defers(self, sender: str | None, push: Callable[[], None]) -> bool:
        """Whether ``push`` waits: while it is not known whether the last one has reached a node.

        Then it is called, or dropped if no node had a connection of the sender.

        Messages of backends, which are not connected, would else cost a push for each recipient.
        """
        asked = self._asked.get(sender) if sender is not None else None
        if asked is None or len(asked) >= WAITING_LIMIT or self._monitors.has_any:
            return False
        asked.later.append(push)
        return True

    def _answered(self, sender: str, is_reached: bool) -> None:
        """The last push has reached a node, or none; then what came after it asks again."""
        asked = self._asked.pop(sender)
        if is_reached:
            _call(chain(asked.covered, asked.later))
            return
        waiting = asked.later
        while waiting and sender not in self._asked:
            _call((waiting.popleft(),))
        if waiting:
            self._asked[sender].covered = waiting

    def push_to_devices(self, update: StatusUpdate, except_for: ConnectionInfo) -> None:
        """Push to the recipient's own connections, except for the one that it comes from.

        Not to monitors: ``push`` writes to them.
        """
        excluded = except_for.connection_id
        if self._connections.may_be_online(update.user_id, besides=excluded):
            self._push(update.user_id, update, _members(update), excluded)

    def _push(
        self,
        user_id: str,
        update: StatusUpdate,
        members: dict[str, Any],
        excluded: str = "",
        reached: Callable[[bool], None] | None = None,
    ) -> None:
        text = push("message_status_update", rfc3339(self._clock.wall()), **members)
        self._broker.signal(
            Push(
                (user(user_id),),
                text,
                exclude_connection=excluded,
                message_id=update.message_id,
                recipient=update.user_id,
                progress=_PROGRESS[update.status],
            ),
            reached,
        )


def _call(pushes: Iterable[Callable[[], None]]) -> None:
    for each in pushes:
        try:
            each()
        except Exception:  # the others have to be pushed all the same
            log.exception("message status not pushed")


def _members(update: StatusUpdate) -> dict[str, Any]:
    members: dict[str, Any] = {
        "message_id": update.message_id,
        "session_id": update.session_id,
        "status": update.status,
        "user_id": update.user_id,
    }
    if update.reason is not None:
        members["reason"] = update.reason
    return members
