"""Handlers of commands about kept messages: editing, deleting, searching."""

from __future__ import annotations

from msgspec import UNSET

from wsserver.errors import SessionBound
from wsserver.protocol import commands
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.commands.message_check import MessageCheck, Unchecked
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.dispatcher import Answer, Handler
from wsserver.realtime.messages.message import Sent
from wsserver.realtime.operations.message_changes import MessageChanges
from wsserver.realtime.operations.searching import Search


class MessageCommands:
    """The handlers of ``edit_message``, ``delete_message`` and ``search``.

    ``replay_budget``: bytes that may be queued for a connection.
    """

    def __init__(
        self,
        changes: MessageChanges,
        search: Search,
        replay_budget: int,
        check: MessageCheck | None = None,
    ) -> None:
        self._check = check
        self._changes = changes
        self._search = search
        self._replay_budget = replay_budget

    def table(self) -> dict[str, Handler]:
        """The handlers by command type."""
        return {
            "edit_message": self.edit_message,
            "delete_message": self.delete_message,
            "search": self.search,
        }

    async def edit_message(
        self, connection: ConnectionInfo, command: commands.EditMessage
    ) -> Answer:
        """Replace the content of a message, which is checked as a new message is."""
        actor, message_id, content = _actor(connection), command.message_id, command.content
        if self._check is not None and self._check.concerns(None):
            session_id = await self._changes.session_of(actor, message_id)
            unchecked = Unchecked(
                sender=connection.claims, session_id=session_id, content=content, edits=message_id
            )
            content = await self._check.check(unchecked)
        return _ack(message_id, await self._changes.edit(actor, message_id, content))

    async def delete_message(
        self, connection: ConnectionInfo, command: commands.DeleteMessage
    ) -> Answer:
        """Delete a message."""
        return _ack(
            command.message_id, await self._changes.delete(_actor(connection), command.message_id)
        )

    async def search(self, connection: ConnectionInfo, command: commands.Search) -> Answer:
        """Find messages in the sessions that the user may enter; a bound connection in its own."""
        session_id = command.session_id if command.session_id is not UNSET else None
        bound = connection.session_id
        if bound is not None and session_id not in (None, bound):
            raise SessionBound(bound)
        page = await self._search.of_user(
            connection.claims,
            command.query,
            session_id or bound,
            command.limit,
            command.before if command.before is not UNSET else None,
            self._replay_budget - connection.websocket.queued_bytes,
        )
        return "found", page


def _ack(message_id: str, record: Sent) -> Answer:
    """The reply: the changed message, and the position of the change record."""
    return "ack", {"message_id": message_id, **record.position}


def _actor(connection: ConnectionInfo) -> Actor:
    return Actor(
        connection.claims,
        connection.remote_ip,
        connection.connection_id,
        via="socket",
        bound_to=connection.session_id,
    )
