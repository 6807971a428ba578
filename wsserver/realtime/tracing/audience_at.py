"""Who was there for a delivery: worked out from who is there now and who has gone since."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from wsserver.protocol.targets import Target, TargetType
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.connection_log import ConnectionInterval, interval_of
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.local_delivery import SELECT

BELONGS: dict[TargetType, Callable[[ConnectionInterval, str], bool]] = {
    TargetType.BROADCAST: lambda stay, _: True,
    TargetType.USER: lambda stay, id_: stay.user_id == id_,
    TargetType.SESSION: lambda stay, id_: stay.session_id == id_,
    TargetType.ORGANIZATION: lambda stay, id_: stay.organization_id == id_,
    TargetType.ROLE: lambda stay, id_: stay.role == id_,
    TargetType.CONNECTION: lambda stay, id_: stay.connection_id == id_,
}
"""Does a stay, on the server or in a session, belong to a target with this id?"""


class PastAudience:
    """Who was there for the delivery number ``tick``; 0: one of which nobody remembers that.

    Takes down at once what can change, so that the rest can be read some at a time.
    """

    def __init__(self, hub: Hub, tick: int) -> None:
        self._hub = hub
        self._tick = tick
        self._over = hub.connection_log.ended_since(tick) if tick else []
        self.is_complete = not tick or tick >= hub.connection_log.known_from
        """False: too many have gone since to remember them all."""
        self.ends = {stay.connection_id: stay for stay in self._over if stay.code}
        """By connection: how those ended that have ended since."""
        self._gone_of: dict[str, list[ConnectionInterval]] = {}
        """By user: the connections that were there and have gone since."""
        for stay in self._over:
            if stay.from_tick < tick and stay.session_id is None:
                self._gone_of.setdefault(stay.user_id, []).append(stay)

    def of(self, target: Target) -> Iterator[ConnectionInterval]:
        """The connections of a target, those that are gone first."""
        tick, id_ = self._tick, target.id
        is_session = target.type is TargetType.SESSION
        belongs = BELONGS[target.type]
        gone = [
            stay
            for stay in self._over
            if stay.from_tick < tick
            and (stay.session_id is not None) is is_session
            and belongs(stay, id_)
        ]
        here = SELECT[target.type](self._hub, id_) if tick else ()
        if is_session:
            here = [c for c in here if self._had_joined(c, id_)]
        else:
            here = [c for c in here if c.since_tick < tick]
        return chain(gone, map(interval_of, here))

    def of_user(self, user_id: str) -> Iterator[ConnectionInterval]:
        """The connections of a user, those that are gone first."""
        here = [c for c in self._hub.of_user(user_id) if c.since_tick < self._tick]
        return chain(self._gone_of.get(user_id, ()), map(interval_of, here))

    def ever_of_user(self, user_id: str) -> Iterator[ConnectionInterval]:
        """The same, and the connections that a user has now, whenever they came."""
        here = map(interval_of, self._hub.of_user(user_id))
        return chain(self._gone_of.get(user_id, ()), here)

    def had(self, user_id: str) -> bool:
        """Was the user connected?"""
        return next(self.of_user(user_id), None) is not None

    def _had_joined(self, connection: ConnectionInfo, session_id: str) -> bool:
        joined = connection.sessions
        return joined is not None and joined.get(session_id, self._tick) < self._tick
