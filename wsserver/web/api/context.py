"""Everything that the handlers need from the rest of the system, in one object."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from wsserver.clock import Clock
from wsserver.config import Settings
from wsserver.identity.origins import Hosts, Origins, is_loopback_host
from wsserver.identity.permissions import Permissions
from wsserver.identity.tickets import Tickets
from wsserver.identity.tokens import TokenVerifier
from wsserver.notifications.notification_api import NotificationApi
from wsserver.notifications.webhook_api import WebhookApi
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.operations.admin_actions import AdminActions
from wsserver.realtime.operations.admin_queries import Inspection
from wsserver.realtime.operations.publishing import Publishing
from wsserver.realtime.tracing.tracing import Tracing
from wsserver.storage.maintenance.diagnosis import Diagnosis
from wsserver.storage.tables.audit import AuditLog
from wsserver.storage.tables.exports import Exports
from wsserver.storage.tables.idempotency import IdempotencyStore
from wsserver.storage.tables.snapshots import Snapshots
from wsserver.tasks import Tasks
from wsserver.web.api.access_log import AccessLog
from wsserver.web.api.documents import Documents
from wsserver.web.http.headers import Headers
from wsserver.web.http.proxies import Proxies, is_local
from wsserver.web.http.traffic import Traffic
from wsserver.web.http.unsent import HeldBytes
from wsserver.wire.poller import Poller


@dataclass(kw_only=True)
class WebContext:
    """What ``app.build`` hands to the web layer; made once, shared by all requests."""

    settings: Settings
    clock: Clock
    tasks: Tasks
    verifier: TokenVerifier
    permissions: Permissions
    tickets: Tickets
    origins: Origins
    hosts: Hosts
    manager: WebSocketManager
    poller: Poller
    """Also takes the sockets of clients that are refused with a close code."""
    inspection: Inspection
    publishing: Publishing
    administration: AdminActions
    tracing: Tracing
    desk: NotificationApi
    webhooks: WebhookApi
    push_key: str | None
    """What browsers subscribe to Web Push with; None: there is none."""
    snapshots: Snapshots
    audit: AuditLog
    exports: Exports
    idempotency: IdempotencyStore
    diagnosis: Diagnosis
    configured_channels: Collection[str]
    """Those by which notifications can go out."""
    health: Callable[[], Mapping[str, Any]]
    """``status`` (``ok``, ``degraded``, ``starting``, ``draining``) and ``checks``."""
    traffic: Traffic = field(default_factory=Traffic)
    access_log: AccessLog = field(init=False)
    unsent: HeldBytes = field(default_factory=HeldBytes)
    """Answers that were not fetched yet."""
    incoming: HeldBytes = field(default_factory=HeldBytes)
    """Bodies that have not come whole yet."""
    proxies: Proxies = field(init=False)
    documents: Documents = field(init=False)
    """Made from the route table when the application is made."""

    def __post_init__(self) -> None:
        self.proxies = Proxies(self.settings.trusted_proxies)
        self.access_log = AccessLog(
            self.traffic,
            is_on=self.settings.access_log,
            sample=self.settings.access_log_sample,
        )

    def allows_host(self, host: str | None, peer: str, headers: Headers) -> bool:
        """Is a request's Host one of this server's?

        A loopback one always is to programs on this machine (``wsctl``, health checks, units),
        whatever ``allowed_hosts`` says: DNS rebinding needs the name of a foreign site in Host.
        Behind a proxy on this machine it is not: there anybody can have sent it.
        """
        if self.hosts.allows(host):
            return True
        return is_loopback_host(host) and is_local(peer, headers)
