"""What each command of a client does."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import UNSET

from wsserver.clock import Clock, rfc3339
from wsserver.errors import Forbidden, NotJoined, SessionBound, TokenInvalid
from wsserver.identity.tokens import TokenVerifier
from wsserver.protocol import commands
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.ids import new_id
from wsserver.protocol.pushes import NewMessage, message_of
from wsserver.protocol.requests import Sender
from wsserver.protocol.targets import session
from wsserver.realtime import events
from wsserver.realtime.connection import ConnectionInfo
from wsserver.realtime.dispatcher import Answer, Handler
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.router import Message, Router
from wsserver.realtime.sent_messages import SentMessages


class ChatCommands:
    """The handlers of ``/ws/chat``; the other endpoints have them too."""

    def __init__(
        self, manager: WebSocketManager, router: Router, verifier: TokenVerifier, clock: Clock
    ) -> None:
        self._manager = manager
        self._router = router
        self._verifier = verifier
        self._clock = clock
        self._sent = SentMessages()

    def table(self) -> dict[str, Handler]:
        """The handlers by command type."""
        return {
            "ping": self.ping,
            "pong": self.pong,
            "join_session": self.join_session,
            "leave_session": self.leave_session,
            "send_message": self.send_message,
            "typing": self.typing,
            "presence": self.presence,
            "refresh_token": self.refresh_token,
        }

    def ping(self, connection: ConnectionInfo, command: commands.Ping) -> Answer:
        """Answer with the same data and the server's time."""
        members: dict[str, Any] = {"server_time": rfc3339(self._clock.wall())}
        if command.data is not UNSET:
            members["data"] = command.data
        return "pong", members

    def pong(self, connection: ConnectionInfo, command: commands.Pong) -> None:
        """Take the answer to a heartbeat."""
        self._manager.heartbeat.note_pong(
            connection, command.id if command.id is not UNSET else None
        )

    def join_session(self, connection: ConnectionInfo, command: commands.JoinSession) -> Answer:
        """Join a session; joining again gives the same answer."""
        session_id = command.session_id
        if connection.session_id not in (None, session_id):
            raise SessionBound(str(connection.session_id))
        self._manager.sessions.access.require(connection.claims, session_id)
        since = command.since if command.since is not UNSET else None
        return "session_joined", self._manager.sessions.join(connection, session_id, since)

    def leave_session(self, connection: ConnectionInfo, command: commands.LeaveSession) -> Answer:
        """Leave a session; leaving one that was not joined changes nothing."""
        if connection.session_id is not None:
            raise SessionBound(connection.session_id)
        self._manager.sessions.leave(connection, command.session_id)
        return "session_left", {"session_id": command.session_id, "user_id": connection.user_id}

    async def send_message(
        self, connection: ConnectionInfo, command: commands.SendMessage
    ) -> Answer:
        """Deliver a message to the session, the sender's own connections included."""
        _require_joined(connection, command.session_id)
        client_id = command.client_message_id
        if client_id is UNSET:
            return "ack", {"message_id": await self._deliver(connection, command, None)}
        now = self._clock.monotonic()
        earlier = self._sent.find(connection.user_id, client_id, now)
        if earlier is not None:
            return "ack", {"message_id": await asyncio.shield(earlier)}
        answer = self._sent.begin(connection.user_id, client_id, now)
        try:
            message_id = await self._deliver(connection, command, client_id)
        except BaseException as error:
            self._sent.abandon(connection.user_id, client_id, error)
            raise
        answer.set_result(message_id)
        return "ack", {"message_id": message_id}

    def typing(self, connection: ConnectionInfo, command: commands.Typing) -> Answer:
        """Tell everybody in the session but this user."""
        _require_joined(connection, command.session_id)
        signal = {
            "session_id": command.session_id,
            "user_id": connection.user_id,
            "username": connection.claims.username,
            "is_typing": command.is_typing,
        }
        self._router.post(
            Message(
                type="typing",
                members=signal,
                target=session(command.session_id),
                exclude_users=frozenset((connection.user_id,)),
                is_addressed=False,
            )
        )
        self._manager.events.emit(events.TYPING_STATUS_CHANGED, **signal)
        return "ack", {}

    def presence(self, connection: ConnectionInfo, command: commands.Presence) -> Answer:
        """Say who is in a session."""
        _require_joined(connection, command.session_id)
        users = self._manager.hub.presence(command.session_id)
        return "presence", {"session_id": command.session_id, "users": users}

    async def refresh_token(
        self, connection: ConnectionInfo, command: commands.RefreshToken
    ) -> Answer | None:
        """Go on with a newer token of the same user; a bad one leaves the old one in force."""
        claims = await self._verifier.verify(command.token)
        if claims.sub != connection.user_id:
            self._manager.close(connection, CloseCode.TOKEN_INVALID, "token of another user")
            raise TokenInvalid("token of another user")
        if not connection.is_alive:
            raise Forbidden("connection closed")
        self._manager.renew(connection, claims)
        return "token_refreshed", {"expires_at": rfc3339(claims.exp)}

    async def _deliver(
        self, connection: ConnectionInfo, command: commands.SendMessage, client_id: str | None
    ) -> str:
        wall = self._clock.wall()
        message_id = new_id("msg", wall)
        claims = connection.claims
        fields = NewMessage(
            content=command.content,
            session_id=command.session_id,
            content_type=command.content_type,
            sender=Sender(claims.sub, claims.username, claims.role),
        )
        message = message_of(message_id, fields, rfc3339(wall), client_id)
        sent = await self._router.send(
            Message(
                type="new_message",
                members={"session_id": command.session_id, "message": message},
                target=session(command.session_id),
                message_id=message_id,
            )
        )
        self._manager.events.emit(
            events.MESSAGE_RECEIVED,
            connection_id=connection.connection_id,
            user_id=claims.sub,
            session_id=command.session_id,
            message_id=message_id,
            message=message,
        )
        return sent.message_id


def _require_joined(connection: ConnectionInfo, session_id: str) -> None:
    if connection.sessions is None or session_id not in connection.sessions:
        raise NotJoined(session_id)
