"""What operators and backends may do with notifications, each with permission, scope and record."""

from __future__ import annotations

import asyncio
from typing import Any

from wsserver.addresses.reach import Reach
from wsserver.clock import Clock
from wsserver.errors import NotFound, ValidationFailed
from wsserver.identity.permissions import Permissions
from wsserver.notifications.addresses import contact_of
from wsserver.notifications.content import Content
from wsserver.notifications.queue import DeliveryQueue
from wsserver.notifications.recipients import RecipientFinder, recipients_of
from wsserver.notifications.request_rules import notify_faults
from wsserver.notifications.service import NotificationService, Sending
from wsserver.notifications.views import contact_view, notification_view
from wsserver.protocol.notifications import Contact, ContactsRequest, NotifyRequest
from wsserver.realtime.actor import Actor, Audit, Trail
from wsserver.realtime.paging import Window
from wsserver.storage.contacts import ContactStore, OwnedContact
from wsserver.storage.notification_rows import Filters, Notification
from wsserver.storage.notifications import NotificationStore

SEND = "notifications:send"
READ = "notifications:read"
LISTED_DELIVERIES = 100
"""Of each notification in a list."""


class NotificationDesk:
    """``POST /notify`` and what belongs to it."""

    def __init__(
        self,
        *,
        service: NotificationService,
        store: NotificationStore,
        contacts: ContactStore,
        finder: RecipientFinder,
        content: Content,
        queue: DeliveryQueue,
        permissions: Permissions,
        audit: Audit,
        clock: Clock,
        reach: Reach,
    ) -> None:
        self._service = service
        self._store = store
        self._contacts = contacts
        self._finder = finder
        self._content = content
        self._queue = queue
        self._permissions = permissions
        self._trail = Trail(audit, clock)
        self._clock = clock
        self._reach = reach

    async def notify(self, actor: Actor, request: NotifyRequest) -> dict[str, Any]:
        """Accept a notification; ``notification_id`` is None where there is nothing new to tell."""
        faults = notify_faults(request)
        if faults:
            raise ValidationFailed(faults)
        recipients = recipients_of(request)
        with self._trail.denials(actor, "notify", str(recipients)):
            self._permissions.require(actor.claims, SEND)
            sending = self._sending(actor, request)
            if request.template is not None:
                accepted = await self._service.send_template(
                    recipients, request.template, request.params or {}, sending
                )
            else:
                accepted = await self._service.send_notification(
                    recipients,
                    request.title or "",
                    request.message or "",
                    request.type or "info",
                    action_url=request.action_url,
                    auto_close=request.auto_close,
                    sending=sending,
                )
        if accepted is None:
            return {"notification_id": None, "deliveries": []}
        if actor.claims.role != "service":  # a backend's would bury what people did
            self._trail.record(
                actor,
                "notify",
                str(recipients),
                notification_id=accepted.notification_id,
                type=accepted.type,
                template=accepted.template,
                deliveries=sum(accepted.states.values()),
            )
        return notification_view(self._content, accepted)

    async def listing(self, actor: Actor, window: Window, filters: Filters) -> dict[str, Any]:
        """Notifications that pass all filters, newest first."""
        scope = self._scope(actor, READ)
        page = await self._store.page(
            window.limit,
            window.cursor,
            filters._replace(organization_id=scope),
            LISTED_DELIVERIES,
        )
        views = []
        for each in page.items:  # up to a hundred thousand deliveries: not all in one go
            views.append(notification_view(self._content, each))
            await asyncio.sleep(0)
        return {
            "notifications": views,
            "total": page.total,
            "next_cursor": page.next_cursor,
        }

    async def one(self, actor: Actor, notification_id: str) -> dict[str, Any]:
        """One notification; raises ``NotFound``."""
        found = await self._found(actor, READ, notification_id)
        return notification_view(self._content, found)

    async def retry(self, actor: Actor, notification_id: str) -> dict[str, Any]:
        """Try dead letters again, and what had no way out; ``retried``: how many there were."""
        await self._found(actor, SEND, notification_id)
        retried = await self._store.retry(notification_id, self._clock.wall())
        self._queue.kick()
        return await self._changed(actor, "retry_notification", notification_id, retried=retried)

    async def cancel(self, actor: Actor, notification_id: str) -> dict[str, Any]:
        """Call off what was not sent; ``cancelled``: how many deliveries that were."""
        await self._found(actor, SEND, notification_id)
        cancelled = await self._store.cancel(notification_id)
        return await self._changed(
            actor, "cancel_notification", notification_id, cancelled=cancelled
        )

    async def contacts(self, actor: Actor, user_id: str) -> dict[str, Any]:
        """Where a user can be reached; raises ``NotFound`` for one of another organization."""
        scope = self._scope(actor, SEND)
        found = await self._contacts.get(user_id)
        if scope is not None and not await self._is_shown(user_id, found, scope):
            raise NotFound("user", user_id)
        return contact_view(Contact(user_id=user_id) if found is None else found.contact)

    async def replace_contacts(
        self, actor: Actor, user_id: str, request: ContactsRequest
    ) -> dict[str, Any]:
        """Enter where a user can be reached, in the place of what there was."""
        target = f"user:{user_id}"
        with self._trail.denials(actor, "contacts", target):
            scope = self._scope(actor, SEND)
        await self.contacts(actor, user_id)
        contact = contact_of(user_id, request, self._reach)
        found = await self._contacts.get(user_id)
        owner = scope or (None if found is None else found.organization_id)
        await self._contacts.put(contact, owner, self._clock.wall())
        given = sorted(name for name in request.__struct_fields__ if getattr(request, name))
        self._trail.record(actor, "contacts", target, fields=given)
        return contact_view(contact)

    def _sending(self, actor: Actor, request: NotifyRequest) -> Sending:
        escalate = request.escalate
        return Sending(
            channels=request.channels,
            escalate=None if escalate is None else [(e.after_s, e.channel) for e in escalate],
            expires_in_s=request.expires_in_s,
            sender=actor.claims.sub,
            confined_to=self._permissions.confined_to(actor.claims),
            once=actor.once,
        )

    def _scope(self, actor: Actor, permission: str) -> str | None:
        self._permissions.require(actor.claims, permission)
        return self._permissions.confined_to(actor.claims)

    async def _found(self, actor: Actor, permission: str, notification_id: str) -> Notification:
        scope = self._scope(actor, permission)
        found = await self._store.get(notification_id, scope)
        if found is None:
            raise NotFound("notification", notification_id)
        return found

    async def _changed(
        self, actor: Actor, action: str, notification_id: str, **counted: Any
    ) -> dict[str, Any]:
        self._trail.record(actor, action, f"notification:{notification_id}", **counted)
        found = await self._store.get(notification_id)
        if found is None:  # its retention has just ended
            raise NotFound("notification", notification_id)
        return {**notification_view(self._content, found), **counted}

    async def _is_shown(self, user_id: str, found: OwnedContact | None, scope: str) -> bool:
        """May an organization's managers see a user's contact, or enter the first one?

        What one organization has entered is no other's, though nobody knows the user yet.
        """
        if found is None or found.organization_id == scope:
            return not await self._finder.is_outside(user_id, scope)
        return await self._finder.is_inside(user_id, scope)
