"""The connections that watch the server, and what each wants to be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from wsserver.clock import Clock, rfc3339
from wsserver.protocol.pushes import push
from wsserver.protocol.requests import SubscribeRequest
from wsserver.realtime.busiest import Busiest
from wsserver.realtime.connection import ConnectionInfo
from wsserver.realtime.events import MESSAGE_RECEIVED, Event, EventBus
from wsserver.wire.frames import build_frame

DEFAULT_INTERVAL_S = 5.0


@dataclass(slots=True)
class Subscription:
    """What one monitor wants."""

    events: tuple[str, ...]
    interval_s: float
    next_stats_at: float


class Monitors:
    """Pushes statistics, user status and events to the monitors."""

    def __init__(
        self, events: EventBus, statistics: Callable[[], dict[str, Any]], clock: Clock
    ) -> None:
        self._events = events
        self._statistics = statistics
        self._clock = clock
        self._busiest = Busiest(clock)
        self._connections: set[ConnectionInfo] = set()
        self._listens = False

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: ConnectionInfo) -> None:
        """Begin with statistics only; events come once it subscribes to them."""
        now = self._clock.monotonic()
        connection.subscription = Subscription((), DEFAULT_INTERVAL_S, now)
        if not self._connections:
            self._busiest.start()
            self._events.add_event_handler(MESSAGE_RECEIVED, self._busiest.note)
        self._connections.add(connection)

    def remove(self, connection: ConnectionInfo) -> None:
        """The connection has gone."""
        self._connections.remove(connection)
        if not self._connections:
            self._events.remove_event_handler(MESSAGE_RECEIVED, self._busiest.note)
        self._update_listening()

    def subscribe(self, connection: ConnectionInfo, request: SubscribeRequest) -> dict[str, Any]:
        """Put a new choice in place of the old one; returns what is now in force.

        Its globs match the names of events; ``event``, the push type, stands for all of them.
        """
        now = self._clock.monotonic()
        connection.subscription = Subscription(tuple(request.events), request.interval_s, now)
        self._update_listening()
        return {"events": request.events, "interval_s": request.interval_s}

    def advance(self) -> None:
        """Send statistics to those whose interval has passed."""
        now = self._clock.monotonic()
        frame = b""
        for connection in list(self._connections):
            subscription = connection.subscription
            if now < subscription.next_stats_at:
                continue
            subscription.next_stats_at = now + subscription.interval_s
            if not frame:  # one reading for all that are due
                frame = self._frame(
                    "stats_update", stats=self._statistics(), busiest=self._busiest.view()
                )
            connection.websocket.send(frame)

    def tell(self, type_: str, *, except_user: str = "", **members: Any) -> None:
        """Push to every monitor but those of one user."""
        if not self._connections:
            return
        frame = self._frame(type_, **members)
        for connection in list(self._connections):
            if connection.user_id != except_user:
                connection.websocket.send(frame)

    def _on_event(self, event: Event) -> None:
        """Push to those who have a glob for its name; ``event``, the push's type, stands for all.

        ``wsctl monitor`` chooses by push types alone, and no event of ours has that name.
        """
        name = event["name"]
        frame = b""
        for connection in list(self._connections):
            globs = connection.subscription.events
            if any(fnmatchcase(name, glob) or glob == "event" for glob in globs):
                frame = frame or self._frame("event", event=event)
                connection.websocket.send(frame)

    def _update_listening(self) -> None:
        """Listen to the events only while somebody wants some: building them costs time."""
        wanted = any(connection.subscription.events for connection in self._connections)
        if wanted and not self._listens:
            self._events.add_event_handler("*", self._on_event)
        elif self._listens and not wanted:
            self._events.remove_event_handler("*", self._on_event)
        self._listens = wanted

    def _frame(self, type_: str, **members: Any) -> bytes:
        return build_frame(push(type_, rfc3339(self._clock.wall()), **members))
