"""The WebSocket commands of calls: who may use them, and their limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from wsserver.clock import Clock
from wsserver.errors import BadRequest, Forbidden, NotJoined, SessionBound
from wsserver.extending.context import Access
from wsserver.extensions.calls.devices import Devices
from wsserver.extensions.calls.errors import BadCallState, SignalTooLarge, no_access
from wsserver.extensions.calls.model import Call, Media, Party
from wsserver.extensions.calls.pushes import signal
from wsserver.extensions.calls.service import Calls
from wsserver.extensions.calls.turn import IceServers
from wsserver.protocol.commands import Command
from wsserver.protocol.types import Id, JsonObject
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.dispatcher import Answer, Handler
from wsserver.realtime.messages.message import Message

SIGNAL_BYTES = 65_536
"""Of a description or candidate as JSON."""

Post = Callable[[Message], None]
Reason = Annotated[str, Meta(max_length=200)]


class StartCall(Command):
    """Ring the other users of a session."""

    session_id: Id
    media: Annotated[list[Media], Meta(min_length=1, max_length=2)]


class AnswerCall(Command):
    """Answer a call on this device."""

    call_id: Id


class DeclineCall(Command):
    """Decline a call, on all devices of the user."""

    call_id: Id
    reason: Reason | UnsetType = UNSET


class CancelCall(Command):
    """Stop ringing, as the caller."""

    call_id: Id
    reason: Reason | UnsetType = UNSET


class EndCall(Command):
    """Hang up."""

    call_id: Id
    reason: Reason | UnsetType = UNSET


class ResumeCall(Command):
    """Go on with a call on this connection, after a reconnect or on another device."""

    call_id: Id


class Description(Struct):
    """An ``RTCSessionDescription``."""

    type: Literal["offer", "answer", "pranswer", "rollback"]
    sdp: str = ""


class SignalCall(Command):
    """Send a description or a candidate to the other device in a call."""

    call_id: Id
    to: Id | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    candidate: JsonObject | UnsetType | None = UNSET


class GetIceServers(Command):
    """STUN and TURN servers, with fresh credentials."""


class CallCommands:
    """Handlers of the commands."""

    def __init__(
        self,
        calls: Calls,
        devices: Devices,
        ice: IceServers,
        access: Access,
        post: Post,
        clock: Clock,
    ) -> None:
        self._calls = calls
        self._devices = devices
        self._ice = ice
        self._access = access
        self._post = post
        self._clock = clock

    def table(self) -> dict[str, Handler]:
        """The handlers by command type."""
        return {
            "call": self.call,
            "call_answer": self.answer,
            "call_decline": self.decline,
            "call_cancel": self.cancel,
            "call_end": self.end,
            "call_resume": self.resume,
            "call_signal": self.signal,
            "ice_servers": self.ice_servers,
        }

    async def call(self, connection: ConnectionInfo, command: StartCall) -> Answer:
        """Ring; the caller must have joined the session."""
        session_id = command.session_id
        await self._require_access(connection, session_id)
        if session_id not in (connection.sessions or ()):
            raise NotJoined(session_id)
        media = tuple(dict.fromkeys(command.media))
        call, devices = await self._calls.begin(connection, session_id, media)
        return "calling", {
            "call_id": call.call_id,
            "call": call.view(),
            "devices": devices,
            **self._servers(connection),
        }

    async def answer(self, connection: ConnectionInfo, command: AnswerCall) -> Answer:
        """Answer, which needs access to the session as it is now."""
        await self._find(connection, command.call_id)
        return self._entered(connection, await self._calls.answer(connection, command.call_id))

    async def decline(self, connection: ConnectionInfo, command: DeclineCall) -> Answer:
        """Decline."""
        await self._calls.decline(connection.user_id, command.call_id, _given(command.reason))
        return "ack", {}

    async def cancel(self, connection: ConnectionInfo, command: CancelCall) -> Answer:
        """Stop ringing."""
        await self._calls.cancel(connection.user_id, command.call_id, _given(command.reason))
        return "ack", {}

    async def end(self, connection: ConnectionInfo, command: EndCall) -> Answer:
        """Hang up."""
        await self._calls.end(connection.user_id, command.call_id, _given(command.reason))
        return "ack", {}

    async def resume(self, connection: ConnectionInfo, command: ResumeCall) -> Answer:
        """Enter the call again; it is another connection that has the call from now on."""
        await self._find(connection, command.call_id)
        user_id, id_ = connection.user_id, connection.connection_id
        self._devices.entered(id_, connection)
        return self._entered(connection, await self._calls.resume(user_id, id_, command.call_id))

    async def signal(self, connection: ConnectionInfo, command: SignalCall) -> Answer:
        """Relay, in the order of the commands, to the other device in the call and nobody else."""
        content = _content_of(command)
        self._devices.spend(connection.connection_id)
        call = await self._calls.find(command.call_id)
        call, party = await self._enter(connection, call)
        self._devices.entered(connection.connection_id, connection)
        peer = call.peer_of(party)
        if not call.is_open or peer is None:
            raise BadCallState(call.call_id, call.state)
        if command.to not in (UNSET, peer.connection_id):
            raise Forbidden(f"{command.to} is not in call {call.call_id}")
        if not await self._may_enter(connection, call.session_id):
            await self._calls.enforce_access([connection.connection_id])
            raise no_access(call.call_id)
        self._post(signal(call, party, peer, content))
        return "ack", {}

    def ice_servers(self, connection: ConnectionInfo, _command: GetIceServers) -> Answer:
        """The servers."""
        return "ice_servers", self._servers(connection)

    async def _enter(self, connection: ConnectionInfo, call: Call) -> tuple[Call, Party]:
        """The party that a connection is, also if its user has just come back."""
        id_, user_id = connection.connection_id, connection.user_id
        party = call.party(id_)
        former = call.party_of(user_id)
        if party is None and former is not None and former.lost_at is not None and call.is_open:
            call = await self._calls.resume(user_id, id_, call.call_id, only_if_lost=True)
            party = call.party(id_)
        if party is None:
            raise no_access(call.call_id)
        return call, party

    async def _find(self, connection: ConnectionInfo, call_id: str) -> Call:
        """A call that the user is concerned by, in a session that the connection may enter."""
        call = await self._calls.find(call_id)
        if not (
            call.involves(connection.user_id) and await self._may_enter(connection, call.session_id)
        ):
            raise no_access(call_id)
        return call

    async def _may_enter(self, connection: ConnectionInfo, session_id: str) -> bool:
        is_bound_elsewhere = connection.session_id not in (None, session_id)
        return not is_bound_elsewhere and await self._access.may_enter(
            connection.claims, session_id
        )

    async def _require_access(self, connection: ConnectionInfo, session_id: str) -> None:
        if connection.session_id not in (None, session_id):
            raise SessionBound(str(connection.session_id))
        await self._access.sessions.prepare(connection.claims, session_id)
        self._access.sessions.require(connection.claims, session_id)

    def _entered(self, connection: ConnectionInfo, call: Call) -> Answer:
        return "ack", {"call": call.view(), **self._servers(connection)}

    def _servers(self, connection: ConnectionInfo) -> dict[str, Any]:
        return self._ice.view(connection.user_id, self._clock.wall())


def _content_of(command: SignalCall) -> dict[str, Any]:
    """What is relayed. Raises ``BadRequest``, ``SignalTooLarge``."""
    if (command.description is UNSET) == (command.candidate is UNSET):
        raise BadRequest("description or candidate: one of them", field="description")
    if command.description is not UNSET:
        content: dict[str, Any] = {"description": msgspec.to_builtins(command.description)}
    else:
        content = {"candidate": command.candidate}
    if len(msgspec.json.encode(content)) > SIGNAL_BYTES:
        raise SignalTooLarge(SIGNAL_BYTES)
    return content


def _given(reason: str | UnsetType) -> str | None:
    return None if reason is UNSET else reason
