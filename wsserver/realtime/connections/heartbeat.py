"""``Heartbeat``: pings connections periodically and closes silent ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from wsserver.clock import Clock, rfc3339
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.ids import new_id
from wsserver.protocol.pushes import push
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.connections.timer_wheel import TimerWheel
from wsserver.wire.pings import Ping, build_ping

log = logging.getLogger(__name__)

TIDY_FROM = 1000
"""Closed connections after which their leftover timers are removed."""
TIDY_SLOTS = 16
"""Timer wheel slots cleaned in one tick: a few thousand timers, less than a millisecond."""

CONFIRMED_S = 0.005
"""Time between two looks at whether TCP has confirmed a ping of an event stream."""

_GOLDEN = 0.618033988749895


@dataclass(frozen=True)
class HeartbeatSettings:
    """Ping interval and timeout: any positive numbers of seconds, independent of each other."""

    interval_s: float
    timeout_s: float

    @property
    def tick_s(self) -> float:
        """Period of ``advance``: fine enough for both, at most four times a second."""
        return max(0.005, min(0.25, self.interval_s / 20, self.timeout_s / 20))


def _ignore(_: float) -> None:
    """Do nothing with a round-trip time."""


class Heartbeat:
    """Pings every connection once per interval, spread over it, and closes the silent ones.

    No cost per received message: the transport keeps the time of the last one, and a connection is
    checked only when its timeout would end if nothing had been received. ``on_round_trip`` gets the
    seconds from each ping to its pong.
    """

    def __init__(
        self,
        hub: Hub,
        settings: HeartbeatSettings,
        clock: Clock,
        on_round_trip: Callable[[float], None] = _ignore,
    ) -> None:
        self.settings = settings
        self._hub = hub
        self._clock = clock
        self._on_round_trip = on_round_trip
        self._pings: TimerWheel[str] = TimerWheel(settings.tick_s)
        self._deadlines: TimerWheel[str] = TimerWheel(settings.tick_s)
        self._added = 0
        self._gone_then = 0
        """Number of closed connections when the last cleaning began."""
        self._tidying: list[TimerWheel[str]] = []
        """The wheels that this cleaning has not finished."""
        self._answers: dict[tuple[ConnectionInfo, str | None], asyncio.Future[float | None]] = {}
        """Futures of the pings whose pong is awaited, by connection and ping id: usually none."""
        self._round = 0
        self.resumed_at = 0.0
        self._advanced_at = clock.monotonic()

    @property
    def awaited_pongs(self) -> int:
        """Number of pings of ``ping`` whose pong is awaited."""
        return len(self._answers)

    def add(self, connection: ConnectionInfo) -> None:
        """Start the heartbeat of a connection.

        The first pings are spread over the interval, however many connect in the same moment
        (multiples of the golden ratio are spread evenly).
        """
        now = self._clock.monotonic()
        self._added += 1
        phase = self._added * _GOLDEN % 1.0
        self._pings.schedule(now + self.settings.interval_s * phase, connection.connection_id)
        self._deadlines.schedule(now + self.settings.timeout_s, connection.connection_id)

    def advance(self) -> None:
        """Send the pings and close the connections that are due; call every ``settings.tick_s``."""
        now = self._clock.monotonic()
        stood_still_s = now - self._advanced_at
        if stood_still_s > max(4 * self.settings.tick_s, self.settings.timeout_s / 4):
            # The process itself stood still: messages of clients are waiting unread.
            if stood_still_s > 1.0:
                log.warning("the event loop stood still seconds=%.1f", stood_still_s)
            self.resumed_at = now
        self._advanced_at = now
        self._close_silent(now)
        self._ping_due(now)
        self._tidy()

    def _tidy(self) -> None:
        """Remove the timers of closed connections, once they are many; some slots at a time."""
        connections = self._hub.connections
        if not self._tidying:
            gone = self._added - len(connections)
            if gone - self._gone_then < TIDY_FROM + len(connections) // 2:
                return
            self._gone_then = gone
            self._tidying = [self._pings, self._deadlines]
        if self._tidying[-1].tidy(connections.__contains__, TIDY_SLOTS):
            self._tidying.pop()

    def _close_silent(self, now: float) -> None:
        timeout_s = self.settings.timeout_s
        for _, connection_id in self._deadlines.advance(now):
            connection = self._hub.connections.get(connection_id)
            if connection is None:
                continue
            if connection.is_dead(now, timeout_s, self.resumed_at):
                connection.close(CloseCode.HEARTBEAT_TIMEOUT, "heartbeat timeout")
            else:
                deadline = max(connection.websocket.last_heard, self.resumed_at) + timeout_s
                if deadline <= now:  # its socket is not read during a slow command: not dead
                    deadline = now + timeout_s
                self._deadlines.schedule(deadline, connection_id)

    def _ping_due(self, now: float) -> None:
        ping: Ping | None = None
        interval_s = self.settings.interval_s
        wall = self._clock.wall()
        ping_id = ""
        for due, connection_id in self._pings.advance(now):
            connection = self._hub.connections.get(connection_id)
            if connection is None:
                continue
            if ping is None:  # encoded once for all that are due in this tick
                self._round += 1
                ping_id = f"ping_{self._round}"
                ping = _build_ping(ping_id, wall)
            self._note_ping(connection, ping_id, now, wall)
            self._send(connection, ping)
            # Counted from the due time, so that late pings do not bunch up.
            missed = (now - due) // interval_s
            self._pings.schedule(due + (missed + 1) * interval_s, connection_id)

    def note_pong(self, connection: ConnectionInfo, ping_id: str | None) -> bool:
        """Note a pong; the first one to the latest ping gives the round-trip time.

        False: unsolicited.
        """
        connection.last_pong = self._clock.wall()
        is_awaited = bool(ping_id) and ping_id == connection.ping_id
        if is_awaited:
            elapsed = self._clock.monotonic() - connection.pinged_at
            connection.rtt_ms = round(elapsed * 1000, 3)
            self._on_round_trip(elapsed)
            connection.ping_id = ""
        answer = self._answers.pop((connection, ping_id), None) if self._answers else None
        if answer is None:
            return is_awaited
        if not answer.done():
            answer.set_result(self._clock.monotonic())
        return True

    def ping(self, connection: ConnectionInfo) -> asyncio.Future[float | None]:
        """Ping a live connection now: a future of the time of its pong, None if it is closed.

        Cancel the future to stop waiting.
        """
        now, wall = self._clock.monotonic(), self._clock.wall()
        ping_id = new_id("ping", wall)
        answer: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        self._answers[connection, ping_id] = answer
        answer.add_done_callback(lambda _: self._answers.pop((connection, ping_id), None))
        self._note_ping(connection, ping_id, now, wall)
        self._send(connection, _build_ping(ping_id, wall))
        return answer

    async def measure(self, connection: ConnectionInfo, timeout_s: float) -> float | None:
        """Ping a connection now: its round-trip time in ms, None without a pong in time."""
        if not connection.is_alive:
            return None
        now = self._clock.monotonic()
        if connection.websocket.is_event_stream:
            return await self._measure_delivery(connection, now, timeout_s)
        try:
            answered_at = await asyncio.wait_for(self.ping(connection), timeout_s)
        except TimeoutError:
            return None
        return None if answered_at is None else round((answered_at - now) * 1000, 3)

    async def _measure_delivery(
        self, connection: ConnectionInfo, now: float, timeout_s: float
    ) -> float | None:
        """The same for an event stream: until the client's system has confirmed the ping."""
        ping_id, wall = new_id("ping", self._clock.wall()), self._clock.wall()
        websocket = connection.websocket
        self._note_ping(connection, ping_id, now, wall)
        self._send(connection, _build_ping(ping_id, wall))
        while websocket.is_open and not websocket.is_confirmed:
            if self._clock.monotonic() - now >= timeout_s:
                return None
            await asyncio.sleep(CONFIRMED_S)
        if not websocket.is_open:
            return None
        elapsed = self._clock.monotonic() - now
        connection.rtt_ms = round(elapsed * 1000, 3)
        self._on_round_trip(elapsed)
        return connection.rtt_ms

    def forget(self, connection: ConnectionInfo) -> None:
        """Resolve the futures of ``ping`` for a closed connection."""
        for (pinged, _), answer in self._answers.items():
            if pinged is connection and not answer.done():
                answer.set_result(None)

    @staticmethod
    def _note_ping(connection: ConnectionInfo, ping_id: str, now: float, wall: float) -> None:
        connection.ping_id = ping_id
        connection.pinged_at = now
        connection.last_ping = wall

    @staticmethod
    def _send(connection: ConnectionInfo, ping: Ping) -> None:
        websocket = connection.websocket
        websocket.send_ping(ping)
        if websocket.is_event_stream and not websocket.queued_bytes:
            connection.last_pong = connection.last_ping  # written: it gets no other answer


def _build_ping(ping_id: str, wall: float) -> Ping:
    return build_ping(push("ping", rfc3339(wall), id=ping_id), ping_id.encode())
