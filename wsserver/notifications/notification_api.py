"""What operators and backends may do with notifications, each with permission, scope and record."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import UNSET

from wsserver.addresses.reach import Reach
from wsserver.clock import Clock
from wsserver.errors import Forbidden, NotFound, ValidationFailed
from wsserver.identity.permissions import Permissions
from wsserver.notifications.addresses import contact_of
from wsserver.notifications.contact_book import ContactBook
from wsserver.notifications.content import Content
from wsserver.notifications.queue import DeliveryQueue
from wsserver.notifications.recipients import recipients_of
from wsserver.notifications.request_rules import notify_faults
from wsserver.notifications.service import NotificationService, Sending
from wsserver.notifications.views import contact_view, notification_view
from wsserver.paging import Window
from wsserver.protocol.notifications import ContactsRequest, NotifyRequest
from wsserver.realtime.access.actor import Actor, Audit, AuditRecorder
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.realtime.manager import WebSocketManager
from wsserver.storage.notifications.notification_rows import Filters, Notification
from wsserver.storage.notifications.notifications import NotificationStore

SEND = "notifications:send"
READ = "notifications:read"
LISTED_DELIVERIES = 100
"""Of each notification in a list."""


class NotificationApi:
    """``POST /notify`` and what belongs to it."""

    def __init__(
        self,
        *,
        service: NotificationService,
        store: NotificationStore,
        contacts: ContactBook,
        tenancy: Tenancy,
        manager: WebSocketManager,
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
        self._tenancy = tenancy
        self._manager = manager
        self._content = content
        self._queue = queue
        self._permissions = permissions
        self._trail = AuditRecorder(audit, clock)
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
        """Notifications that pass all filters, newest first.

        Raises ``Forbidden`` for a filter by a user outside of the scope.
        """
        scope = self._scope(actor, READ)
        if filters.user_id is not None:
            await scope.require_users([filters.user_id])
        page = await self._store.page(
            window.limit,
            window.cursor,
            filters._replace(organization_id=scope.organization_id),
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
        """Where a user can be reached, and the organization that the user belongs to.

        Raises ``NotFound`` for a user outside of the scope.
        """
        await self._scope(actor, SEND).find_user(user_id)
        return await self._contact_view(user_id)

    async def replace_contacts(
        self, actor: Actor, user_id: str, request: ContactsRequest
    ) -> dict[str, Any]:
        """Enter where a user can be reached, in the place of what there was.

        And the organization that the user belongs to, where one is given: by a role that is not
        confined to one.
        """
        target = f"user:{user_id}"
        entered = request.organization_id
        with self._trail.denials(actor, "contacts", target):
            scope = self._scope(actor, SEND)
            if entered is None and scope.organization_id is not None:
                raise Forbidden("only a service or an administrator changes organization_id")
            if isinstance(entered, str):
                scope.require_organization(entered)
        await scope.find_user(user_id)
        contact = contact_of(user_id, request, self._reach)
        now = self._clock.wall()
        detail: dict[str, Any] = {}
        if entered is not UNSET and scope.organization_id is None:
            await self._enter(actor, user_id, entered, now)
            detail["organization_id"] = entered
        await self._contacts.put(contact, scope.organization_id, now)
        given = sorted(name for name in request.__struct_fields__ if getattr(request, name))
        self._trail.record(actor, "contacts", target, fields=given, **detail)
        return await self._contact_view(user_id)

    async def _enter(self, actor: Actor, user_id: str, entered: str | None, now: float) -> None:
        """Put a user into an organization, or leave that to the token; at once, where connected."""
        for connection in await self._tenancy.assign(user_id, entered, actor.claims.sub, now):
            self._manager.sessions.enforce_access(connection)

    async def _contact_view(self, user_id: str) -> dict[str, Any]:
        belongs_to = await self._tenancy.organizations_of([user_id])
        return contact_view(await self._contacts.get(user_id), belongs_to.get(user_id))

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

    def _scope(self, actor: Actor, permission: str) -> Scope:
        self._permissions.require(actor.claims, permission)
        return self._tenancy.scope(self._permissions.confined_to(actor.claims))

    async def _found(self, actor: Actor, permission: str, notification_id: str) -> Notification:
        scope = self._scope(actor, permission)
        found = await self._store.get(notification_id, scope.organization_id)
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
