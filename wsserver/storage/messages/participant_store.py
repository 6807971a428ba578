"""``ParticipantStore``: read positions and unread counts of users in sessions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database, Late
from wsserver.storage.messages import participants
from wsserver.storage.messages.participants import (
    Admits,
    Move,
    Moved,
    Unread,
    UnreadReason,
    UserSession,
)


class ParticipantStore:
    """The table ``participants``.

    Messages and member lists move positions, too, in their own transactions. ``admits`` judges
    audiences of messages, in a thread. All methods raise ``StorageUnavailable``; those that write
    also ``StorageFull``, and then nothing is stored.
    """

    def __init__(self, database: Database, admits: Admits) -> None:
        self._database = database
        self._admits = admits

    async def move(
        self, joins: Sequence[Move], marks: Sequence[Move], late: Late[list[Moved]] | None = None
    ) -> list[Moved]:
        """Enter users who have joined by a claim, then move positions; returns those moved.

        Positions never move back, and not beyond the end of the stream. ``late``: see
        ``Database.run``.
        """

        def move(db: Connection) -> list[Moved]:
            participants.join(db, joins)
            return participants.mark(db, marks)

        return await self._database.run(move, late)

    async def positions(self, session_id: str) -> dict[str, int]:
        """The positions of the users of a session."""
        return await self._database.read(partial(participants.positions, session_id=session_id))

    async def unread_in(self, session_ids: Collection[str]) -> list[Unread]:
        """What is unread in sessions, to all of their users; sessions without messages left out."""
        read = partial(participants.unread_in, session_ids=session_ids, admits=self._admits)
        return await self._database.read(read)

    async def sessions_of(self, user_id: str, *, with_state: bool = False) -> list[UserSession]:
        """The sessions of a user, with what is unread in them, and only if wanted their states."""
        read = partial(participants.sessions_of, user_id=user_id, admits=self._admits)
        return await self._database.read(partial(read, with_state=with_state))

    async def count_unread(self, user_id: str) -> int:
        """Number of messages that are unread to a user, in all sessions."""
        return sum(each.unread for each in await self.unread_of(user_id))

    async def unread_messages(
        self, user_id: str, session_id: str, limit: int
    ) -> UnreadReason | None:
        """The first messages that are unread to a user in a session; None: it is not the user's."""
        read = partial(participants.unread_messages, user_id=user_id, session_id=session_id)
        return await self._database.read(partial(read, limit=limit, admits=self._admits))

    async def unread_of(self, user_id: str) -> list[Unread]:
        """What is unread to a user, in all sessions with messages."""
        read = partial(participants.unread_of, user_id=user_id, admits=self._admits)
        return await self._database.read(read)
