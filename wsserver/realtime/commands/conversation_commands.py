"""Handlers of commands of conversations: the list of them, ``mark_read``, ``take``, ``release``."""

from __future__ import annotations

from collections.abc import Awaitable

from msgspec import UNSET

from wsserver.errors import Forbidden, SessionBound
from wsserver.identity.permissions import Permissions
from wsserver.promise import Promise
from wsserver.protocol import commands
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.dispatcher import Answer, Handler
from wsserver.realtime.sessions.conversation_list import ConversationList, ConversationQuery
from wsserver.realtime.sessions.conversations import Conversations, holder_view
from wsserver.realtime.sessions.read_positions import ReadPositions
from wsserver.storage.messages.conversations import Holder, HolderWish

MANAGE = "sessions:manage"


class ConversationCommands:
    """The handlers of commands about a conversation as a whole; none needs to have joined it.

    ``replay_budget``: bytes that may be queued for a connection.
    """

    def __init__(
        self,
        conversations: Conversations,
        conversation_list: ConversationList,
        positions: ReadPositions,
        access: SessionAccess,
        permissions: Permissions,
        tenancy: Tenancy,
        replay_budget: int,
    ) -> None:
        self._conversations = conversations
        self._list = conversation_list
        self._positions = positions
        self._replay_budget = replay_budget
        self._access = access
        self._permissions = permissions
        self._tenancy = tenancy

    def table(self) -> dict[str, Handler]:
        """The handlers by command type."""
        return {
            "conversations": self.conversations,
            "mark_read": self.mark_read,
            "take": self.take,
            "release": self.release,
        }

    async def conversations(
        self, connection: ConnectionInfo, command: commands.Conversations
    ) -> Answer:
        """List the caller's conversations."""
        wanted = ConversationQuery(
            connection.user_id,
            command.limit,
            command.cursor or None,
            command.state or None,
            self._replay_budget - connection.websocket.queued_bytes,
        )
        found = await self._list.of_caller(connection.claims, wanted)
        return "conversations", {
            "conversations": found.conversations,
            "unread_total": found.unread_total,
            "next_cursor": found.next_cursor,
        }

    def mark_read(
        self, connection: ConnectionInfo, command: commands.MarkRead
    ) -> Promise[Answer] | Awaitable[Answer]:
        """Move the caller's read position; the next command does not wait until it is stored."""
        _require_within(connection, command.session_id)
        if self._access.allows(connection.claims, command.session_id):
            return self._mark(connection, command)
        return self._mark_prepared(connection, command)

    async def _mark_prepared(
        self, connection: ConnectionInfo, command: commands.MarkRead
    ) -> Answer:
        """The same for a caller who has access by an organization, or only has written in it."""
        session_id, claims = command.session_id, connection.claims
        await self._access.prepare(claims, session_id)
        if not self._access.allows(claims, session_id):
            if connection.user_id not in await self._positions.read(session_id):
                raise Forbidden(f"no access to session {session_id}")
        return await self._mark(connection, command)

    def _mark(self, connection: ConnectionInfo, command: commands.MarkRead) -> Promise[Answer]:
        moved = self._positions.mark(connection.user_id, command.session_id, command.offset)
        return moved.then(lambda _: ("ack", {}))

    async def take(self, connection: ConnectionInfo, command: commands.Take) -> Answer:
        """Make the caller the holder.

        Needs access and a role other than ``user``, or the permission ``sessions:manage``.
        """
        session_id, claims = command.session_id, connection.claims
        _require_within(connection, session_id)
        await self._access.prepare(claims, session_id)
        is_staff = claims.role != "user" and self._access.allows(claims, session_id)
        if not is_staff and not await self._manages(connection, session_id):
            raise Forbidden(f"session {session_id} is not yours to take")
        expected = command.expected_term
        wish = HolderWish(
            Holder("user", connection.user_id),
            expected_term=None if expected is UNSET else expected,
        )
        after = (await self._conversations.hold(session_id, wish, connection.user_id)).after
        return "taken", {
            "session_id": session_id,
            "term": after.term,
            "holder": holder_view(after.holder),
        }

    async def release(self, connection: ConnectionInfo, command: commands.Release) -> Answer:
        """Give the session to nobody, or back to an AI; for its holder or ``sessions:manage``."""
        session_id = command.session_id
        _require_within(connection, session_id)
        manages = await self._manages(connection, session_id)
        wish = HolderWish(
            None,
            is_for_ai=command.to == "ai",
            only_from=None if manages else Holder("user", connection.user_id),
        )
        after = (await self._conversations.hold(session_id, wish, connection.user_id)).after
        return "released", {
            "session_id": session_id,
            "term": after.term,
            "holder": holder_view(after.holder),
        }

    async def _manages(self, connection: ConnectionInfo, session_id: str) -> bool:
        """Whether the caller may manage the session, whoever holds it."""
        claims = connection.claims
        if not self._permissions.allows(claims, MANAGE):
            return False
        scope = self._tenancy.scope(self._permissions.confined_to(claims))
        return await scope.has_session(session_id)


def _require_within(connection: ConnectionInfo, session_id: str) -> None:
    if connection.session_id not in (None, session_id):
        raise SessionBound(str(connection.session_id))
