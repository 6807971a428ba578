"""Handlers of chat commands: messages, typing, presence, pings, token refresh."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Any

from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import replace

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.directory import SessionUsers
from wsserver.errors import Forbidden, NotJoined, SessionBound, StaleView, TokenInvalid
from wsserver.identity.claims import Claims
from wsserver.identity.tokens import TokenVerifier
from wsserver.promise import Promise
from wsserver.protocol import commands
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.ids import new_id
from wsserver.protocol.origin import Origin
from wsserver.protocol.pushes import NewMessage, message_of
from wsserver.protocol.requests import Sender
from wsserver.protocol.targets import session
from wsserver.realtime.commands.message_check import MessageCheck, Unchecked
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.dispatcher import Answer, Handler
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.messages.message import Message, Sent
from wsserver.realtime.observability import events
from wsserver.realtime.sessions.read_positions import with_positions
from wsserver.realtime.streams.history import admits_for
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.storage.messages.message_rows import View


class ChatCommands:
    """The handlers of ``/ws/chat``, which are also those of the other endpoints."""

    def __init__(
        self,
        manager: WebSocketManager,
        router: Router,
        verifier: TokenVerifier,
        clock: Clock,
        replay_budget: int,
        check: MessageCheck | None = None,
    ) -> None:
        self._replay_budget = replay_budget
        self._check = check
        self._manager = manager
        self._router = router
        self._verifier = verifier
        self._clock = clock

    def table(self) -> dict[str, Handler]:
        """The handlers by command type."""
        return {
            "ping": self.ping,
            "pong": self.pong,
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
        """Note the answer to a heartbeat ping; no reply."""
        self._manager.heartbeat.note_pong(
            connection, command.id if command.id is not UNSET else None
        )

    def leave_session(self, connection: ConnectionInfo, command: commands.LeaveSession) -> Answer:
        """Leave a session; without effect if it was not joined."""
        if connection.session_id is not None:
            raise SessionBound(connection.session_id)
        self._manager.sessions.leave(connection, command.session_id)
        return "session_left", {"session_id": command.session_id, "user_id": connection.user_id}

    def send_message(
        self, connection: ConnectionInfo, command: commands.SendMessage
    ) -> Promise[Answer] | Awaitable[Answer]:
        """Send a message to the session, including the sender's own connections.

        Its order is settled when this returns; the reply ``ack`` follows once it is stored. Where a
        check has to decide before, the connection's next commands wait for it.
        """
        _require_joined(connection, command.session_id)
        if self._check is not None and self._check.concerns(command.content_type):
            return self._send_checked(connection, command, self._check)
        return self._send(connection, command)

    async def _send_checked(
        self, connection: ConnectionInfo, command: commands.SendMessage, check: MessageCheck
    ) -> Answer:
        content = await check.check(
            Unchecked(
                sender=connection.claims,
                session_id=command.session_id,
                content=command.content,
                content_type=command.content_type,
                reply_to=_given(command.reply_to),
                client_message_id=_given(command.client_message_id),
            )
        )
        _require_joined(connection, command.session_id)  # access may have been lost meanwhile
        return await self._send(connection, replace(command, content=content))

    def _send(self, connection: ConnectionInfo, command: commands.SendMessage) -> Promise[Answer]:
        message = self._message(connection, command)

        def acknowledge(outcomes: list[Sent]) -> Answer:
            sent = outcomes[0]
            if sent.is_new and self._manager.events.hears(events.MESSAGE_RECEIVED):
                self._manager.events.emit(
                    events.MESSAGE_RECEIVED,
                    connection_id=connection.connection_id,
                    user_id=connection.user_id,
                    message_id=sent.message_id,
                    **message.members,
                )
            return "ack", {"message_id": sent.message_id, **sent.position}

        kept = self._router.keep([message])
        if message.view is not None:
            kept.when_done(partial(self._complete, connection, command.session_id))
        return kept.then(acknowledge)

    def _complete(
        self, connection: ConnectionInfo, session_id: str, done: Promise[list[Sent]]
    ) -> None:
        """Give the growing answers in a refusal their text; storage has what they began with."""
        if isinstance(done.error, StaleView):
            missed = [bytes(each) for each in done.error.details["missed"]]
            shown = self._manager.sessions.with_text(connection, session_id, missed)
            done.error.details["missed"] = list(map(Raw, shown))

    def typing(self, connection: ConnectionInfo, command: commands.Typing) -> Answer:
        """Push ``typing`` to all in the session except for this user."""
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

    def presence(
        self, connection: ConnectionInfo, command: commands.Presence
    ) -> Answer | Awaitable[Answer]:
        """Reply with the users in a session."""
        _require_joined(connection, command.session_id)
        session_id = command.session_id
        reading = self._manager.sessions.users_of_all_nodes(session_id)
        positions = self._manager.sessions.positions.known(session_id)
        if reading is not None or positions is None:
            return self._presence_later(connection, session_id, reading)
        users = with_positions(self._manager.hub.presence(session_id), positions)
        return "presence", {"session_id": session_id, "users": users}

    async def _presence_later(
        self, connection: ConnectionInfo, session_id: str, users: Awaitable[SessionUsers] | None
    ) -> Answer:
        found = None if users is None else await users
        positions = await self._manager.sessions.positions.read(session_id)
        _require_joined(connection, session_id)  # access may have been lost meanwhile
        if found is None:
            found = self._manager.hub.presence(session_id)
        return "presence", {"session_id": session_id, "users": with_positions(found, positions)}

    async def refresh_token(
        self, connection: ConnectionInfo, command: commands.RefreshToken
    ) -> Answer | None:
        """Replace the token by a newer one of the same user; an invalid one changes nothing."""
        claims = await self._verifier.verify(command.token)
        if claims.sub != connection.user_id:
            self._manager.close(connection, CloseCode.TOKEN_INVALID, "token of another user")
            raise TokenInvalid("token of another user")
        if not connection.is_alive:
            raise Forbidden("connection closed")
        self._manager.renew(connection, claims)
        return "token_refreshed", {"expires_at": rfc3339(claims.exp)}

    def _message(self, connection: ConnectionInfo, command: commands.SendMessage) -> Message:
        wall = self._clock.wall()
        message_id = new_id("msg", wall)
        claims = connection.claims
        client_id = command.client_message_id
        fields = NewMessage(
            content=command.content,
            session_id=command.session_id,
            content_type=command.content_type,
            reply_to=command.reply_to,
            sender=Sender(claims.sub, claims.username, claims.role),
        )
        given_id = client_id if client_id is not UNSET else None
        return Message(
            type="new_message",
            members={
                "session_id": command.session_id,
                "message": message_of(message_id, fields, rfc3339(wall), given_id),
            },
            target=session(command.session_id),
            message_id=message_id,
            keep=True,
            sender=claims.sub,
            origin=Origin(
                claims.sub,
                claims.role,
                claims.organization_id,
                "socket",
                connection.connection_id,
            ),
            dedup=None if given_id is None else (_sender_key(claims), given_id),
            replies_to=(
                None
                if command.reply_to is UNSET
                else (SESSION + command.session_id, command.reply_to)
            ),
            view=self._view(connection, command),
            is_counted=False,  # the acknowledgement does not say how many have got it
        )

    def _view(self, connection: ConnectionInfo, command: commands.SendMessage) -> View | None:
        """What the sender has seen of the session, if the command says it."""
        if command.seen_offset is UNSET:
            return None
        budget = self._replay_budget - connection.websocket.queued_bytes
        admits = admits_for(connection.claims)
        return View(connection.user_id, command.seen_offset, admits, budget)


def _given(value: str | UnsetType) -> str | None:
    return None if value is UNSET else value


def _sender_key(claims: Claims) -> str:
    """Deduplication scope of a ``client_message_id``: the user and organization."""
    mine = claims.organization_id
    return f"client:{claims.sub}" if mine is None else f"client:{mine}/{claims.sub}"


def _require_joined(connection: ConnectionInfo, session_id: str) -> None:
    if connection.sessions is None or session_id not in connection.sessions:
        raise NotJoined(session_id)
