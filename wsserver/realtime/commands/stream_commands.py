"""Handlers of stream commands: ``join_session``, ``resume``, ``history``."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any

from msgspec import UNSET

from wsserver.cluster.directory import SessionUsers
from wsserver.errors import Forbidden, SessionBound, SessionLimit
from wsserver.protocol import commands
from wsserver.protocol.types import Position
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.delivery.event_cursors import reached
from wsserver.realtime.dispatcher import Answer, Handler
from wsserver.realtime.sessions.read_positions import Positions
from wsserver.realtime.sessions.sessions import Sessions
from wsserver.realtime.streams.history import own_messages
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.realtime.streams.stream import Recovery
from wsserver.realtime.streams.streams import Streams
from wsserver.storage.messages.receipts import ReceiptStore

FORBIDDEN = "forbidden"


class StreamCommands:
    """The handlers of ``join_session``, ``resume`` and ``history``; each checks access.

    ``replay_budget``: bytes that may be queued for a connection; ``session_limit``: sessions that
    it may join.
    """

    def __init__(
        self,
        sessions: Sessions,
        streams: Streams,
        receipts: ReceiptStore,
        replay_budget: int,
        session_limit: int,
    ) -> None:
        self._sessions = sessions
        self._streams = streams
        self._receipts = receipts
        self._replay_budget = replay_budget
        self._session_limit = session_limit

    def table(self) -> dict[str, Handler]:
        """The handlers by command type."""
        return {
            "join_session": self.join_session,
            "resume": self.resume,
            "history": self.history,
        }

    def join_session(
        self, connection: ConnectionInfo, command: commands.JoinSession
    ) -> Answer | Awaitable[Answer]:
        """Join a session; joining again has the same answer, with the present position."""
        session_id = command.session_id
        since = command.since if command.since is not UNSET else None
        if self._sessions.access.needs_preparing(connection.claims, session_id):
            return self._join_prepared(connection, command, since)
        self._require_access(connection, session_id)
        self._require_room(connection, session_id)
        recovery = self._streams.recover_now(
            SESSION + session_id,
            since,
            connection.claims,
            self._budget(connection),
            command.changes,
        )
        users = self._sessions.users_of_all_nodes(session_id)
        positions = self._sessions.positions.known(session_id)
        if recovery is None or users is not None or positions is None:
            return self._join_later(connection, command, since, users)
        return self._joined(connection, session_id, since, recovery, None, positions)

    async def _join_prepared(
        self, connection: ConnectionInfo, command: commands.JoinSession, since: Position | None
    ) -> Answer:
        session_id = command.session_id
        await self._prepare(connection, session_id)
        self._require_access(connection, session_id)
        self._require_room(connection, session_id)
        users = self._sessions.users_of_all_nodes(session_id)
        return await self._join_later(connection, command, since, users)

    async def _join_later(
        self,
        connection: ConnectionInfo,
        command: commands.JoinSession,
        since: Position | None,
        reading: Awaitable[SessionUsers] | None,
    ) -> Answer:
        session_id = command.session_id
        name = SESSION + session_id
        users = None if reading is None else await reading
        read = await self._sessions.positions.read(session_id)
        recoveries = await self._streams.recover(
            {name: since}, connection.claims, self._budget(connection), command.changes
        )
        _require_alive(connection)
        self._require_access(connection, session_id)  # it may have been revoked meanwhile
        self._require_room(connection, session_id)
        known = self._sessions.positions.known(session_id)
        positions = read if known is None else known
        return self._joined(connection, session_id, since, recoveries[name], users, positions)

    def _joined(
        self,
        connection: ConnectionInfo,
        session_id: str,
        since: Position | None,
        recovery: Recovery,
        users: SessionUsers | None,
        positions: Positions,
    ) -> Answer:
        # In the iteration of the event loop in which the recovery is exact.
        reached(connection, SESSION + session_id, recovery)
        return "session_joined", self._sessions.join(
            connection, session_id, recovery, users, positions, since
        )

    async def resume(self, connection: ConnectionInfo, command: commands.Resume) -> Answer:
        """Recover several streams, and join their sessions again.

        The answer for a stream without access has the reason ``forbidden``; without access to any
        of them the command is refused.
        """
        await self._prepare(connection, *_session_ids(command.streams))
        readable = {
            name: since
            for name, since in command.streams.items()
            if self._may_read(connection, name)
        }
        if not readable:
            raise Forbidden("no access to any of these streams")
        self._require_room(connection, *_session_ids(readable))
        recoveries = await self._streams.recover(
            readable, connection.claims, self._budget(connection)
        )
        _require_alive(connection)
        self._require_room(connection, *_session_ids(readable))
        answers: dict[str, Any] = {}
        size = sum([recovery.size for recovery in recoveries.values()])
        for name in command.streams:
            # Checked again: access may have been revoked meanwhile.
            if name in recoveries and self._may_read(connection, name):
                session_id = name.removeprefix(SESSION)
                recovery = recoveries[name]
                if session_id != name:
                    since = command.streams[name]
                    recovery = self._sessions.with_growing(
                        connection, session_id, recovery, since, size - recovery.size
                    )
                    size += recovery.size - recoveries[name].size
                    self._sessions.rejoin(connection, session_id, recovery)
                reached(connection, name, recovery)
                answers[name] = recovery.answer()
            else:
                answers[name] = {"recovered": False, "reason": FORBIDDEN}
        return "resumed", {"streams": answers}

    async def history(self, connection: ConnectionInfo, command: commands.History) -> Answer:
        """A page of a session's messages."""
        await self._prepare(connection, command.session_id)
        self._require_access(connection, command.session_id)
        page = await self._streams.history(
            SESSION + command.session_id,
            connection.claims,
            before=command.before if command.before is not UNSET else None,
            after=command.after if command.after is not UNSET else None,
            limit=command.limit,
            budget=self._budget(connection),
            with_changes=command.changes,
        )
        own = own_messages(page.messages, connection.user_id)
        receipts = await self._receipts.of_own(connection.user_id, command.session_id, own)
        self._require_access(connection, command.session_id)  # it may have been revoked meanwhile
        return "history", {
            "session_id": command.session_id,
            **page.answer(),
            "receipts": {id_: each._asdict() for id_, each in receipts.items()},
        }

    def _may_read(self, connection: ConnectionInfo, name: str) -> bool:
        access = self._sessions.access
        return access.allows_stream(connection.claims, connection.session_id, name)

    async def _prepare(self, connection: ConnectionInfo, *session_ids: str) -> None:
        for session_id in session_ids:
            await self._sessions.access.prepare(connection.claims, session_id)

    def _require_access(self, connection: ConnectionInfo, session_id: str) -> None:
        if connection.session_id not in (None, session_id):
            raise SessionBound(str(connection.session_id))
        self._sessions.access.require(connection.claims, session_id)

    def _require_room(self, connection: ConnectionInfo, *session_ids: str) -> None:
        joined = connection.sessions or {}
        if len(joined) + len(session_ids) <= self._session_limit:
            return
        if len({*joined, *session_ids}) > self._session_limit:
            raise SessionLimit(self._session_limit)

    def _budget(self, connection: ConnectionInfo) -> int:
        return self._replay_budget - connection.websocket.queued_bytes


def _session_ids(streams: Iterable[str]) -> list[str]:
    return [name.removeprefix(SESSION) for name in streams if name.startswith(SESSION)]


def _require_alive(connection: ConnectionInfo) -> None:
    if not connection.is_alive:
        raise Forbidden("connection closed")
