"""Handlers of the commands with which users manage their own notifications."""

from __future__ import annotations

from msgspec import UNSET

from wsserver.errors import BadRequest, ValidationFailed
from wsserver.notifications.preference_api import PreferenceApi
from wsserver.protocol import commands
from wsserver.protocol.notifications import PreferencesRequest
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.dispatcher import Answer, Handler


class NotificationCommands:
    """The handlers; each is about the caller's own notifications."""

    def __init__(self, preferences: PreferenceApi) -> None:
        self._preferences = preferences

    def table(self) -> dict[str, Handler]:
        """The handlers by command type."""
        return {"preferences": self.preferences}

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
        except ValidationFailed as error:  # of REST, where it is 422
            errors = error.details["errors"]
            raise BadRequest(error.message, field=errors[0]["field"], errors=errors) from None
        return "preferences", view


def _actor(connection: ConnectionInfo) -> Actor:
    return Actor(connection.claims, connection.remote_ip, connection.connection_id, via="socket")
