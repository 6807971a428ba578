"""Notification service: accepts notifications, which are stored before they are delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from wsserver.clock import Clock
from wsserver.errors import ValidationFailed
from wsserver.notifications.channels.base import Channel
from wsserver.notifications.contacts import TenantContacts
from wsserver.notifications.delivery_policy import AS_USUAL, DIGESTED, Step, plan
from wsserver.notifications.delivery_policy import Sending as Sending  # part of its interface
from wsserver.notifications.notification_queue import NotificationQueue
from wsserver.notifications.parameters import THRESHOLDS, reached
from wsserver.notifications.recipients import RecipientFinder, Recipients
from wsserver.notifications.template_methods import TemplateMethods
from wsserver.notifications.templates import Renderer, Text
from wsserver.protocol.ids import new_id
from wsserver.protocol.notifications import CHANNELS, ChannelName, Contact, NotificationType
from wsserver.protocol.validation import Fault
from wsserver.storage.notifications.notification_rows import Notification
from wsserver.storage.notifications.notifications import (
    Marks,
    NewDelivery,
    NewNotification,
    NotificationStore,
)


@dataclass(frozen=True)
class _Said:
    """Content of a notification, ready to be stored."""

    type: NotificationType
    content: str
    template: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


class NotificationService(TemplateMethods):
    """Sends notifications by several channels; what is accepted survives restarts.

    All sending methods return the notification as stored, with its deliveries; None if no new
    threshold is reached (``cost_warning``, ``budget_exceeded``). They raise
    ``ValidationFailed`` naming a parameter, ``Forbidden`` for recipients outside of
    ``confined_to``, ``StorageUnavailable`` and ``StorageFull``; then nothing is accepted.
    """

    INFO: NotificationType = "info"
    SUCCESS: NotificationType = "success"
    WARNING: NotificationType = "warning"
    ERROR: NotificationType = "error"
    URGENT: NotificationType = "urgent"

    WEBSOCKET: ChannelName = "websocket"
    EMAIL: ChannelName = "email"
    SMS: ChannelName = "sms"
    PUSH: ChannelName = "push"

    def __init__(
        self,
        *,
        store: NotificationStore,
        contacts: TenantContacts,
        finder: RecipientFinder,
        renderer: Renderer,
        channels: Mapping[ChannelName, Channel],
        queue: NotificationQueue,
        clock: Clock,
        inbox_retention_s: float,
    ) -> None:
        self._store = store
        self._contacts = contacts
        self._finder = finder
        self._renderer = renderer
        self._channels = channels
        self._queue = queue
        self._clock = clock
        self._inbox_retention_s = inbox_retention_s

    async def send_notification(
        self,
        recipients: Recipients,
        title: str,
        message: str,
        type: NotificationType = "info",
        *,
        action_url: str | None = None,
        auto_close: bool | None = None,
        sending: Sending = AS_USUAL,
    ) -> Notification | None:
        """Send a notification with a given text."""
        faults: list[Fault] = [
            {"field": name, "message": f"must be a string, not {value!r}"}
            for name, value in (("title", title), ("message", message))
            if not isinstance(value, str)
        ]
        if faults:
            raise ValidationFailed(faults)
        text = Text(title=title, message=message, action_url=action_url, auto_close=auto_close)
        said = _Said(type, msgspec.json.encode(text).decode())
        return await self._send(recipients, said, sending)

    async def send_urgent_notification(
        self,
        recipients: Recipients,
        title: str,
        message: str,
        *,
        action_url: str | None = None,
        sending: Sending = AS_USUAL,
    ) -> Notification | None:
        """Send a text by all channels immediately, also in quiet hours."""
        return await self.send_notification(
            recipients, title, message, "urgent", action_url=action_url, sending=sending
        )

    async def send_template(
        self,
        recipients: Recipients,
        template: str,
        params: Mapping[str, Any],
        sending: Sending = AS_USUAL,
    ) -> Notification | None:
        """Send a template, rendered in each recipient's language."""
        parameters = self._renderer.templates.check(template, params)
        said = _Said(
            self._renderer.templates.type_of(template, parameters),
            msgspec.json.encode(parameters).decode(),
            template,
            parameters,
        )
        return await self._send(recipients, said, sending)

    async def _send(
        self, recipients: Recipients, said: _Said, sending: Sending
    ) -> Notification | None:
        if not isinstance(recipients, Recipients):
            given = type(recipients).__name__
            raise TypeError(f"recipients: Recipients, such as users('u1', 'u2'), not {given}")
        unknown = [each for each in sending.channels or () if each not in CHANNELS]
        if unknown:
            message = f"{unknown[0]!r} is not one of {', '.join(CHANNELS)}"
            raise ValidationFailed([{"field": "channels", "message": message}])
        tiers = _tiers(said)
        if tiers is not None and not tiers:
            return None
        steps = plan(said.type, sending)
        user_ids = await self._finder.find(recipients, sending.confined_to)
        contacts = await self._contacts_of(user_ids, steps)
        now = self._clock.wall()
        lifetime_s = sending.expires_in_s or self._inbox_retention_s
        marks = None
        if tiers is not None and said.template is not None:
            period = str(said.parameters["period"])
            accounts = {
                user_id: recipients.account_of(user_id, sending.confined_to) for user_id in user_ids
            }
            marks = Marks(said.template, period, tiers, accounts)
        organization_id = sending.confined_to or recipients.organization_id
        notification_id = await self._store.accept(
            NewNotification(
                notification_id=new_id("notify", now),
                at=now,
                expires_at=now + lifetime_s,
                type=said.type,
                template=said.template,
                content=said.content,
                recipients=msgspec.json.encode(recipients).decode(),
                sender=sending.sender,
                organization_id=organization_id,
                deliveries=[
                    self._delivery(step, contact, said, now, lifetime_s, organization_id)
                    for contact in contacts
                    for step in steps
                ],
                once=sending.once,
                marks=marks,
            )
        )
        if notification_id is None:
            return None
        self._queue.kick()
        return await self._store.get(notification_id)

    async def _contacts_of(self, user_ids: Sequence[str], steps: Sequence[Step]) -> list[Contact]:
        """The contacts in the order of the ids; read only if a channel needs an address."""
        if all(step.channel == "websocket" for step in steps):
            return [Contact(user_id=user_id) for user_id in user_ids]
        known = await self._contacts.find(user_ids)
        return [known.get(user_id) or Contact(user_id=user_id) for user_id in user_ids]

    def _delivery(
        self,
        step: Step,
        contact: Contact,
        said: _Said,
        now: float,
        lifetime_s: float,
        organization_id: str | None,
    ) -> NewDelivery:
        is_inbox = step.channel == "websocket"
        if is_inbox:
            lifetime_s = min(lifetime_s, self._inbox_retention_s)
        state = self._state(step, contact)
        is_digested = step.channel in DIGESTED and said.type != "urgent"
        return NewDelivery(
            # In the inbox, it is the id of the message.
            delivery_id=new_id("msg" if is_inbox else "delivery", now),
            user_id=contact.user_id,
            channel=step.channel,
            state=state,
            due_at=now + step.after_s if state == "pending" else None,
            expires_at=now + lifetime_s,
            unless_acknowledged=int(step.is_escalation),
            digest=_digest(said.template, organization_id) if is_digested else None,
        )

    def _state(self, step: Step, contact: Contact) -> str:
        channel = self._channels.get(step.channel)
        if channel is None or not channel.is_configured:
            return "not_configured"
        # An address may be entered before an escalation is due.
        is_now = step.after_s == 0
        return "no_address" if is_now and not channel.has_address(contact) else "pending"


def _digest(template: str | None, organization_id: str | None) -> str | None:
    """Key of a digest: the template, separate for each organization."""
    if template is None or organization_id is None:
        return template
    return f"{template} of organization:{organization_id}"


def _tiers(said: _Said) -> list[int] | None:
    """The reached thresholds of templates sent once a period; None: sent every time."""
    if said.template == "cost_warning":
        highest = reached(said.parameters["used"], said.parameters["quota"])
        return [each for each in THRESHOLDS if each <= highest]
    if said.template == "budget_exceeded":
        return [100] if said.parameters["used"] > said.parameters["budget"] else []
    return None
