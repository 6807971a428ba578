"""Operations on notifications and contacts for REST: permissions, scope, audit, views."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from msgspec import UNSET
from msgspec.structs import asdict

from wsserver.addresses.reach import Reach
from wsserver.clock import Clock, rfc3339
from wsserver.errors import Forbidden, NotFound, ValidationFailed
from wsserver.identity.permissions import Permissions
from wsserver.notifications.contacts import TenantContacts, contact_of
from wsserver.notifications.delivery_policy import Sending, check_escalation
from wsserver.notifications.notification_queue import NotificationQueue
from wsserver.notifications.parameters import PARAMETERS, Kinds, check
from wsserver.notifications.recipients import KINDS, kind_faults, recipients_of
from wsserver.notifications.service import NotificationService
from wsserver.notifications.templates import Renderer, one_line
from wsserver.paging import Window
from wsserver.protocol.notifications import (
    Contact,
    ContactsRequest,
    Locale,
    NotifyRequest,
)
from wsserver.protocol.validation import Fault, gather, one_of
from wsserver.realtime.access.actor import Actor, Audit, AuditRecorder
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.storage.notifications.notification_rows import Delivery, Filters, Notification
from wsserver.storage.notifications.notifications import NotificationStore

SEND = "notifications:send"
READ = "notifications:read"
LISTED_DELIVERIES = 100
"""Deliveries shown of each notification in a list."""

_TEXT = ("title", "message", "type", "action_url", "auto_close")


@dataclass(eq=False, repr=False, kw_only=True)
class NotificationApi:
    """Operations of ``/notify``, ``/notifications`` and ``/users/{user_id}/contacts``."""

    service: NotificationService
    store: NotificationStore
    contact_book: TenantContacts
    tenancy: Tenancy
    renderer: Renderer
    queue: NotificationQueue
    permissions: Permissions
    audit: Audit
    clock: Clock
    reach: Reach

    def __post_init__(self) -> None:
        self._trail = AuditRecorder(self.audit, self.clock)

    def faults_of(self, request: NotifyRequest, bad: Collection[str] = ()) -> list[Fault]:
        """Faults of a request; of the members in ``bad``, only the presence is known."""
        return notify_faults(request, bad, self.renderer.templates.kinds)

    def query_faults(self, query: Mapping[str, str]) -> list[Fault]:
        """The fault of a filter by a template that there is not."""
        template, kinds = query.get("template"), self.renderer.templates.kinds
        if template is None or template in kinds:
            return []
        return [{"field": "template", "message": f"{template[:64]!r} is {one_of(tuple(kinds))}"}]

    async def notify(self, actor: Actor, request: NotifyRequest) -> dict[str, Any]:
        """Accept a notification; ``notification_id`` None: no new threshold, nothing sent."""
        faults = self.faults_of(request)
        if faults:
            raise ValidationFailed(faults)
        recipients = recipients_of(request)
        with self._trail.denials(actor, "notify", str(recipients)):
            self.permissions.require(actor.claims, SEND)
            sending = self._sending(actor, request)
            if request.template is not None:
                accepted = await self.service.send_template(
                    recipients, request.template, request.params or {}, sending
                )
            else:
                accepted = await self.service.send_notification(
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
        if actor.claims.role != "service":  # those of backends would flood the audit trail
            self._trail.record(
                actor,
                "notify",
                str(recipients),
                notification_id=accepted.notification_id,
                type=accepted.type,
                template=accepted.template,
                deliveries=sum(accepted.states.values()),
            )
        return notification_view(self.renderer, accepted)

    async def listing(self, actor: Actor, window: Window, filters: Filters) -> dict[str, Any]:
        """Notifications that pass all filters, newest first.

        Raises ``Forbidden`` for a filter by a user outside of the scope.
        """
        scope = self._scope(actor, READ)
        if filters.user_id is not None:
            await scope.require_users([filters.user_id])
        page = await self.store.page(
            window.limit,
            window.cursor,
            filters._replace(organization_id=scope.organization_id),
            LISTED_DELIVERIES,
        )
        views = []
        for each in page.items:  # up to a hundred thousand deliveries: not all in one go
            views.append(notification_view(self.renderer, each))
            await asyncio.sleep(0)
        return {"notifications": views, "total": page.total, "next_cursor": page.next_cursor}

    async def one(self, actor: Actor, notification_id: str) -> dict[str, Any]:
        """One notification; raises ``NotFound``."""
        found = await self._found(actor, READ, notification_id)
        return notification_view(self.renderer, found)

    async def retry(self, actor: Actor, notification_id: str) -> dict[str, Any]:
        """Retry dead letters and deliveries without channel or address; counted in ``retried``."""
        await self._found(actor, SEND, notification_id)
        retried = await self.store.retry(notification_id, self.clock.wall())
        self.queue.kick()
        return await self._changed(actor, "retry_notification", notification_id, retried=retried)

    async def cancel(self, actor: Actor, notification_id: str) -> dict[str, Any]:
        """Cancel deliveries that were not sent; ``cancelled``: their count."""
        await self._found(actor, SEND, notification_id)
        cancelled = await self.store.cancel(notification_id)
        return await self._changed(
            actor, "cancel_notification", notification_id, cancelled=cancelled
        )

    async def contacts(self, actor: Actor, user_id: str) -> dict[str, Any]:
        """Contact of a user, and the organization that the user belongs to.

        Raises ``NotFound`` for a user outside of the scope.
        """
        await self._scope(actor, SEND).find_user(user_id)
        return await self._contact_view(user_id)

    async def replace_contacts(
        self, actor: Actor, user_id: str, request: ContactsRequest
    ) -> dict[str, Any]:
        """Replace the contact of a user.

        With ``organization_id``, also the organization of the user: only by a role that is not
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
        contact = contact_of(user_id, request, self.reach)
        now = self.clock.wall()
        detail: dict[str, Any] = {}
        if entered is not UNSET and scope.organization_id is None:
            await self.tenancy.assign(user_id, entered, actor.claims.sub, now)
            detail["organization_id"] = entered
        await self.contact_book.put(contact, scope.organization_id, now)
        given = sorted(name for name in request.__struct_fields__ if getattr(request, name))
        self._trail.record(actor, "contacts", target, fields=given, **detail)
        return await self._contact_view(user_id)

    async def _contact_view(self, user_id: str) -> dict[str, Any]:
        belongs_to = await self.tenancy.organizations_of([user_id])
        return contact_view(await self.contact_book.get(user_id), belongs_to.get(user_id))

    def _sending(self, actor: Actor, request: NotifyRequest) -> Sending:
        escalate = request.escalate
        return Sending(
            channels=request.channels,
            escalate=None if escalate is None else [(e.after_s, e.channel) for e in escalate],
            expires_in_s=request.expires_in_s,
            sender=actor.claims.sub,
            confined_to=self.permissions.confined_to(actor.claims),
            once=actor.once,
        )

    def _scope(self, actor: Actor, permission: str) -> Scope:
        self.permissions.require(actor.claims, permission)
        return self.tenancy.scope(self.permissions.confined_to(actor.claims))

    async def _found(self, actor: Actor, permission: str, notification_id: str) -> Notification:
        scope = self._scope(actor, permission)
        found = await self.store.get(notification_id, scope.organization_id)
        if found is None:
            raise NotFound("notification", notification_id)
        return found

    async def _changed(
        self, actor: Actor, action: str, notification_id: str, **counted: Any
    ) -> dict[str, Any]:
        self._trail.record(actor, action, f"notification:{notification_id}", **counted)
        found = await self.store.get(notification_id)
        if found is None:  # its retention has just ended
            raise NotFound("notification", notification_id)
        return {**notification_view(self.renderer, found), **counted}


def notify_faults(
    request: NotifyRequest, bad: Collection[str] = (), kinds: Kinds = PARAMETERS
) -> list[Fault]:
    """Faults of a request; of the members in ``bad``, only the presence is known.

    ``kinds``: the parameters of all templates.
    """
    given = {
        name
        for name in request.__struct_fields__
        if name in bad or getattr(request, name) not in (None, False)
    }
    faults = kind_faults([name for name in KINDS if name in given])
    if "template" in given:
        text = [n for n in _TEXT if n in bad or getattr(request, n) is not None]
        faults += _each(text, "not together with template")
        if request.template is not None and "params" not in bad:
            template, params = request.template, request.params or {}
            faults += gather(lambda: check(template, params, kinds))
    else:
        if "params" in bad or request.params is not None:
            faults += _each(["params"], "only together with template")
        empty = [n for n in ("title", "message") if n not in bad and not _says(request, n)]
        faults += _each(empty, "required")
    if request.escalate is not None:
        steps = [(step.after_s, step.channel) for step in request.escalate]
        faults += gather(lambda: check_escalation(steps, request.expires_in_s))
    return faults


def _says(request: NotifyRequest, name: str) -> bool:
    value: str | None = getattr(request, name)
    return value is not None and bool(one_line(value))


def _each(names: Sequence[str], message: str) -> list[Fault]:
    return [{"field": name, "message": message} for name in names]


def notification_view(renderer: Renderer, notification: Notification) -> dict[str, Any]:
    """A notification with its deliveries, as REST shows it; texts in the default locale."""
    template = notification.template
    view: dict[str, Any] = {
        "notification_id": notification.notification_id,
        "created_at": rfc3339(notification.at),
        "expires_at": rfc3339(notification.expires_at),
        "type": notification.type,
        "template": template,
        "params": None if template is None else msgspec.json.decode(notification.content),
        **text_of(renderer, notification),
        "recipients": msgspec.json.decode(notification.recipients),
        "sender": notification.sender,
        "states": dict(notification.states),
        "deliveries": [delivery_view(each) for each in notification.deliveries],
    }
    view["truncated"] = len(notification.deliveries) < sum(notification.states.values())
    return view


def delivery_view(delivery: Delivery) -> dict[str, Any]:
    """A delivery with its attempts, as REST shows it."""
    view: dict[str, Any] = {
        "delivery_id": delivery.delivery_id,
        "channel": delivery.channel,
        "user_id": delivery.user_id,
        "state": delivery.state,
        "attempts": [
            {"at": rfc3339(each.at), "outcome": each.outcome, "detail": each.detail}
            for each in delivery.attempts
        ],
    }
    if delivery.state == "pending" and delivery.due_at is not None:
        view["next_attempt_at"] = rfc3339(delivery.due_at)
    if delivery.reason is not None and delivery.state in ("pending", "cancelled"):
        view["reason"] = delivery.reason
    for name in ("sent_at", "acknowledged_at"):
        at = getattr(delivery, name)
        if at is not None:
            view[name] = rfc3339(at)
    if delivery.unless_acknowledged:
        view["is_escalation"] = True
    return view


def contact_view(contact: Contact, organization_id: str | None) -> dict[str, Any]:
    """A contact with all members, and the organization of its user, as REST shows it."""
    view = asdict(contact)
    view["organization_id"] = organization_id
    view["push"] = [msgspec.to_builtins(each) for each in contact.push]
    view["devices"] = [msgspec.to_builtins(each) for each in contact.devices]
    view["quiet_hours"] = msgspec.to_builtins(contact.quiet_hours)
    return view


class Stored(Protocol):
    """What a text is rendered from."""

    @property
    def type(self) -> str:
        """The type."""
        ...

    @property
    def template(self) -> str | None:
        """The template; None: the content has the texts."""
        ...

    @property
    def content(self) -> str:
        """JSON."""
        ...


def text_of(renderer: Renderer, stored: Stored, locale: Locale | None = None) -> dict[str, Any]:
    """Type and text of a stored notification; None: in the default locale."""
    try:
        rendered = renderer.render(stored.type, stored.template, stored.content, locale)
    except ValidationFailed as error:  # its template no longer accepts the parameters
        empty = {"message": "", "action_url": None, "auto_close": False}
        return {"title": error.message, "type": stored.type, **empty}
    return {
        "title": rendered.title,
        "message": rendered.message,
        "type": rendered.type,
        "action_url": rendered.action_url,
        "auto_close": rendered.auto_close,
    }
