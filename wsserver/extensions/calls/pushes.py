"""The pushes of calls and replies to their commands: shapes, and who gets them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType, field

from wsserver.extensions.calls.model import Call, Media, Party, State
from wsserver.protocol.targets import Target, connection, user
from wsserver.protocol.types import JsonObject
from wsserver.realtime.messages.message import Message
from wsserver.web.api.answers import Time
from wsserver.web.resources.socket_frames import Signal, Wire

CALL_INCOMING = "call_incoming"
CALL_STATE = "call_state"
CALL_SIGNAL = "call_signal"


class CallParty(Wire, kw_only=True):
    """A device in a call."""

    user_id: str
    username: str | None
    connection_id: str
    connected: Annotated[bool, Meta(description="false: away, may come back in `call_resume_s`")]


class CallView(Wire, kw_only=True):
    """A call as it is."""

    call_id: str
    session_id: str
    state: State
    media: list[Media]
    caller: CallParty
    callee: CallParty | None
    created_at: Time
    rings_until: Time
    answered_at: Time | None
    ended_at: Time | None
    reason: str | None


class CallIncomingPush(Signal, kw_only=True):
    """A call begins: to all devices of the other users in the session."""

    call_id: str
    session_id: str
    state: State
    media: list[Media]
    caller: CallParty
    callee: CallParty | None
    created_at: Time
    rings_until: Time
    answered_at: Time | None
    ended_at: Time | None
    reason: str | None


class CallStatePush(CallIncomingPush, kw_only=True):
    """The state of a call, or of a device in it, has changed.

    A device that rings stops at each state but ``ringing``, unless it is ``callee`` itself.
    """

    by: Annotated[str | None, Meta(description="user id; null: the server")]


class CallSignalPush(Signal, kw_only=True):
    """A description or a candidate of the other device in the call."""

    call_id: str
    from_: Annotated[str, Meta(description="its connection id")] = field(name="from")
    polite: Annotated[
        bool, Meta(description="whether the recipient gives way to the other's offer")
    ]
    description: JsonObject | UnsetType = UNSET
    candidate: JsonObject | UnsetType | None = UNSET


class IceServer(Wire, kw_only=True):
    """An element of ``iceServers`` of ``RTCPeerConnection``."""

    urls: list[str]
    username: str | UnsetType = UNSET
    credential: str | UnsetType = UNSET


class IceServersReply(Wire, kw_only=True):
    """STUN and TURN servers, with fresh credentials."""

    ice_servers: list[IceServer]
    expires_at: Time


class Calling(IceServersReply, kw_only=True):
    """The call rings, on so many ``devices`` as are connected now."""

    call_id: str
    call: CallView
    devices: int


class CallEntered(IceServersReply, kw_only=True):
    """The call is answered, or entered again, on this device."""

    call: CallView


def incoming(call: Call, target: Target) -> Message:
    """The push for a device, or all of a user, that shall ring."""
    return _live(CALL_INCOMING, call.view(), target)


def state_for_user(call: Call, user_id: str, by: str | None) -> Message:
    """The push of a new state for all devices of a user."""
    return _live(CALL_STATE, {**call.view(), "by": by}, user(user_id))


def declined_for(call: Call, user_id: str) -> Message:
    """The push for the devices of a user who has declined, while it rings for others."""
    members = {**call.view(), "state": "declined", "by": user_id}
    return _live(CALL_STATE, members, user(user_id))


def state_for_devices(call: Call, by: str | None, *also: Party) -> Iterable[Message]:
    """The pushes of a change of a device, for the devices in the call and others."""
    members = {**call.view(), "by": by}
    for connection_id in dict.fromkeys(each.connection_id for each in (*call.parties, *also)):
        yield _live(CALL_STATE, members, connection(connection_id))


def signal(call: Call, sender: Party, peer: Party, content: dict[str, Any]) -> Message:
    """The push of a signal for the other device in a call; the callee's is the polite one."""
    members = {
        "call_id": call.call_id,
        "from": sender.connection_id,
        "polite": peer == call.callee,
        **content,
    }
    return _live(CALL_SIGNAL, members, connection(peer.connection_id))


def _live(type_: str, members: dict[str, Any], target: Target) -> Message:
    return Message(type=type_, members=members, target=target, is_addressed=False)
