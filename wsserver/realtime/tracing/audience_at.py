"""The audience of a past delivery, computed from present connections and the connection log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from wsserver.protocol.targets import Target, TargetType
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.connection_log import ConnectionInterval, interval_of
from wsserver.realtime.connections.hub import SELECT, Hub

BELONGS: dict[TargetType, Callable[[ConnectionInterval, str], bool]] = {
    TargetType.BROADCAST: lambda interval, _: True,
    TargetType.USER: lambda interval, id_: interval.user_id == id_,
    TargetType.SESSION: lambda interval, id_: interval.session_id == id_,
    TargetType.ORGANIZATION: lambda interval, id_: interval.organization_id == id_,
    TargetType.ROLE: lambda interval, id_: interval.role == id_,
    TargetType.CONNECTION: lambda interval, id_: interval.connection_id == id_,
}
"""Whether an interval, on the server or in a session, belongs to a target with this id."""


class PastAudience:
    """The connections that existed at the delivery ``tick``; 0: of unknown tick, so none.

    Copies the connection log at construction, so that the rest can be read in slices.
    """

    def __init__(self, hub: Hub, tick: int) -> None:
        self._hub = hub
        self._tick = tick
        self._over = hub.connection_log.ended_since(tick) if tick else []
        self.is_complete = not tick or tick >= hub.connection_log.known_from
        """False: too many have gone since to remember them all."""
        self.ends = {interval.connection_id: interval for interval in self._over if interval.code}
        """By connection: the interval of one that has ended since."""
        self._ended_of: dict[str, list[ConnectionInterval]] = {}
        """By user: connections of that time that have ended since."""
        for interval in self._over:
            if interval.from_tick < tick and interval.session_id is None:
                self._ended_of.setdefault(interval.user_id, []).append(interval)

    def of(self, target: Target) -> Iterator[ConnectionInterval]:
        """The connections of a target, ended ones first."""
        tick, id_ = self._tick, target.id
        is_session = target.type is TargetType.SESSION
        belongs = BELONGS[target.type]
        ended = [
            interval
            for interval in self._over
            if interval.from_tick < tick
            and (interval.session_id is not None) is is_session
            and belongs(interval, id_)
        ]
        here = SELECT[target.type](self._hub, id_) if tick else ()
        if is_session:
            here = [c for c in here if self._had_joined(c, id_)]
        else:
            here = [c for c in here if c.since_tick < tick]
        return chain(ended, map(interval_of, here))

    def of_user(self, user_id: str) -> Iterator[ConnectionInterval]:
        """The connections of a user, ended ones first."""
        here = [c for c in self._hub.of_user(user_id) if c.since_tick < self._tick]
        return chain(self._ended_of.get(user_id, ()), map(interval_of, here))

    def ever_of_user(self, user_id: str) -> Iterator[ConnectionInterval]:
        """The same, and the connections that a user has now, whenever they came."""
        here = map(interval_of, self._hub.of_user(user_id))
        return chain(self._ended_of.get(user_id, ()), here)

    def had(self, user_id: str) -> bool:
        """Whether the user was connected."""
        return next(self.of_user(user_id), None) is not None

    def _had_joined(self, connection: ConnectionInfo, session_id: str) -> bool:
        joined = connection.sessions
        return joined is not None and joined.get(session_id, self._tick) < self._tick
