"""Replies to the commands of the WebSocket protocol, as types; the pushes are ``socket_frames``.

``scripts/client-types`` writes the client's types from them, too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from wsserver.protocol.answers import (
    AnswerAppendArgs,
    AnswerCancelArgs,
    AnswerFinishArgs,
    AnswerStartArgs,
)
from wsserver.protocol.notifications import ChannelName, DailyDigest, QuietHours
from wsserver.protocol.requests import (
    BroadcastRequest,
    DisconnectRequest,
    PingUserRequest,
    PublishRequest,
    Request,
    SubscribeRequest,
)
from wsserver.protocol.types import HolderView
from wsserver.web.api.answers import Time
from wsserver.web.resources.answers import AnswerAppended, AnswerEnded, AnswerStarted
from wsserver.web.resources.connections import Disconnected
from wsserver.web.resources.messages import Published
from wsserver.web.resources.notification_feed import FeedNotification, UnreadCount
from wsserver.web.resources.sessions import Conversation
from wsserver.web.resources.socket_frames import AnyPush, InSession, MessageVersion, Placed, Wire
from wsserver.web.resources.stats import Stats
from wsserver.web.resources.users import PingResult


class PongReply(Wire, kw_only=True):
    """The answer to ``ping``."""

    server_time: Time
    data: Any = UNSET


class SessionJoined(Wire, kw_only=True):
    """The session was joined; with ``since``, what was missed is in ``messages``."""

    session_id: str
    user_id: str
    epoch: str
    offset: int
    recovered: bool
    reason: str | UnsetType = UNSET
    messages: list[AnyPush]
    users: Annotated[list[InSession], Meta(description="the first 1000")]


class SessionLeft(Wire, kw_only=True):
    """The session was left."""

    session_id: str
    user_id: str


class MessageAck(Wire, kw_only=True):
    """The message is stored."""

    message_id: str
    stream: str
    epoch: str
    offset: int


class ChangeAck(Wire, kw_only=True):
    """The message is changed; the position is that of the change."""

    message_id: str
    stream: str
    epoch: str
    offset: int


class Ack(Wire, kw_only=True):
    """Done."""


class ReceiptAck(Wire, kw_only=True):
    """The receipts are stored."""

    acknowledged: Annotated[int, Meta(description="for how many messages it was new")]


class OwnMessageReceipts(Wire, kw_only=True):
    """Who has received, and who has read, a message of the user."""

    delivered: Annotated[list[str], Meta(description="user ids, at most 100")]
    read: Annotated[list[str], Meta(description="user ids, at most 100")]


class HistoryReply(Wire, kw_only=True):
    """Kept messages of a session, ascending by offset."""

    session_id: str
    messages: list[AnyPush]
    epoch: str
    has_more: bool
    receipts: Annotated[
        dict[str, OwnMessageReceipts], Meta(description="of the user's own messages, by id")
    ]


class FoundMessage(Placed, kw_only=True):
    """A message that was found, as in ``history``."""

    type: str
    session_id: str
    message: MessageVersion
    snippet: Annotated[str, Meta(description="the text around what was found")]


class Found(Wire, kw_only=True):
    """Messages that were found, the newest first."""

    messages: list[FoundMessage]
    next_cursor: Annotated[
        str | None, Meta(description="``before`` of the next page; a page may have few messages")
    ]


class Recovered(Wire, kw_only=True):
    """What was missed of one stream, ascending by offset; ``forbidden`` has a reason alone."""

    recovered: bool
    epoch: str | UnsetType = UNSET
    offset: int | UnsetType = UNSET
    messages: list[AnyPush] | UnsetType = UNSET
    reason: (
        Literal["epoch_changed", "expired", "too_far_behind", "offset_ahead", "forbidden"]
        | UnsetType
    ) = UNSET


class Resumed(Wire, kw_only=True):
    """What was missed, by stream."""

    streams: dict[str, Recovered]


class PresenceReply(Wire, kw_only=True):
    """Who is in a session."""

    session_id: str
    users: Annotated[list[InSession], Meta(description="the first 1000")]


class ConversationsReply(Wire, kw_only=True):
    """The user's conversations, newest activity first."""

    conversations: list[Conversation]
    unread_total: Annotated[int, Meta(description="in all of them, whatever their state")]
    next_cursor: str | None


class NotificationsReply(Wire, kw_only=True):
    """The user's notifications, newest first."""

    user_id: str
    notifications: list[FeedNotification]
    unread: UnreadCount
    total: Annotated[int, Meta(description="of all pages")]
    next_cursor: str | None


class MarkedAck(Wire, kw_only=True):
    """The notifications are marked."""

    changed: Annotated[int, Meta(description="how many were not so before")]
    unread: UnreadCount


class NotificationPreferencesReply(Wire, kw_only=True):
    """What the user has chosen about notifications."""

    user_id: str
    channels: Annotated[
        dict[str, dict[ChannelName, bool]],
        Meta(description="by template or *, whether a channel is on; others are on"),
    ]
    quiet_hours: Annotated[QuietHours | None, Meta(description="those in force")]
    quiet_hours_from: Literal["preferences", "contacts"] | None
    daily_digest: DailyDigest | None
    templates: Annotated[list[str], Meta(description="the templates that there are")]


class HolderReply(Wire, kw_only=True):
    """Who holds the session now."""

    session_id: str
    term: int
    holder: HolderView | None


class TokenRefreshed(Wire, kw_only=True):
    """The newer token counts."""

    expires_at: Time


class Subscribed(Wire, kw_only=True):
    """What the monitor gets from now on."""

    events: list[str]
    interval_s: float


REPLIES: dict[str, tuple[str, type[Struct]]] = {
    "ping": ("pong", PongReply),
    "join_session": ("session_joined", SessionJoined),
    "leave_session": ("session_left", SessionLeft),
    "send_message": ("ack", MessageAck),
    "edit_message": ("ack", ChangeAck),
    "delete_message": ("ack", ChangeAck),
    "search": ("found", Found),
    "typing": ("ack", Ack),
    "ack": ("ack", ReceiptAck),
    "read": ("ack", ReceiptAck),
    "history": ("history", HistoryReply),
    "resume": ("resumed", Resumed),
    "presence": ("presence", PresenceReply),
    "conversations": ("conversations", ConversationsReply),
    "mark_read": ("ack", Ack),
    "notifications": ("notifications", NotificationsReply),
    "mark_notifications": ("ack", MarkedAck),
    "preferences": ("preferences", NotificationPreferencesReply),
    "take": ("taken", HolderReply),
    "release": ("released", HolderReply),
    "cancel_answer": ("ack", Ack),
    "refresh_token": ("token_refreshed", TokenRefreshed),
}
"""Type and shape of each chat command's reply; ``pong`` has none."""

RESULTS: dict[str, tuple[type[Request] | None, type[Struct]]] = {
    "get_stats": (None, Stats),
    "subscribe": (SubscribeRequest, Subscribed),
    "broadcast": (BroadcastRequest, Published),
    "publish": (PublishRequest, Published),
    "answer_start": (AnswerStartArgs, AnswerStarted),
    "answer_append": (AnswerAppendArgs, AnswerAppended),
    "answer_finish": (AnswerFinishArgs, AnswerEnded),
    "answer_cancel": (AnswerCancelArgs, AnswerEnded),
    "disconnect_user": (DisconnectRequest, Disconnected),
    "ping_user": (PingUserRequest, PingResult),
}
"""``args`` of each command of a monitor, and the ``result`` of its reply."""
