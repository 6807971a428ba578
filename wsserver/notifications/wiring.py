"""Notifications put together: the parts that know each other, and their life."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from wsserver.addresses.reach import Reach
from wsserver.clock import Clock
from wsserver.errors import WsServerError
from wsserver.identity.permissions import Permissions
from wsserver.notifications.acknowledgements import Acknowledgements
from wsserver.notifications.channels.base import Channel
from wsserver.notifications.contact_book import ContactBook
from wsserver.notifications.content import Content
from wsserver.notifications.directory import Directory
from wsserver.notifications.metrics import Figures
from wsserver.notifications.notification_api import NotificationApi
from wsserver.notifications.queue import GRACE_S, DeliveryQueue
from wsserver.notifications.recipients import RecipientFinder, Recipients
from wsserver.notifications.rules import DigestRule, Retries
from wsserver.notifications.service import NotificationService
from wsserver.notifications.templates import Templates
from wsserver.protocol.notifications import DEFAULT_LOCALE, ChannelName, Locale
from wsserver.realtime.access.actor import Audit
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.realtime.manager import WebSocketManager
from wsserver.storage.engine.database import Database
from wsserver.storage.notifications.contacts import ContactStore
from wsserver.storage.notifications.deliveries import DeliveryStore
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NotificationSettings:
    """How notifications go out."""

    retries: Retries = field(default_factory=Retries)
    digest: DigestRule = field(default_factory=DigestRule)
    locale: Locale = DEFAULT_LOCALE
    inbox_retention_s: float = 7 * 86_400.0
    reach: Reach = field(default_factory=Reach)
    """Where the endpoints of push subscriptions may be."""


class Notifications:
    """Builds the parts; ``app.build()`` hands them on."""

    def __init__(
        self,
        *,
        channels: Mapping[ChannelName, Channel],
        contacts: ContactStore,
        templates: Templates,
        settings: NotificationSettings,
        acknowledgements: Acknowledgements,
        figures: Figures,
        manager: WebSocketManager,
        members: Members,
        directory: Directory,
        tenancy: Tenancy,
        permissions: Permissions,
        audit: Audit,
        database: Database,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        store = NotificationStore(database)
        content = Content(templates, settings.locale)
        self._content = content
        book = ContactBook(contacts, tenancy)
        self.figures = figures
        self.queue = DeliveryQueue(
            store=DeliveryStore(database),
            channels=channels,
            content=content,
            retries=settings.retries,
            digest=settings.digest,
            figures=figures,
            tenancy=tenancy,
            emit=manager.emit,
            clock=clock,
            tasks=tasks,
        )
        self.directory = directory
        self.finder = RecipientFinder(manager.hub, members, directory, tenancy)
        self.service = NotificationService(
            store=store,
            contacts=book,
            finder=self.finder,
            content=content,
            channels=channels,
            queue=self.queue,
            clock=clock,
            inbox_retention_s=settings.inbox_retention_s,
        )
        self.acknowledgements = acknowledgements
        self.desk = NotificationApi(
            service=self.service,
            store=store,
            contacts=book,
            tenancy=tenancy,
            manager=manager,
            content=content,
            queue=self.queue,
            permissions=permissions,
            audit=audit,
            clock=clock,
            reach=settings.reach,
        )

    async def start(self) -> None:
        """Take up what an earlier run has left, and begin. Raises ``StorageUnavailable``."""
        await self.acknowledgements.start()
        await self.queue.start()

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Begin nothing any more, and let end what is under way; acknowledgements still come."""
        await self.queue.stop(grace_s)

    async def tell_of_alert(self, rate: float, threshold: float) -> None:
        """Notify all administrators that there are many errors; a failure is logged."""
        text = self._content.templates.alert(rate, threshold, self._content.locale)
        try:
            await self.service.send_notification(
                Recipients(role="admin"), text.title, text.message, "error"
            )
        except WsServerError as error:
            log.warning("administrators not notified of an alert error=%s", error)

    async def settle(self) -> None:
        """Store what is known by now. Raises ``StorageUnavailable``, ``StorageFull``."""
        await self.acknowledgements.settle()
        await self.directory.flush()
