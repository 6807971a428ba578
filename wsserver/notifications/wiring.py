"""Wiring of the notification subsystem: builds, starts and stops its parts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from wsserver.addresses.reach import Reach
from wsserver.clock import Clock
from wsserver.cluster.control import Control
from wsserver.cluster.directory import ConnectionDirectory
from wsserver.errors import WsServerError
from wsserver.identity.permissions import Permissions
from wsserver.notifications.acknowledgements import Acknowledgements
from wsserver.notifications.away import AwayNotices
from wsserver.notifications.channels.base import Channel
from wsserver.notifications.contacts import TenantContacts
from wsserver.notifications.delivery_policy import DigestRule, Retries
from wsserver.notifications.delivery_queue import GRACE_S
from wsserver.notifications.feed_api import FeedApi
from wsserver.notifications.feed_pushes import FeedPushes
from wsserver.notifications.metrics import NotificationMetrics
from wsserver.notifications.notification_api import NotificationApi
from wsserver.notifications.notification_commands import NotificationCommands
from wsserver.notifications.notification_queue import NotificationQueue
from wsserver.notifications.own_or_staff import OwnOrStaff
from wsserver.notifications.preference_api import PreferenceApi
from wsserver.notifications.preferences import DeliveryRules
from wsserver.notifications.recipients import RecipientFinder, Recipients
from wsserver.notifications.service import NotificationService
from wsserver.notifications.templates import Renderer, Templates
from wsserver.notifications.user_directory import UserDirectory
from wsserver.protocol.notifications import DEFAULT_LOCALE, ChannelName, Locale
from wsserver.realtime.access.actor import Audit
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.local_delivery import ConnectionWriter
from wsserver.realtime.inbox.receipt_recorder import ReceiptRecorder
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.observability.events import USER_CONNECTED
from wsserver.storage.engine.database import Database
from wsserver.storage.notifications.away import AwayStore
from wsserver.storage.notifications.contacts import ContactStore
from wsserver.storage.notifications.deliveries import DeliveryStore
from wsserver.storage.notifications.feed import FeedStore
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.storage.notifications.preferences import PreferenceStore
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NotificationSettings:
    """Settings of the subsystem."""

    retries: Retries = field(default_factory=Retries)
    digest: DigestRule = field(default_factory=DigestRule)
    locale: Locale = DEFAULT_LOCALE
    inbox_retention_s: float = 7 * 86_400.0
    reach: Reach = field(default_factory=Reach)
    """Allowed addresses of push endpoints."""
    replay_budget_bytes: int = 1024 * 1024 // 8 * 7
    """Bytes that may be queued for one connection."""
    away_notify_s: float = 0.0
    """0: absent members of sessions are not notified of messages."""
    away_channels: Sequence[ChannelName] = ("push",)


class NotificationSubsystem:
    """Builds the parts, starts and stops them."""

    def __init__(
        self,
        *,
        channels: Mapping[ChannelName, Channel],
        contacts: ContactStore,
        templates: Templates,
        settings: NotificationSettings,
        acknowledgements: Acknowledgements,
        metrics: NotificationMetrics,
        manager: WebSocketManager,
        connections: ConnectionDirectory,
        members: Members,
        directory: UserDirectory,
        tenancy: Tenancy,
        permissions: Permissions,
        audit: Audit,
        database: Database,
        clock: Clock,
        tasks: Tasks,
        organization_of: Callable[[str], str | None],
        receipts: ReceiptRecorder,
        writer: ConnectionWriter,
        control: Control,
        hub: Hub,
    ) -> None:
        store = NotificationStore(database)
        renderer = Renderer(templates, settings.locale)
        self._renderer = renderer
        tenant_contacts = TenantContacts(contacts, tenancy)
        self.metrics = metrics
        feed_store = FeedStore(database)
        self.feed_pushes = FeedPushes(feed_store, hub, writer, control, clock, tasks)
        acknowledgements.add_read_listener(self.feed_pushes.read)
        self.queue = NotificationQueue(
            store=DeliveryStore(database, settings.digest.held_until, DeliveryRules()),
            channels=channels,
            renderer=renderer,
            retries=settings.retries,
            metrics=self.metrics,
            tenancy=tenancy,
            emit=manager.emit,
            clock=clock,
            tasks=tasks,
            delivered=self.feed_pushes.grown,
        )
        self.directory = directory
        self.finder = RecipientFinder(connections, members, directory, tenancy)
        self.service = NotificationService(
            store=store,
            contacts=tenant_contacts,
            finder=self.finder,
            renderer=renderer,
            channels=channels,
            queue=self.queue,
            clock=clock,
            inbox_retention_s=settings.inbox_retention_s,
        )
        self.away: AwayNotices | None = None
        if settings.away_notify_s > 0:
            self.away = AwayNotices(
                AwayStore(database),
                self.service,
                clock,
                organization_of,
                after_s=settings.away_notify_s,
                channels=settings.away_channels,
            )
            manager.add_event_handler(USER_CONNECTED, self.away.connected)
        self.acknowledgements = acknowledgements
        self.api = NotificationApi(
            service=self.service,
            store=store,
            contact_book=tenant_contacts,
            tenancy=tenancy,
            renderer=renderer,
            queue=self.queue,
            permissions=permissions,
            audit=audit,
            clock=clock,
            reach=settings.reach,
        )

        access = OwnOrStaff(permissions=permissions, tenancy=tenancy)
        self.preferences = PreferenceApi(
            store=PreferenceStore(database),
            contact_book=tenant_contacts,
            templates=templates,
            access=access,
            audit=audit,
            clock=clock,
        )
        self.feed = FeedApi(
            store=feed_store,
            pushes=self.feed_pushes,
            receipts=receipts,
            contact_book=tenant_contacts,
            renderer=renderer,
            access=access,
            clock=clock,
            tasks=tasks,
        )
        self.commands = NotificationCommands(
            self.preferences, self.feed, settings.replay_budget_bytes
        )

    async def start(self) -> None:
        """Resume what an earlier run left, and begin. Raises ``StorageUnavailable``."""
        await self.acknowledgements.start()
        await self.queue.start()

    async def resume(self) -> None:
        """Go on with what a lost process left. Raises ``StorageUnavailable``."""
        await self.acknowledgements.start()
        await self.queue.release()

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Stop delivering; acknowledgements are still accepted, until ``settle``."""
        await self.queue.stop(grace_s)

    async def send_alert(self, rate: float, threshold: float) -> None:
        """Notify all administrators of a high error rate; a failure is logged."""
        text = self._renderer.templates.alert(rate, threshold, self._renderer.locale)
        try:
            await self.service.send_notification(
                Recipients(role="admin"), text.title, text.message, "error"
            )
        except WsServerError as error:
            log.warning("administrators not notified of an alert error=%s", error)

    async def settle(self) -> None:
        """Store what is in memory. Raises ``StorageUnavailable``, ``StorageFull``."""
        await self.acknowledgements.settle()
        await self.directory.flush()
