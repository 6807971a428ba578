"""``ExtensionContext``: what an extension may use of the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from wsserver.addresses.reach import Reach
from wsserver.clock import Clock
from wsserver.cluster.control import Control
from wsserver.cluster.leases import Leases
from wsserver.config import Settings
from wsserver.identity.claims import Claims
from wsserver.identity.permissions import Permissions
from wsserver.notifications.http import HttpSend
from wsserver.notifications.service import NotificationService
from wsserver.realtime.access.actor import Actor, AuditRecorder
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.messages.message import Message, Sent
from wsserver.realtime.observability.events import EventBus
from wsserver.realtime.observability.monitors import Monitors
from wsserver.realtime.observability.statistics import Statistics
from wsserver.storage.engine.database import Database
from wsserver.tasks import Tasks

O = TypeVar("O")  # noqa: E741 - as in ExtensionContext[Options]


class MakeHttpClient(Protocol):
    """Makes a client for outgoing requests."""

    def __call__(self, reach: Reach | None, *, timeout_s: float = 10.0) -> HttpSend:
        """``reach``: the addresses that URLs may lead to; None: any, for URLs of the operator."""
        ...


class Access:
    """Who may do what, and with which organization's objects; and the audit trail."""

    def __init__(self, permissions: Permissions, tenancy: Tenancy, audit: AuditRecorder) -> None:
        self._permissions = permissions
        self.tenancy = tenancy
        self.audit = audit

    def allows(self, claims: Claims, permission: str) -> bool:
        """Whether the bearer of a token has a permission."""
        return self._permissions.allows(claims, permission)

    def scope(self, actor: Actor, permission: str) -> Scope:
        """What the requester may see and change: everything, or one organization.

        Raises ``Forbidden`` without the permission, which endpoints require already.
        """
        self._permissions.require(actor.claims, permission)
        return self.tenancy.scope(self._permissions.confined_to(actor.claims))


class Pushes:
    """Sends pushes to the connections of all nodes."""

    def __init__(self, router: Router, monitors: Monitors) -> None:
        self._router = router
        self._monitors = monitors

    async def send(self, message: Message) -> Sent:
        """Send a push to its target; with ``keep`` it is stored in the target's stream first.

        Raises ``StorageFull`` or ``StorageUnavailable`` for a message to be kept.
        """
        return await self._router.send(message)

    def post(self, message: Message) -> None:
        """Send a live push without waiting for its outcome."""
        self._router.post(message)

    def show(self, type_: str, members: Mapping[str, Any]) -> None:
        """Push to all monitors."""
        self._monitors.notify(type_, **members)


@dataclass(frozen=True, kw_only=True)
class ExtensionContext(Generic[O]):
    """The services of the server for one extension.

    On several nodes each has its own, and only the database, ``control`` and what is sent connects
    them: state in memory is that of one process.
    """

    settings: Settings
    """Of the whole server."""
    options: O
    """The table of the extension."""
    database: Database
    clock: Clock
    tasks: Tasks
    """Background tasks, which end with the server."""
    access: Access
    pushes: Pushes
    events: EventBus
    """``emit`` events of your own, or handle those of others."""
    notifications: NotificationService
    control: Control
    """Requests to other nodes."""
    leases: Leases
    """Jobs have theirs already."""
    statistics: Statistics
    """``add_source`` for figures of this node."""
    make_http_client: MakeHttpClient
