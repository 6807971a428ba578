"""Builds the whole system: this function is its diagram."""

from __future__ import annotations

from dataclasses import dataclass

from tornado.ioloop import IOLoop
from tornado.web import Application

from wsserver.brokers.memory import MemoryBroker
from wsserver.channel_factory import channels_of, push_key_of, webhooks_of
from wsserver.clock import Clock
from wsserver.config import ConfigFaults, Fault, Settings, secret_bytes
from wsserver.config.channels import push_reach
from wsserver.config.files import read_key_file
from wsserver.http_client import fetch_document
from wsserver.identity.jwks import JwksKeys
from wsserver.identity.keys import FileKeys, KeySource, SecretKeys
from wsserver.identity.origins import Hosts, Origins
from wsserver.identity.permissions import Permissions
from wsserver.identity.revocations import Revocations
from wsserver.identity.tickets import Tickets
from wsserver.identity.tokens import TokenVerifier
from wsserver.notifications.channels.base import Channel
from wsserver.notifications.channels.websocket import WebSocketChannel
from wsserver.notifications.directory import Directory
from wsserver.notifications.rules import DigestRule, Retries
from wsserver.notifications.service import NotificationService
from wsserver.notifications.templates import TemplateFaults, Templates, load_templates
from wsserver.notifications.webhook_api import WebhookApi
from wsserver.notifications.wiring import Notifications, NotificationSettings
from wsserver.protocol.notifications import ChannelName
from wsserver.realtime.access.access import SessionAccess
from wsserver.realtime.access.members import Members
from wsserver.realtime.access.organizations import EnteredOrganizations
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.realtime.commands.chat_commands import ChatCommands
from wsserver.realtime.commands.monitor_commands import MonitorCommands
from wsserver.realtime.commands.receipt_commands import ReceiptCommands
from wsserver.realtime.commands.stream_commands import StreamCommands
from wsserver.realtime.connect_state import Arrivals
from wsserver.realtime.connections.connection_log import ConnectionLog
from wsserver.realtime.connections.heartbeat import HeartbeatSettings
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.connections.rate_limit import MessageRate
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.delivery.trace_buffer import Traces
from wsserver.realtime.delivery_wiring import Deliveries, DeliverySettings
from wsserver.realtime.dispatcher import Dispatcher
from wsserver.realtime.manager import ConnectionLimits, WebSocketManager
from wsserver.realtime.observability.events import EventBus
from wsserver.realtime.observability.statistics import Statistics
from wsserver.realtime.operations.admin_actions import AdminActions
from wsserver.realtime.operations.admin_queries import Inspection
from wsserver.realtime.operations.publishing import Publishing
from wsserver.realtime.streams.retention_policy import Retention
from wsserver.realtime.streams.stream import TAIL_LIMIT_BYTES
from wsserver.realtime.streams.streams import Streams
from wsserver.realtime.tracing.tracing import Tracing
from wsserver.service import Parts, Service
from wsserver.storage.engine.database import Database
from wsserver.storage.maintenance.diagnosis import Diagnosis
from wsserver.storage.maintenance.retention_job import RetentionJob
from wsserver.storage.messages.receipts import ReceiptStore
from wsserver.storage.messages.streams import StreamStore
from wsserver.storage.notifications.contacts import ContactStore
from wsserver.storage.notifications.known_users import KnownUserStore
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.storage.tables.audit import AuditLog
from wsserver.storage.tables.exports import Exports
from wsserver.storage.tables.idempotency import IdempotencyStore
from wsserver.storage.tables.members import MemberStore
from wsserver.storage.tables.organizations import OrganizationStore
from wsserver.storage.tables.revocations import RevocationStore
from wsserver.storage.tables.snapshots import Snapshots
from wsserver.storage.tables.webhooks import WebhookOutbox
from wsserver.tasks import Tasks
from wsserver.web.api.context import WebContext
from wsserver.web.server.application import make_application
from wsserver.wire.poller import Poller
from wsserver.wire.writers import SingleWriter, best_writer


@dataclass(frozen=True)
class System:
    """What ``build`` has built: the service, and the Tornado application in front of it."""

    service: Service
    application: Application
    tickets: Tickets
    verifier: TokenVerifier
    hosts: Hosts
    notifications: NotificationService
    streams: Streams
    context: WebContext

    @property
    def manager(self) -> WebSocketManager:
        """The face of the live side, for plugins and embedding programs."""
        return self.service.manager


def build(settings: Settings, clock: Clock | None = None) -> System:
    """Wire the whole system together; nothing runs before ``service.start()``.

    To be called on the event loop that will serve it. Raises ``ValueError`` for keys or
    permissions that cannot be used, ``ConfigFaults`` for templates; the start of the program has
    found such faults already.
    """
    clock = clock or Clock()
    tasks = Tasks()

    database = Database(settings.database, synchronous=settings.synchronous, clock=clock)

    # Who is asking, where they belong, and what they may do
    permissions = Permissions(settings.permissions)
    revocations = Revocations(clock)
    organizations = EnteredOrganizations(OrganizationStore(database))
    tickets = Tickets(
        clock,
        revocations=revocations,
        leeway_s=settings.jwt_leeway_s,
        resolve=organizations.resolve,
    )
    keys = key_source(settings, clock)
    verifier = TokenVerifier(
        keys,
        settings.jwt_algorithm,
        clock,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        revocations=revocations,
        leeway_s=settings.jwt_leeway_s,
        user_claim=settings.jwt_user_claim,
        resolve=organizations.resolve,
    )

    # What is stored
    audit = AuditLog(database)
    snapshots = Snapshots(database)
    idempotency = IdempotencyStore(database)
    upkeep = RetentionJob(
        snapshots,
        idempotency,
        audit,
        NotificationStore(database),
        KnownUserStore(database),
        WebhookOutbox(database),
        snapshot_retention_days=settings.snapshot_retention_days,
        notification_retention_days=settings.notification_retention_days,
    )
    revocation_store = RevocationStore(database)
    members = Members(MemberStore(database))

    # Who is connected, and what reaches them
    attendance = ConnectionLog(clock)
    traces = Traces(attendance, clock, settings.trace_retention_s)
    hub = Hub(attendance, organizations.resolve)
    broker = MemoryBroker()
    statistics = Statistics(clock, settings.node)
    poller = Poller(
        IOLoop.current(),
        clock,
        queue_limit_bytes=settings.queue_limit_bytes,
        max_message_bytes=settings.max_message_bytes,
        coalesce_s=settings.coalesce_ms / 1000,
        deflate_min_bytes=settings.compression_min_bytes,
        writer=best_writer if settings.io_uring else SingleWriter,
    )
    replay_budget = settings.queue_limit_bytes // 8 * 7
    store = StreamStore(database)
    receipt_store = ReceiptStore(database)
    streams = Streams(
        store,
        broker.publish,
        clock,
        tasks,
        replay_limit=settings.stream_limit,
        tail_limit_bytes=max(TAIL_LIMIT_BYTES, replay_budget),
        cork=poller.cork,
    )
    directory = Directory(KnownUserStore(database), hub, clock, organizations.get)
    tenancy = Tenancy(hub, members, organizations, directory, streams.writers)
    access = SessionAccess(permissions, members.is_member, tenancy)
    retention = Retention(settings.stream_retention_s, settings.inbox_retention_s)
    router = Router(hub, broker, poller, statistics, clock, streams, traces, retention)
    manager = WebSocketManager(
        hub=hub,
        router=router,
        poller=poller,
        events=EventBus(tasks, clock, statistics.handler_failed),
        statistics=statistics,
        access=access,
        members=members,
        heartbeat=HeartbeatSettings(settings.heartbeat_interval_s, settings.heartbeat_timeout_s),
        limits=ConnectionLimits(
            settings.max_connections,
            settings.max_connections_per_user,
            settings.connection_limit_policy,
        ),
        clock=clock,
        streams=streams,
        token_leeway_s=settings.jwt_leeway_s,
    )
    deliveries = Deliveries(
        manager,
        router,
        store,
        receipt_store,
        clock,
        tasks,
        DeliverySettings(
            settings.ack_timeout_s, settings.ack_retries, settings.stream_limit, replay_budget
        ),
    )
    deliveries.statuses.add_listener(traces.marked)
    streams.on_unreached = deliveries.inboxes.queued
    router.inboxes = deliveries.inboxes
    manager.arrivals = Arrivals(streams, deliveries.inboxes, access, revocations.check)

    # What reaches people also when they are not connected
    contacts = ContactStore(database)
    channels: dict[ChannelName, Channel] = {
        "websocket": WebSocketChannel(router, clock),
        **channels_of(settings, contacts, clock),
    }
    notifications = Notifications(
        channels=channels,
        contacts=contacts,
        templates=templates_of(settings),
        settings=NotificationSettings(
            retries=Retries(settings.delivery_backoff_s, settings.delivery_attempts),
            digest=DigestRule(settings.digest_limit, settings.digest_window_s),
            locale=settings.default_locale,
            inbox_retention_s=settings.inbox_retention_s,
            reach=push_reach(settings),
        ),
        manager=manager,
        members=members,
        directory=directory,
        tenancy=tenancy,
        permissions=permissions,
        audit=audit,
        database=database,
        clock=clock,
        tasks=tasks,
    )
    deliveries.receipts.notified = notifications.acknowledgements
    statistics.add_source("notifications", notifications.figures.view)
    outbox = WebhookOutbox(database)
    webhooks = webhooks_of(settings, outbox, clock)
    webhooks.listen(manager.events)

    # What operators and backends may do, over REST and over a monitor's socket alike
    inspection = Inspection(manager, permissions, tenancy, streams)
    publishing = Publishing(
        hub, router, permissions, members, tenancy, audit, manager.events, clock
    )
    administration = AdminActions(
        manager, permissions, members, tenancy, revocations, revocation_store, tickets, audit, clock
    )
    tracing = Tracing(
        traces, hub, members, access, permissions, tenancy, store, receipt_store, clock
    )
    chat = ChatCommands(manager, router, verifier, clock)
    looking_back = StreamCommands(
        manager.sessions, streams, replay_budget, settings.max_sessions_per_connection
    )
    monitor = MonitorCommands(manager.monitors, inspection, publishing, administration)
    manager.dispatcher = Dispatcher(
        chat.table() | looking_back.table() | ReceiptCommands(deliveries.receipts).table(),
        monitor.table(),
        MessageRate(settings.message_rate, settings.message_burst),
        statistics,
        clock,
        tasks,
        manager.close,
    )

    service = Service(
        Parts(
            settings=settings,
            clock=clock,
            tasks=tasks,
            database=database,
            broker=broker,
            poller=poller,
            streams=streams,
            store=store,
            deliveries=deliveries,
            notifications=notifications,
            webhooks=webhooks,
            manager=manager,
            traces=traces,
            members=members,
            organizations=organizations,
            revocations=revocations,
            revocation_store=revocation_store,
            snapshots=snapshots,
            audit=audit,
            upkeep=upkeep,
            keys=keys,
        )
    )
    hosts = Hosts(settings.allowed_hosts or None, settings.host)
    context = WebContext(
        settings=settings,
        clock=clock,
        tasks=tasks,
        verifier=verifier,
        permissions=permissions,
        tickets=tickets,
        origins=Origins(settings.allowed_origins or None, hosts),
        hosts=hosts,
        manager=manager,
        poller=poller,
        inspection=inspection,
        publishing=publishing,
        administration=administration,
        tracing=tracing,
        desk=notifications.desk,
        webhooks=WebhookApi(webhooks, outbox, permissions, audit, clock),
        push_key=push_key_of(settings),
        snapshots=snapshots,
        audit=audit,
        exports=Exports(database),
        idempotency=idempotency,
        diagnosis=Diagnosis(database),
        configured_channels={name for name, each in channels.items() if each.is_configured},
        health=service.health,
    )
    return System(
        service=service,
        application=make_application(context),
        tickets=tickets,
        verifier=verifier,
        hosts=hosts,
        notifications=notifications.service,
        streams=streams,
        context=context,
    )


def templates_of(settings: Settings) -> Templates:
    """The texts of notifications; raises ``ConfigFaults`` for files that cannot be used."""
    try:
        return load_templates(settings.templates_dir)
    except TemplateFaults as found:
        faults = [Fault("templates_dir", "start", fault) for fault in found.faults]
        raise ConfigFaults(faults) from None


def key_source(settings: Settings, clock: Clock) -> KeySource:
    """The keys that tokens are checked with, from wherever the settings say."""
    secret = secret_bytes(settings)
    if secret is not None:
        return SecretKeys(secret)
    if settings.jwt_public_key_file is not None:
        return FileKeys(read_key_file(settings.jwt_public_key_file))
    if settings.jwks_url is None:
        raise ValueError("no source of keys")
    return JwksKeys(settings.jwks_url, fetch_document, clock)
