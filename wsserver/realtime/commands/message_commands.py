"""Handlers of commands about kept messages: ``edit_message``, ``delete_message``."""

from __future__ import annotations

from wsserver.protocol import commands
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.dispatcher import Answer, Handler
from wsserver.realtime.messages.message import Sent
from wsserver.realtime.operations.message_changes import MessageChanges


class MessageCommands:
    """The handlers of ``edit_message`` and ``delete_message``."""

    def __init__(self, changes: MessageChanges) -> None:
        self._changes = changes

    def table(self) -> dict[str, Handler]:
        """The handlers by command type."""
        return {"edit_message": self.edit_message, "delete_message": self.delete_message}

    async def edit_message(
        self, connection: ConnectionInfo, command: commands.EditMessage
    ) -> Answer:
        """Replace the content of a message."""
        return _ack(
            command.message_id,
            await self._changes.edit(_actor(connection), command.message_id, command.content),
        )

    async def delete_message(
        self, connection: ConnectionInfo, command: commands.DeleteMessage
    ) -> Answer:
        """Delete a message."""
        return _ack(
            command.message_id, await self._changes.delete(_actor(connection), command.message_id)
        )


def _ack(message_id: str, record: Sent) -> Answer:
    """The reply: the changed message, and the position of the change record."""
    return "ack", {"message_id": message_id, **record.position}


def _actor(connection: ConnectionInfo) -> Actor:
    return Actor(connection.claims, connection.remote_ip, connection.connection_id, via="socket")
