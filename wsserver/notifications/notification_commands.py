"""Handlers of the commands with which users manage their own notifications."""

from __future__ import annotations

from msgspec import UNSET

from wsserver.errors import BadRequest, ValidationFailed
from wsserver.notifications.feed_api import FeedApi, WantedFeed
from wsserver.notifications.preference_api import PreferenceApi
from wsserver.protocol import commands
from wsserver.protocol.notifications import MarkNotificationsRequest, PreferencesRequest
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.dispatcher import Answer, Handler


class NotificationCommands:
    """The handlers; each is about the caller's own notifications."""

    def __init__(self, preferences: PreferenceApi, feed: FeedApi, replay_budget: int) -> None:
        """``replay_budget``: bytes that may be queued for a connection."""
        self._preferences = preferences
        self._feed = feed
        self._replay_budget = replay_budget

    def table(self) -> dict[str, Handler]:
        """The handlers by command type."""
        return {
            "preferences": self.preferences,
            "notifications": self.notifications,
            "mark_notifications": self.mark,
        }

    async def notifications(
        self, connection: ConnectionInfo, command: commands.Notifications
    ) -> Answer:
        """List the caller's notifications; the connection gets their changes from now on."""
        connection.follows_notifications = True
        wanted = WantedFeed(
            limit=command.limit,
            cursor=command.cursor or None,
            archived=command.archived,
            unread=command.unread,
            budget=self._replay_budget - connection.websocket.queued_bytes,
        )
        page = await self._feed.listing(_actor(connection), connection.user_id, wanted)
        return "notifications", page

    async def mark(self, connection: ConnectionInfo, command: commands.MarkNotifications) -> Answer:
        """Mark the caller's notifications; reply with what is unread then."""
        request = MarkNotificationsRequest(
            command.ids, command.up_to, command.read, command.archived
        )
        try:
            marked = await self._feed.mark(_actor(connection), connection.user_id, request)
        except ValidationFailed as error:
            raise _bad_request(error) from None
        return "ack", marked

    async def preferences(
        self, connection: ConnectionInfo, command: commands.NotificationPreferences
    ) -> Answer:
        """Change the caller's preferences; reply with what they are then."""
        actor = _actor(connection)
        request = PreferencesRequest(command.channels, command.quiet_hours, command.daily_digest)
        user_id = connection.user_id
        if all(getattr(request, name) is UNSET for name in request.__struct_fields__):
            return "preferences", await self._preferences.get(actor, user_id)
        try:
            view = await self._preferences.change(actor, user_id, request)
        except ValidationFailed as error:
            raise _bad_request(error) from None
        return "preferences", view


def _actor(connection: ConnectionInfo) -> Actor:
    return Actor(connection.claims, connection.remote_ip, connection.connection_id, via="socket")


def _bad_request(error: ValidationFailed) -> BadRequest:
    """The error of a command for what is 422 over REST."""
    errors = error.details["errors"]
    return BadRequest(error.message, field=errors[0]["field"], errors=errors)
