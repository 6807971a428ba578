"""Push types, the ones that the API may send, and their encoding as JSON."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from operator import attrgetter
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, convert
from msgspec.json import Decoder

from wsserver.errors import ValidationFailed, WsServerError
from wsserver.protocol.envelope import Ref
from wsserver.protocol.requests import BODY, Body, Sender
from wsserver.protocol.strict_json import encode
from wsserver.protocol.types import Content, Id, JsonObject, Text, UserId
from wsserver.protocol.validation import faults_of

RESERVED_TYPES = frozenset(
    {
        "connection_established",
        "ping",
        "pong",
        "session_joined",
        "session_left",
        "new_message",
        "message_updated",
        "message_deleted",
        "typing",
        "message_status_update",
        "ai_processing_status",
        "notification",
        "stats_update",
        "user_status_update",
        "event",
        "token_expiring",
        "server_draining",
        "session_updated",
        "read_position",
        "unread_changed",
        "answer_appended",
        "answer_ended",
        "error",
        "ack",
        "result",
        "history",
        "presence",
        "resumed",
        "found",
        "token_refreshed",
        "conversations",
        "preferences",
        "notifications",
        "notifications_changed",
        "taken",
        "released",
    }
)
"""Types with a meaning in the contract: pushes, and the replies to commands."""


class PublishableFields(Struct, forbid_unknown_fields=True):
    """Base class for the body fields of a push type."""


class NewMessage(PublishableFields):
    """A message in a session, as a backend publishes it; the service builds ``message``."""

    content: Content
    session_id: Id
    content_type: Annotated[str, Meta(min_length=1, max_length=128)] = "text"
    sender: Sender | None = None
    reply_to: Id | UnsetType = UNSET


class Typing(PublishableFields):
    """A user types, or has stopped."""

    session_id: Id
    user_id: UserId
    is_typing: bool
    username: Text | None = None


class MessageStatusUpdate(PublishableFields):
    """The delivery status of a message."""

    message_id: Annotated[str, Meta(min_length=1, max_length=128)]
    status: Literal["queued", "sent", "delivered", "read", "failed", "expired"]
    session_id: Id
    user_id: UserId
    reason: Text | UnsetType = UNSET


class AiProcessingStatus(PublishableFields):
    """The progress of an AI's answer."""

    session_id: Id
    status: Literal["queued", "processing", "streaming", "completed", "failed"]
    progress: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    detail: Text | UnsetType = UNSET
    message_id: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET
    delta: Text | UnsetType = UNSET


class UserStatusUpdate(PublishableFields):
    """A user went online or offline."""

    user_id: UserId
    status: Literal["online", "offline"]
    connections: Annotated[int, Meta(ge=0)] = 0


class _OfSession(Struct):
    session_id: str | None = None


_SESSION = Decoder(_OfSession)
_POSITION = re.compile(
    rb',"stream":"([^"]+)","epoch":"([^"]+)","offset":([0-9]+)(?:,"redelivered":true)?\}\Z'
)


class Custom(PublishableFields):
    """Any type that is not reserved."""

    data: Any = None


PUBLISHABLE: dict[str, type[PublishableFields]] = {
    "new_message": NewMessage,
    "typing": Typing,
    "message_status_update": MessageStatusUpdate,
    "ai_processing_status": AiProcessingStatus,
    "user_status_update": UserStatusUpdate,
}
"""The reserved types that the API may send nevertheless."""


LIVE_TYPES = frozenset(PUBLISHABLE) - {"new_message"}
"""Signals of a moment, which are never kept."""

_OF_RESERVED = sorted({name for kind in PUBLISHABLE.values() for name in kind.__struct_fields__})
_reserved_fields = attrgetter(*_OF_RESERVED)
_OF_OTHERS = ["data", *sorted(set(_OF_RESERVED).difference(NewMessage.__struct_fields__))]
_others_fields = attrgetter(*_OF_OTHERS)
_NO_OTHERS = (UNSET,) * len(_OF_OTHERS)
"""Of a chat message, whose fields have the types of the body's: they have been checked with it."""
_NONE_GIVEN = (UNSET,) * len(_OF_RESERVED)
"""Of a custom message, as most are: then there is nothing more to check."""


def require_publishable(type_: str, more: Collection[str] = ()) -> None:
    """Raise ``ValidationFailed`` for a type that only the server itself sends.

    ``more``: types that extensions have reserved.
    """
    if (type_ in RESERVED_TYPES or type_ in more) and type_ not in PUBLISHABLE:
        message = (
            f"{type_} is reserved; of the reserved types, {', '.join(PUBLISHABLE)} may be sent"
        )
        raise ValidationFailed([{"field": "type", "message": message}])


def publishable_fields(body: Body, session_id: str | None) -> PublishableFields:
    """Check a body against its push type; ``session_id`` of the target fills in a missing one.

    Raises ``ValidationFailed`` naming the field.
    """
    require_publishable(body.type)
    kind = PUBLISHABLE.get(body.type, Custom)
    if kind is Custom and _reserved_fields(body) == _NONE_GIVEN:
        return Custom(None if body.data is UNSET else body.data)
    if kind is NewMessage and body.content is not UNSET and _others_fields(body) == _NO_OTHERS:
        own_id = session_id if body.session_id is UNSET else body.session_id
        if own_id is not None and session_id in (None, own_id):
            return NewMessage(
                body.content,
                own_id,
                "text" if body.content_type is UNSET else body.content_type,
                None if body.sender is UNSET else body.sender,
                body.reply_to,
            )
    members = body.members()
    if session_id is not None and "session_id" in kind.__struct_fields__:
        if members.setdefault("session_id", session_id) != session_id:
            raise ValidationFailed(
                [{"field": "session_id", "message": "another session than the target"}]
            )
    try:
        return convert(members, kind)
    except ValidationError:
        raise ValidationFailed(faults_of(members, kind, BODY)) from None


class ConnectionEstablished(
    Struct, kw_only=True, tag_field="type", tag="connection_established", gc=False
):
    """The first push: a struct, which is encoded without the dictionaries of ``push``."""

    connection_id: str
    user_id: str
    session_id: str | None
    heartbeat_interval: float
    heartbeat_timeout: float
    server_time: str
    inbox: Mapping[str, object]
    organization_id: str | None
    organization: Mapping[str, object] | None
    protocol: str
    max_message_bytes: int
    channel: str | UnsetType = UNSET
    """Of an event stream."""
    timestamp: str


def push(type_: str, timestamp: str, **members: Any) -> bytes:
    """Encode a push: its type, its members, its time."""
    return encode({"type": type_, **members, "timestamp": timestamp})


def addressed_push(
    type_: str, timestamp: str, message_id: str, members: Mapping[str, Any]
) -> bytes:
    """Encode a push with an id; for the path of every message, without copies of the members."""
    return encode({"type": type_, "id": message_id, **members, "timestamp": timestamp})


def positioned(push: bytes, stream: str, epoch: str, offset: int) -> bytes:
    """Append the position in a stream to a push; stream names and epochs need no escaping."""
    return push[:-1] + f',"stream":"{stream}","epoch":"{epoch}","offset":{offset}}}'.encode()


def position_of(push: bytes) -> tuple[str, str, int] | None:
    """The stream, epoch and offset that ``positioned`` has appended to a push; None without them.

    What a message says itself never stands at the end of its push.
    """
    found = _POSITION.search(push, max(0, push.rfind(b',"stream":"')))
    return None if found is None else (found[1].decode(), found[2].decode(), int(found[3]))


def redelivered(push: bytes) -> bytes:
    """Append ``redelivered`` to a push."""
    return push[:-1] + b',"redelivered":true}'


def session_of(push: bytes) -> str | None:
    """The ``session_id`` of a push, or None."""
    return _SESSION.decode(push).session_id


def reply(type_: str, ref: Ref | None, members: JsonObject) -> bytes:
    """Encode a reply, with the command's ``ref`` where it had one."""
    if ref is None:
        return encode({"type": type_, **members})
    return encode({"type": type_, "ref": ref, **members})


def error_reply(error: WsServerError, ref: Ref | None) -> bytes:
    """Encode an ``error`` reply; ``temporary``: whether a retry can help."""
    body: JsonObject = {
        "code": error.code,
        "message": error.message,
        "temporary": error.meaning.temporary,
    }
    body.update({name: value for name, value in error.details.items() if value not in (None, "")})
    return reply("error", ref, {"error": body})


def message_of(
    message_id: str, fields: NewMessage, created_at: str, client_message_id: str | None = None
) -> JsonObject:
    """Build the ``message`` of a ``new_message`` push."""
    sender = fields.sender or Sender(user_id="system", role="service")
    message: JsonObject = {
        "id": message_id,
        "session_id": fields.session_id,
        "sender": {"user_id": sender.user_id, "username": sender.username, "role": sender.role},
        "content": fields.content,
        "content_type": fields.content_type,
        "created_at": created_at,
    }
    if fields.reply_to is not UNSET:
        message["reply_to"] = fields.reply_to
    if client_message_id is not None:
        message["client_message_id"] = client_message_id
    return message
