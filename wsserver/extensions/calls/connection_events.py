"""``ConnectionEvents``: applies connects, joins and disconnects to calls."""

from __future__ import annotations

import logging
from typing import Any

from wsserver.cluster.control import Control
from wsserver.errors import WsServerError
from wsserver.extending.context import Chat
from wsserver.extensions.calls.devices import DeviceAway, Devices
from wsserver.extensions.calls.model import Limits
from wsserver.extensions.calls.service import Calls
from wsserver.realtime.observability.events import (
    SESSION_JOINED,
    SESSION_LEFT,
    USER_CONNECTED,
    USER_DISCONNECTED,
    Event,
    EventBus,
)
from wsserver.tasks import Tasks
from wsserver.wire.frames import ABNORMAL

log = logging.getLogger(__name__)


class ConnectionEvents:
    """Handlers of the events of connections.

    Connections that end at the same time, as those of a lost node, are looked up together.
    """

    def __init__(
        self, calls: Calls, devices: Devices, limits: Limits, chat: Chat, tasks: Tasks
    ) -> None:
        self._calls = calls
        self._devices = devices
        self._limits = limits
        self._chat = chat
        self._tasks = tasks
        self._ended: set[str] = set()
        self._is_looking = False

    def listen(self, events: EventBus, control: Control) -> None:
        """Register the handlers."""
        control.add_listener(DeviceAway, self._away)
        # While nothing rings, the event need not be built for each connect.
        events.add_event_handler(USER_CONNECTED, self._connected, self._devices.is_any_ringing)
        events.add_event_handler(SESSION_JOINED, self._joined)
        events.add_event_handler(SESSION_LEFT, self._left)
        events.add_event_handler(USER_DISCONNECTED, self._disconnected)

    def _connected(self, event: Event) -> Any:
        user_id, connection_id = event["user_id"], event["connection_id"]
        if self._devices.ringing_for(user_id):
            return self._calls.ring(user_id, connection_id)
        return None

    def _joined(self, event: Event) -> Any:
        user_id = event["user_id"]
        calls = self._devices.awaiting(user_id, event["session_id"])
        return self._come_back(user_id, event["connection_id"], calls) if calls else None

    def _away(self, notice: DeviceAway) -> None:
        """A party may be back before it is known that it was lost, as with its node."""
        since = notice.until - 2 * self._limits.resume_s
        back = [
            each.connection_id
            for each in self._chat.connections_here(notice.user_id, notice.session_id)
            if each.is_alive and each.connected_at >= since
        ]
        latest = max(back, default="")  # ids are in the order of time
        if latest > notice.connection_id:
            coming = self._come_back(notice.user_id, latest, [notice.call_id])
            self._tasks.spawn(coming, name="come back to a call")

    async def _come_back(self, user_id: str, connection_id: str, calls: list[str]) -> None:
        for call_id in calls:
            try:
                await self._calls.resume(user_id, connection_id, call_id, only_if_lost=True)
            except WsServerError as error:  # the call is over, or storage is away
                log.info("call not resumed call_id=%s code=%s", call_id, error.code)

    def _left(self, event: Event) -> Any:
        """Perhaps because its user has no access any more, which ends a call at once."""
        connection = self._devices.connection(event["connection_id"])
        if connection is None or not connection.is_alive:
            return None
        return self._calls.enforce_access([connection.connection_id])

    def _disconnected(self, event: Event) -> None:
        connection_id = event["connection_id"]
        # One that ended with its node was not on this one, and is looked up.
        if self._devices.gone(connection_id) or event["code"] == ABNORMAL:
            self._ended.add(connection_id)
            if not self._is_looking:
                self._is_looking = True
                self._tasks.spawn(self._look(), name="calls of ended connections")

    async def _look(self) -> None:
        try:
            while self._ended:
                ended, self._ended = self._ended, set()
                await self._calls.lost(ended)
        except WsServerError as error:  # found by what their nodes do not confirm
            log.warning("calls of ended connections not looked up code=%s", error.code)
        finally:
            self._is_looking = False
