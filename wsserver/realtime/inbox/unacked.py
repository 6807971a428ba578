"""Which inbox messages users who are online have not acknowledged, who was sent them, and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from wsserver.realtime.connections.timer_wheel import TimerWheel

TICK_S = 0.25


@dataclass(slots=True, eq=False)
class Item:
    """A message in somebody's inbox, without its payload: that is read again where it is needed."""

    message_id: str
    offset: int
    sender: str | None
    """User id of whom to tell what becomes of it."""
    session_id: str | None
    expires_at: float
    """Seconds since the epoch."""
    is_announced: bool = False
    """Has the sender been told that it was sent?"""


class Attempt(NamedTuple):
    """The latest time that a connection was sent a message."""

    due: float
    """When it is to be acknowledged at the latest; monotonic seconds."""
    number: int
    """1 the first time."""


@dataclass(slots=True, eq=False)
class Feed:
    """What one connection has been given of its user's inbox."""

    connection_id: str
    user_id: str
    acknowledges: bool
    """False for a plain client, which has a message as soon as it is written."""
    epoch: str
    offset: int
    """Up to here it was given everything that is for it."""
    is_behind: bool = False
    """Is it still being given what is in storage? Live messages have to wait for that."""
    withheld: int = 0
    """The last offset of a live message that had to wait."""
    unacknowledged: dict[str, Attempt] = field(default_factory=dict)
    """By message id, the one that is due first at the beginning."""
    is_scheduled: bool = False

    def takes(self, epoch: str, offset: int) -> bool:
        """Is a live message to be written now? Not what was given already, or is out of turn."""
        if epoch != self.epoch:  # the stream was empty for so long that it has begun anew
            self.epoch, self.offset, self.withheld = epoch, 0, 0
        if offset <= self.offset:
            return False
        if self.is_behind:
            self.withheld = max(self.withheld, offset)
            return False
        return True

    def caught_up(self, withheld: int) -> None:
        """Everything in storage was given that was there when ``withheld`` had this value."""
        if self.withheld == withheld:
            self.is_behind = False
            self.offset = max(self.offset, withheld)


class Due(NamedTuple):
    """A message to be sent again to one connection."""

    feed: Feed
    item: Item
    number: int
    """How often it was sent there."""


@dataclass(slots=True, eq=False)
class _Inbox:
    items: dict[str, Item] = field(default_factory=dict)
    feeds: dict[str, Feed] = field(default_factory=dict)


class Ledger:
    """The unacknowledged messages of users who are online here; pure, it is told the time.

    Only an index of what storage has: who is offline is not in it, and past ``limit`` messages a
    user the longest known one is let go of, as retention does. ``timeout_s``: how long a client has
    to acknowledge; ``retries``: how often a message is sent to it again.
    """

    def __init__(self, timeout_s: float, retries: int, limit: int) -> None:
        self._timeout_s = timeout_s
        self._retries = retries
        self._limit = limit
        self._inboxes: dict[str, _Inbox] = {}
        self._feeds: dict[str, Feed] = {}
        self._wheel: TimerWheel[str] = TimerWheel(TICK_S)

    def __len__(self) -> int:
        """Messages, summed over users."""
        return sum([len(inbox.items) for inbox in self._inboxes.values()])

    # Connections

    def open(self, feed: Feed) -> Feed:
        """Begin to give a connection its user's inbox."""
        self._feeds[feed.connection_id] = feed
        self._inboxes.setdefault(feed.user_id, _Inbox()).feeds[feed.connection_id] = feed
        return feed

    def feed(self, connection_id: str) -> Feed | None:
        """What a connection has been given; None: nothing yet, or it has gone."""
        return self._feeds.get(connection_id)

    def forget(self, connection_id: str) -> None:
        """The connection has gone; with a user's last one the user's messages are forgotten too."""
        feed = self._feeds.pop(connection_id, None)
        if feed is None:
            return
        inbox = self._inboxes[feed.user_id]
        del inbox.feeds[connection_id]
        if not inbox.feeds:
            del self._inboxes[feed.user_id]

    # Messages

    def sent(self, feed: Feed, item: Item, now: float) -> bool:
        """A connection was given a message; True: it is the first that its user acknowledges on."""
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

    def items(self, user_id: str, message_ids: Iterable[str]) -> dict[str, Item]:
        """Those of the messages that are known to wait in this user's inbox, by id."""
        inbox = self._inboxes.get(user_id)
        if inbox is None:
            return {}
        items = inbox.items
        return {id_: items[id_] for id_ in message_ids if id_ in items}

    def covered(self, user_id: str, offset: int) -> list[Item]:
        """What is known to wait in this user's inbox up to an offset."""
        inbox = self._inboxes.get(user_id)
        if inbox is None:
            return []
        return [item for item in inbox.items.values() if item.offset <= offset]

    def settled(self, user_id: str, message_ids: Iterable[str]) -> None:
        """Messages need not be sent again to any connection of their user."""
        inbox = self._inboxes.get(user_id)
        if inbox is None:
            return
        for message_id in message_ids:
            if inbox.items.pop(message_id, None) is not None:
                for feed in inbox.feeds.values():
                    feed.unacknowledged.pop(message_id, None)

    # Sending again

    def due(self, now: float, wall: float) -> list[Due]:
        """Take out what was not acknowledged in time and may be sent again.

        Each is to be given back with ``again`` or ``postpone``. What was sent often enough waits
        for the user's next connection. ``now`` is monotonic, ``wall`` in seconds since the epoch.
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
        """Is it still to be sent again? Nobody has settled it, and the connection is there."""
        feed, item, _ = due
        return (
            self._feeds.get(feed.connection_id) is feed
            and self._inboxes[feed.user_id].items.get(item.message_id) is item
        )

    def again(self, due: Due, now: float) -> None:
        """It was sent again."""
        self._give_back(due, Attempt(now + self._timeout_s, due.number + 1))

    def postpone(self, due: Due, now: float) -> None:
        """It could not be sent again this time, and that does not count."""
        self._give_back(due, Attempt(now + self._timeout_s, due.number))

    def _take_due(self, feed: Feed, now: float, wall: float, due: list[Due]) -> None:
        items = self._inboxes[feed.user_id].items
        while feed.unacknowledged:
            message_id, attempt = next(iter(feed.unacknowledged.items()))
            if attempt.due > now:
                break
            del feed.unacknowledged[message_id]
            item = items[message_id]
            if attempt.number <= self._retries and item.expires_at > wall:
                due.append(Due(feed, item, attempt.number))

    def _give_back(self, due: Due, attempt: Attempt) -> None:
        if self.is_open(due):
            self._note(due.feed, due.item.message_id, attempt)

    def _note(self, feed: Feed, message_id: str, attempt: Attempt) -> None:
        # Every attempt lasts equally long: what is put at the end is the last to become due.
        feed.unacknowledged.pop(message_id, None)
        feed.unacknowledged[message_id] = attempt
        self._schedule(feed)

    def _schedule(self, feed: Feed) -> None:
        """Have a connection looked at when its first message is due; one timer each is enough."""
        if feed.unacknowledged and not feed.is_scheduled:
            feed.is_scheduled = True
            due = next(iter(feed.unacknowledged.values())).due
            self._wheel.schedule(due, feed.connection_id)
