"""``UnackedIndex``: unacknowledged inbox messages of connected users, and their send attempts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from wsserver.realtime.connections.timer_wheel import TimerWheel

TICK_S = 0.25


@dataclass(slots=True, eq=False)
class UnackedMessage:
    """An unacknowledged message of an inbox, without its payload, which storage has."""

    message_id: str
    offset: int
    sender: str | None
    """User id that gets its status updates."""
    session_id: str | None
    expires_at: float
    """Seconds since the epoch."""
    is_announced: bool = False
    """Whether the sender was notified that it was sent."""


class Attempt(NamedTuple):
    """The latest attempt to send a message to a connection."""

    due: float
    """Deadline of the acknowledgement; monotonic seconds."""
    number: int
    """From 1 on."""


@dataclass(slots=True, eq=False)
class Feed:
    """Position of a connection in its user's inbox, and what it has not acknowledged."""

    connection_id: str
    user_id: str
    acknowledges: bool
    """False for a plain client: writing a message to it counts as its receipt."""
    epoch: str
    offset: int
    """All messages up to here that are for it were sent to it."""
    is_behind: bool = False
    """Whether messages from storage are still being sent to it; live ones are withheld then."""
    withheld: int = 0
    """Offset of the last withheld live message."""
    unacknowledged: dict[str, Attempt] = field(default_factory=dict)
    """By message id, the earliest deadline first."""
    is_scheduled: bool = False

    def takes(self, epoch: str, offset: int) -> bool:
        """Whether to write a live message now: neither sent already nor withheld."""
        if epoch != self.epoch:  # the stream was deleted, as it was long empty, and created anew
            self.epoch, self.offset, self.withheld = epoch, 0, 0
        if offset <= self.offset:
            return False
        if self.is_behind:
            self.withheld = max(self.withheld, offset)
            return False
        return True

    def caught_up(self, withheld: int) -> None:
        """Note that all was sent that was in storage when ``withheld`` had this value."""
        if self.withheld == withheld:
            self.is_behind = False
            self.offset = max(self.offset, withheld)


@dataclass(slots=True)
class Settled:
    """Messages of an inbox that were settled while the inbox was being read from storage."""

    message_ids: set[str] = field(default_factory=set)
    up_to: int = 0

    def add(self, message_ids: Iterable[str], up_to: int) -> None:
        """Note messages by their ids, and all up to an offset."""
        self.message_ids.update(message_ids)
        self.up_to = max(self.up_to, up_to)

    def covers(self, message_id: str, offset: int) -> bool:
        """Whether a message that was read is settled."""
        return offset <= self.up_to or message_id in self.message_ids


class Due(NamedTuple):
    """A message to be resent to a connection."""

    feed: Feed
    item: UnackedMessage
    number: int
    """How often it was sent to the connection."""


@dataclass(slots=True, eq=False)
class _Inbox:
    items: dict[str, UnackedMessage] = field(default_factory=dict)
    feeds: dict[str, Feed] = field(default_factory=dict)


class UnackedIndex:
    """Unacknowledged messages of the users connected to this node; without I/O or clock.

    An index of messages in storage: users who are not connected are not in it, and beyond ``limit``
    messages a user the oldest entry is dropped, as retention does. ``timeout_s``: time to
    acknowledge; ``retries``: how often a message is resent.
    """

    def __init__(self, timeout_s: float, retries: int, limit: int) -> None:
        self._timeout_s = timeout_s
        self._retries = retries
        self._limit = limit
        self._inboxes: dict[str, _Inbox] = {}
        self._feeds: dict[str, Feed] = {}
        self._wheel: TimerWheel[str] = TimerWheel(TICK_S)

    def __len__(self) -> int:
        """Number of messages of all users."""
        return sum([len(inbox.items) for inbox in self._inboxes.values()])

    def count_of(self, user_id: str) -> int:
        """Number of messages of a user."""
        inbox = self._inboxes.get(user_id)
        return 0 if inbox is None else len(inbox.items)

    # Connections

    def open(self, feed: Feed) -> Feed:
        """Register the feed of a connection."""
        self._feeds[feed.connection_id] = feed
        self._inboxes.setdefault(feed.user_id, _Inbox()).feeds[feed.connection_id] = feed
        return feed

    def feed(self, connection_id: str) -> Feed | None:
        """The feed of a connection; None: nothing sent yet, or disconnected."""
        return self._feeds.get(connection_id)

    def forget(self, connection_id: str) -> None:
        """Remove a connection; with a user's last one, the user's messages too."""
        feed = self._feeds.pop(connection_id, None)
        if feed is None:
            return
        inbox = self._inboxes[feed.user_id]
        del inbox.feeds[connection_id]
        if not inbox.feeds:
            del self._inboxes[feed.user_id]

    # Messages

    def sent(self, feed: Feed, item: UnackedMessage, now: float) -> bool:
        """Note that a message was sent to a connection; True for the first acknowledging one."""
        items = self._inboxes[feed.user_id].items
        item = items.setdefault(item.message_id, item)
        if len(items) > self._limit:
            self.settled(feed.user_id, [next(iter(items))])
        feed.offset = max(feed.offset, item.offset)
        if not feed.acknowledges:
            return False
        self._note(feed, item.message_id, Attempt(now + self._timeout_s, 1))
        is_first = not item.is_announced
        item.is_announced = True
        return is_first

    def items(self, user_id: str, message_ids: Iterable[str]) -> dict[str, UnackedMessage]:
        """Those of the messages that are in the index for this user, by id."""
        inbox = self._inboxes.get(user_id)
        if inbox is None:
            return {}
        items = inbox.items
        return {id_: items[id_] for id_ in message_ids if id_ in items}

    def covered(self, user_id: str, offset: int) -> list[UnackedMessage]:
        """The messages of this user in the index, up to an offset."""
        inbox = self._inboxes.get(user_id)
        if inbox is None:
            return []
        return [item for item in inbox.items.values() if item.offset <= offset]

    def settled(self, user_id: str, message_ids: Iterable[str], up_to: int = 0) -> None:
        """Remove messages that need not be resent to any connection of their user.

        ``up_to``: and all up to this offset.
        """
        inbox = self._inboxes.get(user_id)
        if inbox is None:
            return
        if up_to:
            covered = [item.message_id for item in self.covered(user_id, up_to)]
            message_ids = [*message_ids, *covered]
        for message_id in message_ids:
            if inbox.items.pop(message_id, None) is not None:
                for feed in inbox.feeds.values():
                    feed.unacknowledged.pop(message_id, None)

    # Redelivery

    def due(self, now: float, wall: float) -> list[Due]:
        """Take the messages whose deadline has passed and that may be resent.

        Each has to be put back with ``again`` or ``postpone``. After the last retry a message
        waits for the user's next connection. ``now`` is monotonic, ``wall`` since the epoch.
        """
        due: list[Due] = []
        for _, connection_id in self._wheel.advance(now):
            feed = self._feeds.get(connection_id)
            if feed is not None:
                feed.is_scheduled = False
                self._take_due(feed, now, wall, due)
                self._schedule(feed)
        return due

    def is_open(self, due: Due) -> bool:
        """Whether it is still unacknowledged and its connection open."""
        feed, item, _ = due
        return (
            self._feeds.get(feed.connection_id) is feed
            and self._inboxes[feed.user_id].items.get(item.message_id) is item
        )

    def again(self, due: Due, now: float) -> None:
        """Put back a message that was resent."""
        self._give_back(due, Attempt(now + self._timeout_s, due.number + 1))

    def postpone(self, due: Due, now: float) -> None:
        """Put back a message that could not be resent; the attempt does not count."""
        self._give_back(due, Attempt(now + self._timeout_s, due.number))

    def _take_due(self, feed: Feed, now: float, wall: float, due: list[Due]) -> None:
        items = self._inboxes[feed.user_id].items
        while feed.unacknowledged:
            message_id, attempt = next(iter(feed.unacknowledged.items()))
            if attempt.due > now:
                break
            del feed.unacknowledged[message_id]
            item = items[message_id]
            if item.expires_at <= wall:
                self.settled(feed.user_id, [message_id])
            elif attempt.number <= self._retries:
                due.append(Due(feed, item, attempt.number))

    def _give_back(self, due: Due, attempt: Attempt) -> None:
        if self.is_open(due):
            self._note(due.feed, due.item.message_id, attempt)

    def _note(self, feed: Feed, message_id: str, attempt: Attempt) -> None:
        # All attempts have the same timeout, so the last one added is the last one due.
        feed.unacknowledged.pop(message_id, None)
        feed.unacknowledged[message_id] = attempt
        self._schedule(feed)

    def _schedule(self, feed: Feed) -> None:
        """Schedule the earliest deadline of a connection; one timer each is enough."""
        if feed.unacknowledged and not feed.is_scheduled:
            feed.is_scheduled = True
            due = next(iter(feed.unacknowledged.values())).due
            self._wheel.schedule(due, feed.connection_id)
