"""Wiring of the whole system: ``build`` is its diagram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tornado.ioloop import IOLoop
from tornado.web import Application

from wsserver.channel_factory import (
    channels_of,
    publish_hook_of,
    push_channel_of,
    push_key_of,
    webhooks_of,
)
from wsserver.clock import Clock
from wsserver.cluster.worker_identity import WorkerIdentity
from wsserver.cluster_factory import seams_of
from wsserver.config import ConfigFaults, Fault, Settings, secret_bytes
from wsserver.config.channels import push_reach
from wsserver.config.files import read_key_file
from wsserver.database_factory import database_of
from wsserver.extending.context import Access, Chat, ExtensionContext, Pushes
from wsserver.extending.loading import Extensions
from wsserver.extending.wiring import build_parts
from wsserver.extension_registry import load_extensions
from wsserver.histogram import Histogram
from wsserver.http_client import fetch_document
from wsserver.identity.jwks import JwksKeys
from wsserver.identity.keys import FileKeys, KeySource, SecretKeys
from wsserver.identity.origins import Hosts, Origins
from wsserver.identity.permissions import Permissions
from wsserver.identity.revocations import Revocations
from wsserver.identity.tickets import Tickets
from wsserver.identity.tokens import TokenVerifier
from wsserver.notifications.acknowledgements import Acknowledgements
from wsserver.notifications.channels.base import Channel
from wsserver.notifications.channels.websocket import WebSocketChannel
from wsserver.notifications.delivery_policy import DigestRule, Retries
from wsserver.notifications.metrics import NotificationMetrics
from wsserver.notifications.service import NotificationService
from wsserver.notifications.templates import (
    TemplateFaults,
    TemplateFiles,
    Templates,
    load_templates,
)
from wsserver.notifications.user_directory import UserDirectory
from wsserver.notifications.webhook_api import WebhookApi
from wsserver.notifications.wiring import NotificationSettings, NotificationSubsystem
from wsserver.protocol.notifications import ChannelName
from wsserver.realtime.access.actor import AuditRecorder
from wsserver.realtime.access.memberships import AssignedOrganizations, Members
from wsserver.realtime.answers.owned_answers import AnswerSettings
from wsserver.realtime.commands.message_check import MessageChecks
from wsserver.realtime.connections.connection_log import ConnectionLog
from wsserver.realtime.connections.heartbeat import HeartbeatSettings
from wsserver.realtime.connections.hub import Hub, HubRecords
from wsserver.realtime.connections.rate_limit import MessageRate
from wsserver.realtime.live_side import LiveSettings
from wsserver.realtime.manager import ConnectionLimits, WebSocketManager
from wsserver.realtime.observability.clocks import Clocks
from wsserver.realtime.observability.statistics import Statistics
from wsserver.realtime.operations.message_changes import MessagesDeleted
from wsserver.realtime.operations.message_exports import ArchiveExports
from wsserver.realtime.operations.user_records import UserErased
from wsserver.realtime.streams.retention_policy import Retention
from wsserver.realtime.streams.streams import Streams
from wsserver.realtime.wiring import build_live
from wsserver.service import Service
from wsserver.storage.engine.database import Database
from wsserver.storage.maintenance.pruning import DAY_S, RetentionJob
from wsserver.storage.maintenance.storage_statistics import StorageStatistics
from wsserver.storage.messages.conversations import ConversationStore
from wsserver.storage.messages.message_exports import MessageExports
from wsserver.storage.messages.participant_pruning import ParticipantPruning
from wsserver.storage.notifications.acknowledgements import AcknowledgementStore
from wsserver.storage.notifications.away import remove_contents as remove_from_notices
from wsserver.storage.notifications.contacts import ContactStore
from wsserver.storage.notifications.known_users import KnownUserStore
from wsserver.storage.notifications.notifications import NotificationStore
from wsserver.storage.tables.access_lists import MemberStore, OrganizationStore, RevocationStore
from wsserver.storage.tables.audit import AuditLog
from wsserver.storage.tables.console_sessions import ConsoleSessionStore
from wsserver.storage.tables.exports import Exports
from wsserver.storage.tables.idempotency import IdempotencyStore
from wsserver.storage.tables.snapshots import Snapshots
from wsserver.storage.tables.webhooks import WebhookOutbox, remove_contents
from wsserver.tasks import Tasks
from wsserver.telemetry_factory import telemetry_of
from wsserver.traced_http import HttpClients
from wsserver.version import __version__
from wsserver.web.api.console_sessions import ConsoleSessions
from wsserver.web.api.context import WebContext
from wsserver.web.api.metric_sources import OwnMetrics, WorkerMetrics
from wsserver.web.resources.diagnostics import ReadDiagnostics, diagnostics_of
from wsserver.web.resources.metrics import own_metrics
from wsserver.web.resources.routes import RouteTable
from wsserver.web.server.application import api_documents, make_application
from wsserver.wire.poller import Poller
from wsserver.wire.writers import SingleWriter, best_writer


@dataclass(frozen=True)
class System:
    """What ``build`` returns: the service, and the Tornado application for its HTTP side."""

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
        """The ``WebSocketManager``, for plugins and embedding programs."""
        return self.service.manager


def build(
    settings: Settings,
    clock: Clock | None = None,
    *,
    worker: WorkerIdentity | None = None,
    extensions: Extensions | None = None,
) -> System:
    """Build the whole system; nothing runs before ``service.start()``.

    To be called on the event loop that will serve it; ``worker``: which of several it is. Raises
    ``ValueError`` for invalid keys or permissions, ``ConfigFaults`` for invalid templates and
    extensions; the program's start reports such faults before.
    """
    clock = clock or Clock()
    tasks = Tasks()
    if extensions is None:
        extensions = load_extensions(settings)
    database = database_of(settings, clock)

    # The seams to other processes
    seams = seams_of(settings, __version__, database, clock, worker)
    broker, control, leases = seams.broker, seams.control, seams.leases

    # Authentication, organizations, permissions
    permissions = Permissions(settings.permissions, extensions.permissions)
    revocations = Revocations(clock)
    revocation_store = RevocationStore(database)
    organizations = AssignedOrganizations(OrganizationStore(database))
    members = Members(MemberStore(database, settings.default_holder))
    tickets = Tickets(
        clock,
        revocations=revocations,
        leeway_s=settings.jwt_leeway_s,
        resolve=organizations.resolve,
        exchange=seams.tickets,
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

    # Records: audit trail, statistics, idempotency keys, and their retention
    audit = AuditLog(database)
    snapshots = Snapshots(database)
    idempotency = IdempotencyStore(database)
    outbox = WebhookOutbox(database)
    known_users = KnownUserStore(database)
    console_sessions = ConsoleSessionStore(database)
    retention_job = RetentionJob(
        snapshots,
        idempotency,
        audit,
        NotificationStore(database),
        known_users,
        outbox,
        console_sessions,
        ConversationStore(database),
        ParticipantPruning(database),
        snapshot_retention_days=settings.snapshot_retention_days,
        notification_retention_days=settings.notification_retention_days,
    )

    # The live side: connections, streams, delivery (``realtime.wiring`` has its diagram)
    hub = Hub(
        ConnectionLog(clock),
        organizations.resolve,
        follow=broker.follow,
        unfollow=broker.unfollow,
    )
    connections = seams.directory_of(HubRecords(hub, settings.node))
    directory = UserDirectory(
        known_users, hub, clock, organizations.get, is_alone=not database.is_shared
    )
    poller = Poller(
        IOLoop.current(),
        clock,
        queue_limit_bytes=settings.queue_limit_bytes,
        max_message_bytes=settings.max_message_bytes,
        coalesce_s=settings.coalesce_ms / 1000,
        deflate_min_bytes=settings.compression_min_bytes,
        before_write=seams.send_now,
        processes=seams.processes,
        writer=best_writer if settings.io_uring else SingleWriter,
    )
    metrics = NotificationMetrics()
    acknowledgements = Acknowledgements(AcknowledgementStore(database), metrics, clock, tasks)
    telemetry = telemetry_of(settings)
    publish_hook = publish_hook_of(settings, clock, telemetry)
    message_checks = MessageChecks()
    live = build_live(
        live_settings(settings, extensions.reserved_pushes),
        clock=clock,
        tasks=tasks,
        database=database,
        broker=broker,
        control=control,
        connections=connections,
        poller=poller,
        hub=hub,
        directory=directory,
        organizations=organizations,
        members=members,
        permissions=permissions,
        revocations=revocations,
        revocation_store=revocation_store,
        tickets=tickets,
        verifier=verifier,
        audit=audit,
        notification_receipts=acknowledgements,
        removals=[remove_contents, remove_from_notices, *extensions.removals],
        user_tables=extensions.user_tables,
        deletion_notes=extensions.deletion_notes,
        answer_notes=extensions.answer_notes,
        message_check=message_checks,
    )

    # Notifications by several channels, and webhooks
    contacts = ContactStore(database)
    push_channel = push_channel_of(settings, contacts, live.participants.count_unread, clock)
    channels: dict[ChannelName, Channel] = {
        "websocket": WebSocketChannel(live.router, clock),
        **channels_of(settings, clock),
        "push": push_channel,
    }
    notifications = NotificationSubsystem(
        channels=channels,
        contacts=contacts,
        templates=templates_of(settings, extensions.templates),
        settings=NotificationSettings(
            retries=Retries(settings.delivery_backoff_s, settings.delivery_attempts),
            digest=DigestRule(settings.digest_limit, settings.digest_window_s),
            locale=settings.default_locale,
            inbox_retention_s=settings.inbox_retention_s,
            reach=push_reach(settings),
            replay_budget_bytes=settings.queue_limit_bytes // 8 * 7,
            away_notify_s=settings.away_notify_s,
            away_channels=settings.away_channels,
        ),
        acknowledgements=acknowledgements,
        metrics=metrics,
        manager=live.manager,
        connections=connections,
        members=members,
        directory=directory,
        tenancy=live.tenancy,
        permissions=permissions,
        audit=audit,
        database=database,
        clock=clock,
        tasks=tasks,
        organization_of=organizations.get,
        receipts=live.receipts,
        writer=live.writer,
        control=control,
        hub=hub,
    )
    live.dispatcher.add_handlers(notifications.commands.table())
    live.statistics.add_source("notifications", metrics.view)
    webhooks = webhooks_of(settings, outbox, clock, telemetry)
    webhooks.listen(live.events)
    control.add_listener(MessagesDeleted, webhooks.deleted)
    control.add_listener(UserErased, directory.forget)

    # Extensions
    parts = build_parts(
        extensions,
        ExtensionContext(
            settings=settings,
            options=None,
            database=database,
            clock=clock,
            tasks=tasks,
            access=Access(
                permissions,
                live.tenancy,
                live.manager.sessions.access,
                AuditRecorder(audit, clock),
            ),
            pushes=Pushes(live.router, live.manager.monitors),
            chat=Chat(
                live.conversations,
                live.answers,
                live.streams,
                live.manager.sessions,
                live.session_actions,
                live.admin_actions,
                clock,
            ),
            events=live.events,
            notifications=notifications.service,
            control=control,
            leases=leases,
            statistics=live.statistics,
            tracing=live.tracing,
            make_http_client=HttpClients(telemetry),
        ),
        live.dispatcher,
    )

    for part in parts.values():
        for provider in part.push_providers:
            push_channel.add_provider(provider)
        for check in part.message_checks:
            message_checks.add(check)
        if part.erase_user is not None:
            live.user_records.add_eraser(part.erase_user)
    if publish_hook is not None:
        message_checks.add(publish_hook)  # decides on contents as they are going to be stored

    # Start, periodic work, stop
    service = Service(
        settings=settings,
        clock=clock,
        tasks=tasks,
        database=database,
        broker=broker,
        control=control,
        connections=connections,
        leases=leases,
        close_seams=seams.close,
        poller=poller,
        live=live,
        notifications=notifications,
        telemetry=telemetry,
        webhooks=webhooks,
        publish_hook=publish_hook,
        members=members,
        organizations=organizations,
        revocations=revocations,
        revocation_store=revocation_store,
        snapshots=snapshots,
        idempotency=idempotency,
        audit=audit,
        retention_job=retention_job,
        keys=keys,
        schemas=extensions.schemas,
        parts=parts,
    )

    # HTTP
    hosts = Hosts(settings.allowed_hosts or None, settings.host)
    routes = RouteTable(extensions.resources, extensions.errors)
    context = WebContext(
        settings=settings,
        clock=clock,
        tasks=tasks,
        verifier=verifier,
        permissions=permissions,
        tickets=tickets,
        console_sessions=ConsoleSessions(
            console_sessions, clock, revocations, organizations.resolve
        ),
        origins=Origins(settings.allowed_origins or None, hosts),
        hosts=hosts,
        nodes=live.nodes,
        manager=live.manager,
        telemetry=telemetry,
        command_channels=live.command_channels,
        recordings=live.recordings,
        chaos=live.chaos,
        poller=poller,
        admin_queries=live.admin_queries,
        publishing=live.publishing,
        message_changes=live.message_changes,
        user_records=live.user_records,
        search=live.search,
        admin_actions=live.admin_actions,
        session_actions=live.session_actions,
        answers=live.answers,
        tracing=live.tracing,
        notifications=notifications.api,
        notification_preferences=notifications.preferences,
        notification_feed=notifications.feed,
        webhooks=WebhookApi(webhooks, outbox, permissions, audit, clock),
        push_key=push_key_of(settings),
        snapshots=snapshots,
        audit=audit,
        exports=Exports(database),
        archive_exports=ArchiveExports(MessageExports(database), permissions, live.tenancy, clock),
        idempotency=idempotency,
        storage_statistics=StorageStatistics(database),
        clocks=Clocks(clock, settings.node, connections, database),
        configured_channels={name for name, each in channels.items() if each.is_configured},
        documents=api_documents(routes),
        health=service.health,
        extensions={name: part.service for name, part in parts.items()},
        console_pages=extensions.pages,
        histograms=partial(_histograms, live.statistics, database, metrics),
        metrics=OwnMetrics() if worker is None else WorkerMetrics(control, worker),
    )
    control.add_handler(ReadDiagnostics, partial(diagnostics_of, context))
    context.metrics.register(partial(own_metrics, context))
    return System(
        service=service,
        application=make_application(context, routes),
        tickets=tickets,
        verifier=verifier,
        hosts=hosts,
        notifications=notifications.service,
        streams=live.streams,
        context=context,
    )


def live_settings(
    settings: Settings, reserved_pushes: frozenset[str] = frozenset()
) -> LiveSettings:
    """The settings of the live side."""
    return LiveSettings(
        node=settings.node,
        heartbeat=HeartbeatSettings(settings.heartbeat_interval_s, settings.heartbeat_timeout_s),
        limits=ConnectionLimits(
            settings.max_connections,
            settings.max_connections_per_user,
            settings.connection_limit_policy,
        ),
        rate=MessageRate(settings.message_rate, settings.message_burst),
        sessions_per_connection=settings.max_sessions_per_connection,
        replay_budget_bytes=settings.queue_limit_bytes // 8 * 7,
        stream_limit=settings.stream_limit,
        retention=Retention(
            settings.stream_retention_s,
            settings.inbox_retention_s,
            settings.archive_retention_days * DAY_S,
        ),
        answers=AnswerSettings(
            settings.answer_max_bytes,
            settings.answer_timeout_s,
            settings.answer_rollup_ms / 1000,
        ),
        ack_timeout_s=settings.ack_timeout_s,
        ack_retries=settings.ack_retries,
        trace_retention_s=settings.trace_retention_s,
        reserved_pushes=reserved_pushes,
        token_leeway_s=settings.jwt_leeway_s,
        edit_window_s=settings.edit_window_s,
        chaos=settings.chaos,
        away_notify_s=settings.away_notify_s,
        default_holder=settings.default_holder,
    )


def templates_of(settings: Settings, more: Sequence[TemplateFiles] = ()) -> Templates:
    """The templates of notifications; raises ``ConfigFaults`` for invalid files."""
    try:
        return load_templates(settings.templates_dir, more)
    except TemplateFaults as found:
        faults = [Fault("templates_dir", "start", fault) for fault in found.faults]
        raise ConfigFaults(faults) from None


def key_source(settings: Settings, clock: Clock) -> KeySource:
    """The keys that tokens are verified with: a secret, a key file or a JWKS URL."""
    secret = secret_bytes(settings)
    if secret is not None:
        return SecretKeys(secret)
    if settings.jwt_public_key_file is not None:
        return FileKeys(read_key_file(settings.jwt_public_key_file))
    if settings.jwks_url is None:
        raise ValueError("no key configured: jwt_secret, jwt_public_key_file or jwks_url")
    return JwksKeys(settings.jwks_url, fetch_document, clock)


def _histograms(
    statistics: Statistics, database: Database, notifications: NotificationMetrics
) -> dict[str, dict[tuple[str, ...], Histogram]]:
    """Durations since the start, by the name of their metric and the values of its labels."""
    acknowledgements = notifications.acknowledgements()
    return {
        "delivery_duration_seconds": {(): statistics.deliveries},
        "ping_duration_seconds": {(): statistics.round_trips},
        "database_commit_duration_seconds": {(): database.commit_durations},
        "notification_acknowledgement_duration_seconds": {
            (channel,): histogram for channel, histogram in acknowledgements.items()
        },
    }
