"""``Devices``: a node's cache of calls, so that most connections need no query of storage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wsserver.clock import Clock
from wsserver.cluster.control import Control, Notice
from wsserver.errors import RateLimited
from wsserver.extensions.calls.model import Call, Limits
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.rate_limit import MessageRate, TokenBucket

SIGNAL_RATE = MessageRate(20.0, 100)
"""Signals of one connection; a call begins with some tens of candidates."""


class CallRings(Notice, frozen=True):
    """A call rings for users; a device of theirs that connects while it does, rings too."""

    call_id: str
    user_ids: tuple[str, ...]
    until: float


class DeviceAway(Notice, frozen=True):
    """A party of a call is away; it is awaited in the session."""

    call_id: str
    session_id: str
    user_id: str
    until: float
    connection_id: str = ""
    """The one that was lost."""


class Devices:
    """Hints from notices of all nodes, and the connections of this node that are in calls.

    A hint that is too old does no harm: storage decides. Those that were lost are learned anew.
    """

    def __init__(self, control: Control, limits: Limits, clock: Clock) -> None:
        self._control = control
        self._limits = limits
        self._clock = clock
        self._here: dict[str, ConnectionInfo | None] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._rings: dict[str, dict[str, float]] = {}
        self._awaited: dict[tuple[str, str], dict[str, float]] = {}
        control.add_listener(CallRings, self._ring)
        control.add_listener(DeviceAway, self._await)

    @property
    def here(self) -> frozenset[str]:
        """The connections of this node that are, or were lately, in calls."""
        return frozenset(self._here)

    def connection(self, connection_id: str) -> ConnectionInfo | None:
        """A connection of this node that is in a call, unless it has sent no command about it."""
        return self._here.get(connection_id)

    def entered(self, connection_id: str, connection: ConnectionInfo | None = None) -> None:
        """A connection of this node is in a call."""
        if connection is not None or connection_id not in self._here:
            self._here[connection_id] = connection

    def left(self, connection_ids: Iterable[str]) -> None:
        """Connections of this node are in no call any more."""
        for connection_id in connection_ids:
            self._here.pop(connection_id, None)

    def gone(self, connection_id: str) -> bool:
        """A connection of this node has ended; whether it was in a call."""
        self._buckets.pop(connection_id, None)
        was_here = connection_id in self._here
        self._here.pop(connection_id, None)
        return was_here

    def spend(self, connection_id: str) -> None:
        """Count a signal of a connection. Raises ``RateLimited``."""
        now = self._clock.monotonic()
        bucket = self._buckets.get(connection_id)
        if bucket is None:
            bucket = self._buckets[connection_id] = TokenBucket(SIGNAL_RATE, now)
        wait_ms = bucket.take(SIGNAL_RATE, now)
        if wait_ms:
            raise RateLimited(wait_ms)

    def rings(self, call: Call) -> None:
        """Send all nodes the users for whom a call rings."""
        self._control.notify(_rings(call))

    def away(self, call: Call) -> None:
        """Send all nodes the parties of a call that are awaited."""
        for notice in self._away(call):
            self._control.notify(notice)

    def learn(self, call: Call) -> None:
        """Note an open call of which this node may not have had the notices."""
        if call.state == "ringing":
            self._ring(_rings(call))
        for notice in self._away(call):
            self._await(notice)

    def _away(self, call: Call) -> Iterator[DeviceAway]:
        for party in call.parties:
            if party.lost_at is not None:
                until = party.lost_at + self._limits.resume_s
                yield DeviceAway(
                    call.call_id, call.session_id, party.user_id, until, party.connection_id
                )

    def is_any_ringing(self, _event: str = "") -> bool:
        """Whether a call may ring for anybody."""
        return bool(self._rings)

    def ringing_for(self, user_id: str) -> list[str]:
        """The calls that may ring for a user."""
        return self._valid(self._rings.get(user_id, {}))

    def awaiting(self, user_id: str, session_id: str) -> list[str]:
        """The calls that may await a user in a session."""
        return self._valid(self._awaited.get((user_id, session_id), {}))

    def forget_old(self) -> None:
        """Drop hints whose time is over."""
        self._rings = {key: each for key, each in self._rings.items() if self._valid(each)}
        self._awaited = {key: each for key, each in self._awaited.items() if self._valid(each)}

    def _ring(self, notice: CallRings) -> None:
        for user_id in notice.user_ids:
            self._rings.setdefault(user_id, {})[notice.call_id] = notice.until

    def _await(self, notice: DeviceAway) -> None:
        key = (notice.user_id, notice.session_id)
        self._awaited.setdefault(key, {})[notice.call_id] = notice.until

    def _valid(self, calls: dict[str, float]) -> list[str]:
        now = self._clock.wall()
        return [call_id for call_id, until in calls.items() if until > now]


def _rings(call: Call) -> CallRings:
    return CallRings(call.call_id, call.rung, call.rings_until)
