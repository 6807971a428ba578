"""Web context: the services that request handlers use, in one object."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wsserver.clock import Clock
from wsserver.cluster.nodes import Nodes
from wsserver.config import Settings
from wsserver.histogram import Histogram
from wsserver.identity.origins import Hosts, Origins, is_loopback_host
from wsserver.identity.permissions import Permissions
from wsserver.identity.tickets import Tickets
from wsserver.identity.tokens import TokenVerifier
from wsserver.notifications.feed_api import FeedApi
from wsserver.notifications.notification_api import NotificationApi
from wsserver.notifications.preference_api import PreferenceApi
from wsserver.notifications.webhook_api import WebhookApi
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.observability.clocks import Clocks
from wsserver.realtime.operations.admin_actions import AdminActions
from wsserver.realtime.operations.admin_queries import AdminQueries
from wsserver.realtime.operations.answers import Answers
from wsserver.realtime.operations.chaos import Chaos
from wsserver.realtime.operations.command_channels import CommandChannels
from wsserver.realtime.operations.message_changes import MessageChanges
from wsserver.realtime.operations.message_exports import ArchiveExports
from wsserver.realtime.operations.publishing import Publishing
from wsserver.realtime.operations.recordings import Recordings
from wsserver.realtime.operations.searching import Search
from wsserver.realtime.operations.session_actions import SessionActions
from wsserver.realtime.operations.user_records import UserRecords
from wsserver.realtime.tracing.tracing import Tracing
from wsserver.storage.maintenance.storage_statistics import StorageStatistics
from wsserver.storage.tables.audit import AuditLog
from wsserver.storage.tables.exports import Exports
from wsserver.storage.tables.idempotency import IdempotencyStore
from wsserver.storage.tables.snapshots import Snapshots
from wsserver.tasks import Tasks
from wsserver.telemetry.spans import Telemetry
from wsserver.web.api.access_log import AccessLog
from wsserver.web.api.console_pages import ConsolePage
from wsserver.web.api.console_sessions import ConsoleSessions
from wsserver.web.api.metric_sources import MetricSource
from wsserver.web.http.headers import Headers
from wsserver.web.http.held_bytes import HeldBytes
from wsserver.web.http.proxies import Proxies, is_local
from wsserver.web.http.traffic import Traffic
from wsserver.wire.poller import Poller


@dataclass(frozen=True, slots=True)
class Documents:
    """The rendered API description: OpenAPI, and its readable page."""

    openapi: dict[str, Any]
    openapi_json: bytes
    page_html: bytes


class LazyDocuments:
    """The API description, rendered at the first request for it.

    That takes a tenth of a second, which every start of a server would take longer, and most are
    never asked; so it is done in a thread.
    """

    def __init__(self, render: Callable[[], Documents]) -> None:
        self._render = render
        self._rendered: asyncio.Future[Documents] | None = None

    async def get(self) -> Documents:
        """The documents, the same ones at each call."""
        if self._rendered is None:
            self._rendered = asyncio.get_running_loop().run_in_executor(None, self._render)
        return await asyncio.shield(self._rendered)


@dataclass(kw_only=True)
class WebContext:
    """Services of the web layer, built by ``app.build``; shared by all requests."""

    settings: Settings
    clock: Clock
    tasks: Tasks
    verifier: TokenVerifier
    permissions: Permissions
    tickets: Tickets
    console_sessions: ConsoleSessions
    origins: Origins
    hosts: Hosts
    nodes: Nodes
    manager: WebSocketManager
    command_channels: CommandChannels
    recordings: Recordings
    chaos: Chaos
    telemetry: Telemetry
    poller: Poller
    """Also serves the sockets of clients that are refused with a close code."""
    admin_queries: AdminQueries
    publishing: Publishing
    message_changes: MessageChanges
    user_records: UserRecords
    search: Search
    admin_actions: AdminActions
    session_actions: SessionActions
    answers: Answers
    tracing: Tracing
    notifications: NotificationApi
    notification_preferences: PreferenceApi
    notification_feed: FeedApi
    webhooks: WebhookApi
    push_key: str | None
    """Public VAPID key for Web Push subscriptions; None without ``vapid_private_key``."""
    snapshots: Snapshots
    audit: AuditLog
    exports: Exports
    archive_exports: ArchiveExports
    idempotency: IdempotencyStore
    storage_statistics: StorageStatistics
    clocks: Clocks
    configured_channels: Collection[str]
    """Channels of notifications that have settings."""
    documents: LazyDocuments
    """The description of the API, made from the route table."""
    health: Callable[[], Mapping[str, Any]]
    """``status`` (``ok``, ``degraded``, ``starting``, ``draining``) and ``checks``."""
    histograms: Callable[[], Mapping[str, Mapping[tuple[str, ...], Histogram]]]
    """Durations since the start, by the name of their metric and the values of its labels."""
    metrics: MetricSource
    """Of this process, or of all workers of this machine."""
    extensions: Mapping[str, Any] = field(default_factory=dict)
    """By name, the object that the handlers of an extension's endpoints get."""
    console_pages: Mapping[str, Sequence[ConsolePage]] = field(default_factory=dict)
    """Pages of the console, by the name of their extension."""
    traffic: Traffic = field(default_factory=Traffic)
    access_log: AccessLog = field(init=False)
    unsent: HeldBytes = field(default_factory=HeldBytes)
    """Bytes of answers that clients have not read yet."""
    incoming: HeldBytes = field(default_factory=HeldBytes)
    """Bytes of request bodies that are incomplete."""
    proxies: Proxies = field(init=False)

    def __post_init__(self) -> None:
        self.proxies = Proxies(self.settings.trusted_proxies)
        self.access_log = AccessLog(
            self.traffic, is_on=self.settings.access_log, sample=self.settings.access_log_sample
        )

    def allows_host(self, host: str | None, peer: str, headers: Headers) -> bool:
        """Whether the Host header is allowed.

        A loopback Host is allowed to programs on this machine (``wsctl``, health checks), whatever
        ``allowed_hosts`` says, unless ``allow_loopback_hosts`` is off: DNS rebinding needs the name
        of a foreign site in Host. Not so behind a proxy on this machine, where any client can have
        sent it.
        """
        if self.hosts.allows(host):
            return True
        is_on = self.settings.allow_loopback_hosts
        return is_on and is_loopback_host(host) and is_local(peer, headers)
