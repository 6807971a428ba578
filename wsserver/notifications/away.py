"""Notices to members of a session who have not seen a message: by push, SMS or e-mail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from wsserver.clock import Clock
from wsserver.errors import ValidationFailed
from wsserver.notifications.delivery_policy import Sending
from wsserver.notifications.recipients import users
from wsserver.notifications.service import NotificationService
from wsserver.protocol.contents import sender_of, text_of
from wsserver.protocol.notifications import ChannelName
from wsserver.realtime.messages.audience import EVERYBODY, read_audience
from wsserver.realtime.observability.events import Event
from wsserver.storage.notifications.away import TEMPLATE, Absent, AwayStore, DueMessage

log = logging.getLogger(__name__)

TEXT_LIMIT = 120
"""Characters of a message in its notice."""


class AwayNotices:
    """Tells members of a message that they have neither acknowledged nor read for ``after_s``.

    Once until they are back: until they connect, or have acknowledged or read that message.
    ``organization_of``: the organization that was entered for a user. One node does it for all.
    """

    def __init__(
        self,
        store: AwayStore,
        service: NotificationService,
        clock: Clock,
        organization_of: Callable[[str], str | None],
        *,
        after_s: float,
        channels: Sequence[ChannelName],
    ) -> None:
        self._store = store
        self._service = service
        self._clock = clock
        self._organization_of = organization_of
        self._after_s = after_s
        self._channels = channels
        self._connected: set[str] = set()

    def connected(self, event: Event) -> None:
        """A user has connected to this node."""
        self._connected.add(str(event["user_id"]))

    async def flush(self) -> None:
        """Note who is back; to be called often, on every node."""
        connected, self._connected = self._connected, set()
        if not connected:
            return
        try:
            await self._store.back(connected)
        except BaseException:
            self._connected |= connected
            raise

    async def run(self) -> None:
        """Tell of what is due. Raises ``StorageUnavailable``, ``StorageFull``."""
        while True:
            due = await self._store.due(self._clock.wall() - self._after_s)
            # One after the other: members with a notice of one message get none of the next.
            for message in due.messages:
                await self._notify(message)
            done = [*due.obsolete, *[message.key for message in due.messages]]
            if done:
                await self._store.done(done)
            if due.is_all or not done:
                return

    async def _notify(self, message: DueMessage) -> None:
        absent = await self._store.absent(message)
        user_id, username = sender_of(message.payload)
        audience = read_audience(message.audience) or EVERYBODY
        notified = [
            each.user_id
            for each in absent
            if each.user_id != user_id
            and audience.excludes(each.user_id, self._organization(each), each.role or "user")
            is None
        ]
        if not notified:
            return
        parameters = {
            "session_id": message.session_id,
            "title": message.title or username or user_id or message.session_id,
            "text": _shortened(text_of(message.payload)),
        }
        sending = Sending(channels=self._channels, once=("away", message.message_id))
        try:
            sent = await self._service.send_template(
                users(*notified), TEMPLATE, parameters, sending
            )
        except ValidationFailed as error:
            log.warning(
                "absent members not notified message_id=%s error=%s", message.message_id, error
            )
            return
        if sent is not None:
            await self._store.note_notified(
                message, notified, sent.notification_id, self._clock.wall()
            )

    def _organization(self, absent: Absent) -> str | None:
        return self._organization_of(absent.user_id) or absent.organization_id


def _shortened(text: str) -> str:
    """The first characters of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT_LIMIT else f"{line[: TEXT_LIMIT - 1]}…"
