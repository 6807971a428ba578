"""How far messages have come: told to their senders, the monitors, and whoever else asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.observability.monitors import Monitors

Status = Literal["queued", "sent", "delivered", "read", "failed", "expired"]
Progress = Literal["sent", "delivered", "read"]
Listener = Callable[[str, str, str, Progress], None]
"""Called with message id, user id, connection id, and how far the message has come there."""


class StatusUpdate(NamedTuple):
    """What has become of a message with one recipient."""

    message_id: str
    session_id: str | None
    status: Status
    user_id: str
    """The recipient."""
    reason: str | None = None


class MessageStatuses:
    """Pushes ``message_status_update``, live: who is not connected does not hear of it."""

    def __init__(self, hub: Hub, router: Router, monitors: Monitors) -> None:
        self._hub = hub
        self._router = router
        self._monitors = monitors
        self._listeners: list[Listener] = []

    def add_listener(self, listener: Listener) -> None:
        """Have every acknowledgement, and every sending after the first one, told to ``listener``.

        It is called in the event loop, and must neither block nor raise. Messages that are not
        kept are told of too: an acknowledged id may be of one, or of nothing at all.
        """
        self._listeners.append(listener)

    def note(self, message_id: str, user_id: str, connection_id: str, progress: Progress) -> None:
        """Tell the listeners."""
        for listener in self._listeners:
            listener(message_id, user_id, connection_id, progress)

    def reaches(self, sender: str | None) -> bool:
        """Would ``tell`` find anybody?"""
        return len(self._monitors) > 0 or sender in self._hub.user_connections

    def tell(self, update: StatusUpdate, sender: str | None) -> None:
        """Tell the sender, on all connections, and the monitors: each connection once."""
        members = _members(update)
        self._monitors.tell("message_status_update", **members)
        if sender is not None:
            self._push(self._hub.of_user(sender), members)

    def tell_devices(self, update: StatusUpdate, except_for: ConnectionInfo) -> None:
        """Tell the recipient's own connections but the one that it comes from.

        Monitors are told everything by ``tell``.
        """
        others = [c for c in self._hub.of_user(update.user_id) if c is not except_for]
        self._push(others, _members(update))

    def _push(self, connections: list[ConnectionInfo], members: dict[str, Any]) -> None:
        listening = [c for c in connections if not c.is_monitor]
        self._router.push_many(listening, "message_status_update", **members)


def _members(update: StatusUpdate) -> dict[str, Any]:
    members = update._asdict()
    if update.reason is None:
        del members["reason"]
    return members
