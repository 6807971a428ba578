"""Types of the commands of clients on a socket."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from wsserver.protocol.notifications import MAX_MARKED, ChannelChoices, DailyDigest, QuietHours
from wsserver.protocol.types import (
    MAX_FOUND,
    Content,
    Id,
    JsonObject,
    Offset,
    Position,
    SearchText,
    SessionState,
    StreamName,
    Term,
    Title,
)

MAX_HISTORY = 200
MAX_STREAMS = 100
MAX_CONVERSATIONS = 100
MAX_NOTIFICATIONS = 100
MAX_IDS = 1000

MessageIds = Annotated[list[Id], Meta(min_length=1, max_length=MAX_IDS)]


class Command(Struct, forbid_unknown_fields=True):
    """Base class of all commands; ``type`` and ``ref`` are removed before decoding.

    One object may serve many texts (``CommandDecoder``): nobody changes it.
    """


class Ping(Command):
    """Answered by ``pong`` with the same ``data``."""

    data: Any = UNSET


class Pong(Command):
    """Answers the server's ping; the one command without a reply."""

    id: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET


class JoinSession(Command):
    """Receive what is sent to a session from now on."""

    session_id: Id
    since: Position | UnsetType = UNSET
    changes: bool = False
    """Whether the messages after ``since`` are given with change records."""


class LeaveSession(Command):
    """Stop receiving what is sent to a session."""

    session_id: Id


class SendMessage(Command):
    """Send a message to a session."""

    session_id: Id
    content: Content
    content_type: Annotated[str, Meta(min_length=1, max_length=128)] = "text"
    client_message_id: Annotated[str, Meta(min_length=1, max_length=128)] | UnsetType = UNSET
    seen_offset: Offset | UnsetType = UNSET
    reply_to: Id | UnsetType = UNSET


class EditMessage(Command):
    """Replace the content of a message."""

    message_id: Id
    content: Content


class Search(Command):
    """Find messages by their text, in all sessions that the user may enter or in one."""

    query: SearchText
    session_id: Id | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=MAX_FOUND)] = 20
    before: Annotated[str, Meta(min_length=1, max_length=1024)] | UnsetType = UNSET
    """``next_cursor`` of the page before."""


class DeleteMessage(Command):
    """Delete a message: its content is removed everywhere."""

    message_id: Id


class Typing(Command):
    """Notify the others in a session that this user types, or has stopped."""

    session_id: Id
    is_typing: bool


class History(Command):
    """Read history: the last messages of a session, those before an offset or after one."""

    session_id: Id
    before: Offset | UnsetType = UNSET
    after: Offset | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=MAX_HISTORY)] = 50
    changes: bool = False
    """Whether change records are given too."""


class Resume(Command):
    """Catch up with streams from the client's last positions; sessions are joined again."""

    streams: Annotated[dict[StreamName, Position], Meta(min_length=1, max_length=MAX_STREAMS)]


class Ack(Command):
    """Acknowledge messages: those with these ids, or all of a stream up to an offset."""

    ids: MessageIds | UnsetType = UNSET
    stream: StreamName | UnsetType = UNSET
    offset: Offset | UnsetType = UNSET


class Read(Command):
    """Mark messages as read by the user."""

    ids: MessageIds


class Presence(Command):
    """List the users in a session."""

    session_id: Id


class MarkRead(Command):
    """Everything in a session up to an offset is read; the position never moves back."""

    session_id: Id
    offset: Offset


class Conversations(Command):
    """List the caller's conversations, newest activity first."""

    limit: Annotated[int, Meta(ge=1, le=MAX_CONVERSATIONS)] = 50
    cursor: Annotated[str, Meta(min_length=1, max_length=1024)] | UnsetType | None = UNSET
    state: SessionState | UnsetType | None = UNSET


class Notifications(Command):
    """List the caller's notifications, newest first."""

    limit: Annotated[int, Meta(ge=1, le=MAX_NOTIFICATIONS)] = 50
    cursor: Annotated[str, Meta(min_length=1, max_length=1024)] | UnsetType | None = UNSET
    archived: bool = False
    """Those that are archived, instead of all others."""
    unread: bool = False
    """Only those that are unread."""


class MarkNotifications(Command):
    """Mark the caller's notifications: those with these ids, or one and all older ones."""

    ids: Annotated[list[Id], Meta(min_length=1, max_length=MAX_MARKED)] | None = None
    up_to: Id | None = None
    read: bool | None = None
    archived: bool | None = None


class NotificationPreferences(Command):
    """Change what the caller has chosen about notifications; without a change, read it."""

    channels: ChannelChoices | UnsetType | None = UNSET
    quiet_hours: QuietHours | UnsetType | None = UNSET
    daily_digest: DailyDigest | UnsetType | None = UNSET


class Take(Command):
    """Hold a session from now on, instead of the AI or user who holds it."""

    session_id: Id
    expected_term: Term | UnsetType = UNSET


class Release(Command):
    """Hold a session no longer; ``ai``: the AI that held it last holds it again."""

    session_id: Id
    to: Literal["ai"] | UnsetType | None = UNSET


class RefreshToken(Command):
    """Replace the token of the connection by a newer one of the same user."""

    token: Annotated[str, Meta(min_length=1, max_length=16384)]


class CancelAnswer(Command):
    """End an answer that is not wanted any more."""

    message_id: Id
    reason: Title | UnsetType = UNSET


class GetStats(Command):
    """The statistics, as ``GET /stats``."""

    args: JsonObject | UnsetType = UNSET


class Administer(Command):
    """A monitor command: ``args`` is the body of the REST call of the same meaning."""

    args: JsonObject


class Subscribe(Administer):
    """Choose which events and how frequent statistics this monitor gets."""


class Broadcast(Administer):
    """As ``POST /broadcast``."""


class Publish(Administer):
    """As ``POST /messages``."""


class AnswerStart(Administer):
    """As ``POST /sessions/{session_id}/answers``, with ``session_id`` in ``args``."""


class AnswerAppend(Administer):
    """As ``POST /answers/{message_id}/append``, with ``message_id`` in ``args``."""


class AnswerFinish(Administer):
    """As ``POST /answers/{message_id}/finish``, with ``message_id`` in ``args``."""


class AnswerCancel(Administer):
    """As ``POST /answers/{message_id}/cancel``, with ``message_id`` in ``args``."""


class DisconnectUser(Administer):
    """As ``POST /users/disconnect``."""


class PingUser(Administer):
    """As ``POST /ping/{user_id}``, with ``user_id`` in ``args``."""


CHAT_COMMANDS: dict[str, type[Command]] = {
    "ping": Ping,
    "pong": Pong,
    "join_session": JoinSession,
    "leave_session": LeaveSession,
    "send_message": SendMessage,
    "edit_message": EditMessage,
    "delete_message": DeleteMessage,
    "search": Search,
    "typing": Typing,
    "ack": Ack,
    "read": Read,
    "presence": Presence,
    "history": History,
    "resume": Resume,
    "mark_read": MarkRead,
    "conversations": Conversations,
    "notifications": Notifications,
    "mark_notifications": MarkNotifications,
    "preferences": NotificationPreferences,
    "take": Take,
    "release": Release,
    "cancel_answer": CancelAnswer,
    "refresh_token": RefreshToken,
}
MONITOR_COMMANDS: dict[str, type[Command]] = CHAT_COMMANDS | {
    "get_stats": GetStats,
    "subscribe": Subscribe,
    "broadcast": Broadcast,
    "publish": Publish,
    "answer_start": AnswerStart,
    "answer_append": AnswerAppend,
    "answer_finish": AnswerFinish,
    "answer_cancel": AnswerCancel,
    "disconnect_user": DisconnectUser,
    "ping_user": PingUser,
}
