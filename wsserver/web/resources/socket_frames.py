"""Pushes of the WebSocket protocol, as types; the client's types are made from them.

``scripts/client-types`` writes ``clients/js/src/protocol.d.ts`` from these tables and those of
``wsserver.protocol.commands``. A test checks what a server really sends against them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from wsserver.protocol.answers import (
    AnswerState,
)
from wsserver.protocol.notifications import NotificationType
from wsserver.protocol.types import Content, HolderView, JsonObject, SessionState
from wsserver.web.api.answers import Time
from wsserver.web.resources.sessions import ReadOffset
from wsserver.web.resources.stats import Stats


class Wire(Struct, kw_only=True):
    """The root of the pushes, the replies and their parts; more fields may be added to them."""


class Push(Wire, kw_only=True):
    """What every push has besides its ``type``."""

    timestamp: Time


class Placed(Push, kw_only=True):
    """A push with an id; one that is kept has its place in a stream, too."""

    id: Annotated[str, Meta(description="what ``ack`` and ``read`` take")]
    stream: str | UnsetType = UNSET
    epoch: str | UnsetType = UNSET
    offset: int | UnsetType = UNSET
    redelivered: Annotated[bool, Meta(description="sent before, not acknowledged")] | UnsetType = (
        UNSET
    )


class Signal(Push, kw_only=True):
    """A push about the moment, which is never kept; one that a backend sent has an id."""

    id: str | UnsetType = UNSET


class InboxPosition(Wire, kw_only=True):
    """Where the inbox is, and how many messages wait in it."""

    epoch: str
    offset: int
    pending: int


class StreamPosition(Wire, kw_only=True):
    """Where a stream is."""

    epoch: str
    offset: int


class ConnectionEstablished(Push, kw_only=True):
    """The first push of every connection."""

    connection_id: str
    user_id: str
    session_id: Annotated[str, Meta(description="the connection is bound to it")] | None
    heartbeat_interval: Annotated[float, Meta(description="seconds")]
    heartbeat_timeout: Annotated[float, Meta(description="seconds")]
    server_time: Time
    inbox: InboxPosition
    organization_id: str | None
    organization: StreamPosition | None
    protocol: Literal["wsserver.v1", "plain"]
    max_message_bytes: int
    channel: (
        Annotated[str, Meta(description="of an event stream: what its commands are sent with")]
        | UnsetType
    ) = UNSET


class Heartbeat(Push, kw_only=True):
    """The server's ping; the client answers it with ``pong``."""

    id: str


class SessionJoinedPush(Push, kw_only=True):
    """A user has joined a session.

    A connection that is bound to its session gets this for itself, too, with ``epoch`` and
    what follows.
    """

    session_id: str
    user_id: str
    epoch: str | UnsetType = UNSET
    offset: int | UnsetType = UNSET
    recovered: bool | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    messages: list[AnyPush] | UnsetType = UNSET
    users: list[InSession] | UnsetType = UNSET


class SessionLeftPush(Push, kw_only=True):
    """A user has left a session; about oneself: the server has put the connection out of it."""

    session_id: str
    user_id: str


class MessageSender(Wire, kw_only=True):
    """The author of a message."""

    user_id: str
    username: str | None
    role: str | None


class ChatMessage(Wire, kw_only=True):
    """A message in a session."""

    id: str
    session_id: str
    sender: MessageSender
    content: Content
    content_type: str
    created_at: Time
    client_message_id: str | UnsetType = UNSET
    reply_to: Annotated[str, Meta(description="the message that this one answers")] | UnsetType = (
        UNSET
    )
    edited_at: Time | UnsetType = UNSET
    edited_by: str | UnsetType = UNSET
    state: Annotated[
        AnswerState, Meta(description="of an answer; its text grows while it does")
    ] | (UnsetType) = UNSET
    seq: Annotated[int, Meta(description="of an answer: the latest append")] | UnsetType = UNSET
    metadata: Annotated[JsonObject, Meta(description="of an answer")] | UnsetType = UNSET


class DeletedMessage(Wire, kw_only=True):
    """What is left of a message that was deleted."""

    id: str
    session_id: str
    deleted: Literal[True]
    created_at: Time


class MessageVersion(Wire, kw_only=True):
    """The newest version of a message: as in ``new_message``, or what is left of a deleted one."""

    id: str
    session_id: str
    created_at: Time
    deleted: Literal[True] | UnsetType = UNSET
    sender: Annotated[MessageSender, Meta(description="absent if deleted, as all below")] | (
        UnsetType
    ) = UNSET
    content: Content | UnsetType = UNSET
    content_type: str | UnsetType = UNSET
    client_message_id: str | UnsetType = UNSET
    reply_to: str | UnsetType = UNSET
    edited_at: Time | UnsetType = UNSET
    edited_by: str | UnsetType = UNSET
    state: AnswerState | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    metadata: JsonObject | UnsetType = UNSET


class NewMessagePush(Placed, kw_only=True):
    """A message in a session."""

    session_id: str
    message: ChatMessage


class MessageUpdatedPush(Placed, kw_only=True):
    """A message was edited; replayed after it was edited again, or deleted, it has that version."""

    session_id: str
    message: MessageVersion


class MessageDeletedPush(Placed, kw_only=True):
    """A message was deleted."""

    session_id: str
    message_id: str
    deleted_at: Time
    deleted_by: str
    message: DeletedMessage


class AnswerAppendedPush(Push, kw_only=True):
    """More text of an answer: it follows the first ``at`` code points."""

    session_id: str
    message_id: str
    seq: Annotated[int, Meta(description="the latest append in it")]
    at: Annotated[int, Meta(description="code points before it")]
    text: str


class AnswerEndedPush(Placed, kw_only=True):
    """An answer has ended; ``message`` is the final one."""

    session_id: str
    message_id: str
    state: AnswerState
    reason: str | UnsetType = UNSET
    length: Annotated[int, Meta(description="code points")]
    message: MessageVersion


class TypingPush(Signal, kw_only=True):
    """A user types, or has stopped."""

    session_id: str
    user_id: str
    username: str | None
    is_typing: bool


class MessageStatusPush(Signal, kw_only=True):
    """How far a message of this user has come."""

    message_id: str
    session_id: str | None
    status: Literal["queued", "sent", "delivered", "read", "failed", "expired"]
    user_id: Annotated[str, Meta(description="the recipient")]
    reason: str | UnsetType = UNSET


class AiProcessingPush(Signal, kw_only=True):
    """How far the AI's answer has come."""

    session_id: str
    status: Literal["queued", "processing", "streaming", "completed", "failed"]
    progress: Annotated[float, Meta(description="0 to 1")] | UnsetType = UNSET
    detail: str | UnsetType = UNSET
    message_id: str | UnsetType = UNSET
    delta: str | UnsetType = UNSET


class UserStatusPush(Signal, kw_only=True):
    """A user's first connection came, or the last one went."""

    user_id: str
    status: Literal["online", "offline"]
    connections: int


class NotificationContent(Wire, kw_only=True):
    """A notification as users see it."""

    id: Annotated[str, Meta(description="``notify_…``; ``ack`` and ``read`` take it, too")]
    title: str
    message: str
    type: NotificationType
    action_url: str | None
    auto_close: bool
    timestamp: Time


class NotificationPush(Placed, kw_only=True):
    """A notification."""

    notification: NotificationContent


class BusyUser(Wire, kw_only=True):
    """A user, and how many messages a second they send."""

    user_id: str
    username: str | None
    messages_per_s: float


class BusySession(Wire, kw_only=True):
    """A session, and how many messages a second are sent in it."""

    session_id: str
    messages_per_s: float


class Busiest(Wire, kw_only=True):
    """Users and sessions with the most messages from clients, the busiest first."""

    users: list[BusyUser]
    sessions: list[BusySession]


class InSession(Wire, kw_only=True):
    """A user in a session."""

    user_id: str
    username: str | None
    connections: int
    read_offset: ReadOffset


class ReadPositionPush(Push, kw_only=True):
    """A user has read everything in a session up to an offset."""

    session_id: str
    user_id: str
    offset: int


class UnreadChangedPush(Push, kw_only=True):
    """What is unread to the user has changed in a session."""

    session_id: str
    unread: int
    total: Annotated[int, Meta(description="in all sessions of the user")]


class NotificationsChangedPush(Push, kw_only=True):
    """The user's notifications have changed: something came, or was read or archived."""

    notification_ids: Annotated[
        list[str], Meta(description="what was marked; empty: only the number may be another one")
    ]
    read: bool | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    unread: Annotated[int, Meta(description="in the whole feed, without what is archived")]


class SessionView(Wire, kw_only=True):
    """The state of a session, as ``GET /sessions/ID`` has it."""

    session_id: str
    title: str | None
    state: SessionState
    holder: HolderView | None
    term: int
    organization_id: str | None
    metadata: JsonObject
    created_at: Time | None
    updated_at: Time | None


class SessionUpdatedPush(Push, kw_only=True):
    """State, holder or another field of a session has changed; a higher ``term`` is newer."""

    session: SessionView
    changed: Annotated[list[str], Meta(description="names of fields")]
    by: Annotated[str, Meta(description="user id")]


class StatsPush(Push, kw_only=True):
    """Statistics, for monitors."""

    stats: Stats
    busiest: Busiest


class ServerEvent(Wire, kw_only=True):
    """An event of the server; its other fields depend on its name."""

    name: str
    timestamp: Time


class EventPush(Push, kw_only=True):
    """An event, for monitors that subscribed to it."""

    event: ServerEvent


class TokenExpiringPush(Push, kw_only=True):
    """The token expires within a minute."""

    expires_at: Time


class ServerDrainingPush(Push, kw_only=True):
    """The server is about to restart."""

    reconnect_after_ms: float


class AnyPush(Placed, kw_only=True):
    """A push of another type, sent through the REST API."""

    data: Any = UNSET


PUSHES: dict[str, type[Push]] = {
    "connection_established": ConnectionEstablished,
    "ping": Heartbeat,
    "session_joined": SessionJoinedPush,
    "session_left": SessionLeftPush,
    "new_message": NewMessagePush,
    "message_updated": MessageUpdatedPush,
    "message_deleted": MessageDeletedPush,
    "answer_appended": AnswerAppendedPush,
    "answer_ended": AnswerEndedPush,
    "typing": TypingPush,
    "message_status_update": MessageStatusPush,
    "ai_processing_status": AiProcessingPush,
    "user_status_update": UserStatusPush,
    "session_updated": SessionUpdatedPush,
    "read_position": ReadPositionPush,
    "unread_changed": UnreadChangedPush,
    "notifications_changed": NotificationsChangedPush,
    "notification": NotificationPush,
    "stats_update": StatsPush,
    "event": EventPush,
    "token_expiring": TokenExpiringPush,
    "server_draining": ServerDrainingPush,
}
"""The pushes that the server names; any other one is an ``AnyPush``."""
