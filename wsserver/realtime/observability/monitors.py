"""Monitor sockets: subscriptions, and pushes of statistics, user status and events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.broker import Broker, MonitorEvent, MonitorPush
from wsserver.cluster.control import Control, Notice
from wsserver.identity.claims import Claims
from wsserver.protocol.pushes import push
from wsserver.protocol.requests import SubscribeRequest
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.rate_limit import MessageRate, TokenBucket
from wsserver.realtime.observability.cluster_statistics import ClusterStatistics
from wsserver.realtime.observability.events import (
    MESSAGE_PUBLISHED,
    Event,
    EventBus,
    has_content,
    without_content,
)
from wsserver.realtime.observability.top_talkers import TopTalkers
from wsserver.wire.frames import build_frame

DEFAULT_INTERVAL_S = 5.0
PUBLISHED_RATE = MessageRate(100.0, 1000.0)
"""Rate and burst (one whole batch) of ``message_published``; events beyond it are only counted."""

INTEREST_S = 2.0
"""Period at which a node with monitors notifies the others of what they have subscribed to."""
FORGOTTEN_S = 6.0
"""Without such a notice for this long, a node has no monitors any more."""
MISSED_S = 3.0
"""So long after notices were missed, all events are wanted: they are repeated by then."""
_ANY_NODE = ""
"""Stands for nodes whose notices may have been missed."""


class MonitorInterest(Notice, frozen=True):
    """A node has monitors, subscribed to these globs; None: it has no monitors any more."""

    node: str
    globs: tuple[str, ...] | None


@dataclass(slots=True)
class Subscription:
    """Subscription of a monitor connection: events, and the interval of statistics."""

    events: tuple[str, ...]
    interval_s: float
    next_stats_at: float


class Monitors:
    """Pushes statistics, user status and events to the monitors of all nodes.

    Pushes and events go through the broker, which calls ``show`` on every node.

    ``shows_contents``: whether claims allow reading contents of messages; other monitors get
    events without it.
    """

    def __init__(
        self,
        events: EventBus,
        broker: Broker,
        control: Control,
        statistics: ClusterStatistics,
        top_talkers: TopTalkers,
        clock: Clock,
        shows_contents: Callable[[Claims], bool],
    ) -> None:
        self._events = events
        self._broker = broker
        self._control = control
        self._statistics = statistics
        self._clock = clock
        self._top_talkers = top_talkers
        statistics.add_busiest(self._top_talkers.view)
        self._shows_contents = shows_contents
        self._connections: dict[ConnectionInfo, Subscription] = {}
        self._globs: frozenset[str] = frozenset()
        """Subscribed by any monitor, of any node."""
        self._elsewhere: dict[str, tuple[frozenset[str], float]] = {}
        """By other node with monitors: their globs, and the monotonic time of its last notice."""
        self._interest_due = 0.0
        self._published = TokenBucket(PUBLISHED_RATE, clock.monotonic())
        self._skipped = 0
        """Number of ``message_published`` held back since the last one that was sent."""

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def has_any(self) -> bool:
        """Whether any node has a monitor."""
        return bool(self._connections or self._elsewhere)

    def add(self, connection: ConnectionInfo) -> None:
        """Add a monitor; it gets statistics only, until it subscribes to events."""
        now = self._clock.monotonic()
        self._connections[connection] = Subscription((), DEFAULT_INTERVAL_S, now)
        self._update_counting()
        self._interest_due = now

    def remove(self, connection: ConnectionInfo) -> None:
        """Remove a monitor."""
        del self._connections[connection]
        if not self._connections:
            self._control.notify(MonitorInterest(self._control.node, None))
        self._update_counting()
        self._update_listening()

    def subscribe(self, connection: ConnectionInfo, request: SubscribeRequest) -> dict[str, Any]:
        """Replace a monitor's subscription; returns the new one.

        Globs match names of events; ``event``, the push type, matches all.
        """
        now = self._clock.monotonic()
        events = tuple(request.events)
        self._connections[connection] = Subscription(events, request.interval_s, now)
        self._update_listening()
        self._control.notify(MonitorInterest(self._control.node, tuple(self._own_globs())))
        return {"events": request.events, "interval_s": request.interval_s}

    async def advance(self) -> None:
        """Send the statistics of all nodes to the monitors whose interval has passed."""
        now = self._clock.monotonic()
        self._share_interest(now)
        due = [each for each in self._connections.items() if now >= each[1].next_stats_at]
        if not due:
            return
        for _, subscription in due:
            subscription.next_stats_at = now + subscription.interval_s
        stats, busiest = await self._statistics.read_with_busiest()
        frame = self._frame("stats_update", stats=stats, busiest=busiest)
        for connection, _ in due:  # one frame for all
            if connection in self._connections:  # it may have ended meanwhile
                connection.websocket.send(frame)

    def notify(self, type_: str, *, except_user: str = "", **members: Any) -> None:
        """Push to all monitors except those of one user."""
        if self.has_any:
            text = push(type_, rfc3339(self._clock.wall()), **members)
            self._broker.signal(MonitorPush(text, except_user))

    def notify_status(self, members: Mapping[str, Any], progress: int) -> None:
        """Push ``message_status_update`` to all monitors; ``progress``: see ``MonitorPush``."""
        if self.has_any:
            text = push("message_status_update", rfc3339(self._clock.wall()), **members)
            message_id, recipient = members["message_id"], members["user_id"]
            signal = MonitorPush(
                text, message_id=message_id, recipient=recipient, progress=progress
            )
            self._broker.signal(signal)

    def show(self, signal: MonitorPush | MonitorEvent) -> None:
        """Write a push or event, of this node or another one, to the monitors of this node."""
        if isinstance(signal, MonitorEvent):
            self._show_event(signal.event)
            return
        frame = build_frame(signal.payload)
        for connection in list(self._connections):
            if connection.user_id != signal.exclude_user:
                connection.websocket.send(frame)

    def interested(self, notice: MonitorInterest) -> None:
        """Another node has monitors, or has none any more."""
        if notice.node == self._control.node:
            return
        if notice.globs is None:
            self._elsewhere.pop(notice.node, None)
        else:
            self._elsewhere[notice.node] = frozenset(notice.globs), self._clock.monotonic()
        self._update_counting()
        self._update_listening()

    def interest_missed(self) -> None:
        """Notices of other nodes were missed: until they are repeated, all events are wanted.

        A node that starts again reports at once which connections have ended with its former run.
        The others have missed this node's notices, too, and may have been back for longer: they are
        repeated soon.
        """
        self.interested(MonitorInterest(_ANY_NODE, ("*",)))
        self._interest_due = self._clock.monotonic()

    def _share_interest(self, now: float) -> None:
        """Repeat this node's interest, and forget that of nodes which have stopped doing so."""
        if now >= self._interest_due:
            self._interest_due = now + INTEREST_S
            if self._connections:
                self._control.notify(MonitorInterest(self._control.node, tuple(self._own_globs())))
        # Soon after a gap: until then every message is counted over all nodes.
        old = [
            node
            for node, (_, at) in self._elsewhere.items()
            if now - at > (MISSED_S if node == _ANY_NODE else FORGOTTEN_S)
        ]
        for node in old:
            del self._elsewhere[node]
        if old:
            self._update_counting()
            self._update_listening()

    def _on_event(self, event: Event) -> None:
        if event["name"] == MESSAGE_PUBLISHED and self._skipped:
            event["skipped"], self._skipped = self._skipped, 0
        self._broker.signal(MonitorEvent(event))

    def _show_event(self, event: Event) -> None:
        """Push to the monitors with a matching glob; ``event``, the push type, matches all events.

        ``wsctl monitor`` filters by push types alone, and no event has that name.
        """
        name = event["name"]
        is_open = not has_content(event)
        frames: dict[bool, bytes] = {}
        for connection, subscription in list(self._connections.items()):
            if _matches(name, subscription.events):
                is_whole = is_open or self._shows_contents(connection.claims)
                if is_whole not in frames:
                    shown = event if is_whole else without_content(event)
                    frames[is_whole] = self._frame("event", event=shown)
                connection.websocket.send(frames[is_whole])

    def _has_room_for(self, name: str) -> bool:
        """Whether an event is within ``PUBLISHED_RATE``, if it is a ``message_published``.

        Otherwise many publishes would fill the queues of slow monitors, and close them. One that is
        counted only is not built, so that watching a busy server does not slow it down.
        """
        if name != MESSAGE_PUBLISHED:
            return True
        if self._published.take(PUBLISHED_RATE, self._clock.monotonic()):
            self._skipped += 1
            return False
        return True

    def _wants(self, name: str) -> bool:
        return _matches(name, self._globs)

    def _update_counting(self) -> None:
        """Count messages while any node has a monitor."""
        if self.has_any and not self._top_talkers.is_on:
            self._top_talkers.start()
        elif not self.has_any:
            self._top_talkers.stop()

    def _update_listening(self) -> None:
        """Register for the subscribed events only: building others would cost time."""
        globs = self._own_globs().union(*[globs for globs, _ in self._elsewhere.values()])
        if globs == self._globs:
            return
        if self._globs:
            self._events.remove_event_handler(self._wants, self._on_event)
        self._globs = globs
        if globs:
            self._events.add_event_handler(self._wants, self._on_event, self._has_room_for)

    def _own_globs(self) -> frozenset[str]:
        return frozenset(glob for each in self._connections.values() for glob in each.events)

    def _frame(self, type_: str, **members: Any) -> bytes:
        return build_frame(push(type_, rfc3339(self._clock.wall()), **members))


def _matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) or glob == "event" for glob in globs)
