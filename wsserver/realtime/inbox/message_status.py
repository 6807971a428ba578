"""``message_status_update``: status of messages, for senders, monitors and listeners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.local_delivery import ConnectionWriter
from wsserver.realtime.observability.monitors import Monitors

Status = Literal["queued", "sent", "delivered", "read", "failed", "expired"]
Progress = Literal["sent", "delivered", "read"]
Listener = Callable[[str, str, str, Progress], None]
"""Called with message id, user id, connection id and progress."""


class StatusUpdate(NamedTuple):
    """The status of a message for one recipient."""

    message_id: str
    session_id: str | None
    status: Status
    user_id: str
    """The recipient."""
    reason: str | None = None


class MessageStatuses:
    """Pushes ``message_status_update`` to live connections; it is not stored."""

    def __init__(self, hub: Hub, writer: ConnectionWriter, monitors: Monitors) -> None:
        self._hub = hub
        self._writer = writer
        self._monitors = monitors
        self._listeners: list[Listener] = []

    def add_listener(self, listener: Listener) -> None:
        """Call ``listener`` for every acknowledgement, and for every sending after the first.

        It must neither block nor raise. Ids of live messages and unknown ids are reported too, as
        clients may acknowledge any id.
        """
        self._listeners.append(listener)

    def report(self, message_id: str, user_id: str, connection_id: str, progress: Progress) -> None:
        """Call the listeners."""
        for listener in self._listeners:
            listener(message_id, user_id, connection_id, progress)

    def has_receivers(self, sender: str | None) -> bool:
        """Whether ``push`` would write to any connection."""
        return len(self._monitors) > 0 or sender in self._hub.user_connections

    def push(self, update: StatusUpdate, sender: str | None) -> None:
        """Push to all connections of the sender and to the monitors, each connection once."""
        members = _members(update)
        self._monitors.notify("message_status_update", **members)
        if sender is not None:
            self._write(self._hub.of_user(sender), members)

    def push_to_devices(self, update: StatusUpdate, except_for: ConnectionInfo) -> None:
        """Push to the recipient's own connections, except for the one that it comes from.

        Not to monitors: ``push`` writes to them.
        """
        others = [c for c in self._hub.of_user(update.user_id) if c is not except_for]
        self._write(others, _members(update))

    def _write(self, connections: list[ConnectionInfo], members: dict[str, Any]) -> None:
        listening = [c for c in connections if not c.is_monitor]
        self._writer.push_many(listening, "message_status_update", **members)


def _members(update: StatusUpdate) -> dict[str, Any]:
    members = update._asdict()
    if update.reason is None:
        del members["reason"]
    return members
