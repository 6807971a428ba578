"""``ExtensionContext``: what an extension may use of the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from msgspec import UNSET
from msgspec.json import decode

from wsserver.addresses.reach import Reach
from wsserver.clock import Clock, rfc3339
from wsserver.cluster.control import Control
from wsserver.cluster.leases import Leases
from wsserver.config import Settings
from wsserver.identity.claims import Claims
from wsserver.identity.permissions import Permissions
from wsserver.notifications.http import KEPT_BYTES, HttpRequest, HttpSend
from wsserver.notifications.service import NotificationService
from wsserver.protocol.ids import new_id
from wsserver.protocol.pushes import NewMessage, message_of
from wsserver.protocol.requests import MembersRequest, Sender, SessionRequest
from wsserver.protocol.targets import session
from wsserver.realtime.access.actor import Actor, AuditRecorder
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.messages.message import Message, Sent
from wsserver.realtime.observability.events import EventBus
from wsserver.realtime.observability.monitors import Monitors
from wsserver.realtime.observability.statistics import Statistics
from wsserver.realtime.operations.admin_actions import AdminActions
from wsserver.realtime.operations.answers import Answers
from wsserver.realtime.operations.session_actions import SessionActions
from wsserver.realtime.sessions.conversations import Conversations
from wsserver.realtime.sessions.sessions import Sessions
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.realtime.streams.streams import Streams
from wsserver.realtime.tracing.tracing import Tracing
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.message_rows import TransactionHook
from wsserver.tasks import Tasks

O = TypeVar("O")  # noqa: E741 - as in ExtensionContext[Options]


class HttpStreaming(Protocol):
    """An answer whose body is read while it arrives."""

    status: int
    headers: dict[str, str]
    """By name in lower case."""

    async def read(self) -> bytes:
        """The bytes that have arrived, waiting for some; ``b""`` at the end of the body.

        Raises ``NoAnswer``.
        """
        ...


class HttpExchange(HttpSend, Protocol):
    """Sends requests, and may read an answer while it arrives."""

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpStreaming]:
        """Send a request; at the end of the block the connection is closed. Raises as a call.

        ``timeout_s`` of the client is the longest time without a byte.
        """
        ...


class MakeHttpClient(Protocol):
    """Makes a client for outgoing requests."""

    def __call__(
        self,
        reach: Reach | None,
        *,
        timeout_s: float = 10.0,
        trace: str | None = None,
        kept_bytes: int = KEPT_BYTES,
    ) -> HttpExchange:
        """``reach``: the addresses that URLs may lead to; None: any, for URLs of the operator.

        ``trace``: requests are spans of this name and carry ``traceparent`` and ``tracestate``, for
        receivers of one's own; None: they belong to no trace. ``kept_bytes``: of an answer's body.
        """
        ...


class Access:
    """Who may do what, and with which organization's objects; and the audit trail."""

    def __init__(
        self,
        permissions: Permissions,
        tenancy: Tenancy,
        sessions: SessionAccess,
        audit: AuditRecorder,
    ) -> None:
        self._permissions = permissions
        self.tenancy = tenancy
        self.sessions = sessions
        """Who may enter a session."""
        self.audit = audit

    def allows(self, claims: Claims, permission: str) -> bool:
        """Whether the bearer of a token has a permission."""
        return self._permissions.allows(claims, permission)

    async def may_enter(self, claims: Claims, session_id: str) -> bool:
        """Whether the bearer of a token may enter a session. Raises ``StorageUnavailable``."""
        await self.sessions.prepare(claims, session_id)
        return self.sessions.allows(claims, session_id)

    async def organization_of(self, session_id: str) -> str | None:
        """The only organization that a session belongs to; None: none, or several.

        Raises ``StorageUnavailable``.
        """
        owners = (await self.tenancy.owners_of([session_id]))[session_id]
        return next(iter(owners)) if len(owners) == 1 else None

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

    async def send_checked(self, message: Message, hook: TransactionHook) -> Sent:
        """Store a message, run ``hook`` in the same transaction, and send it.

        Raises as ``send``, and what the hook refuses it with.
        """
        (sent,) = await self._router.keep_checked(message, hook)
        if sent.refusal is not None:
            raise sent.refusal
        return sent

    def post(self, message: Message) -> None:
        """Send a live push without waiting for its outcome."""
        self._router.post(message)

    def show(self, type_: str, members: Mapping[str, Any]) -> None:
        """Push to all monitors."""
        self._monitors.notify(type_, **members)


class Chat:
    """Sessions and what is said in them, for extensions."""

    def __init__(
        self,
        conversations: Conversations,
        answers: Answers,
        streams: Streams,
        sessions: Sessions,
        session_actions: SessionActions,
        admin_actions: AdminActions,
        clock: Clock,
    ) -> None:
        self.conversations = conversations
        """The state and the holder of sessions; nothing is asked about permissions."""
        self.answers = answers
        """Answers that grow; they have an actor, who needs ``messages:publish``."""
        self._streams = streams
        self._sessions = sessions
        self._session_actions = session_actions
        self._admin_actions = admin_actions
        self._clock = clock

    async def users_of(self, session_id: str) -> set[str]:
        """The members of a session, and the users who are in it now on any node."""
        return {*self._sessions.members_of(session_id), *await self._sessions.present(session_id)}

    def connections_here(self, user_id: str, session_id: str) -> list[ConnectionInfo]:
        """The connections of a user on this node that have joined a session."""
        return self._sessions.connections_here(user_id, session_id)

    async def history(self, session_id: str, limit: int) -> list[Any]:
        """The newest messages of a session, decoded, in ascending order.

        Raises ``StorageUnavailable``.
        """
        page = await self._streams.history(SESSION + session_id, None, limit=limit)
        return [decode(payload) for payload in page.messages]

    async def records_after(self, session_id: str, offset: int, limit: int) -> list[Any]:
        """The messages and change records of a session after an offset, decoded, ascending.

        Raises ``StorageUnavailable``.
        """
        page = await self._streams.history(
            SESSION + session_id, None, after=offset, limit=limit, with_changes=True
        )
        return [decode(payload) for payload in page.messages]

    def message(
        self,
        session_id: str,
        content: Any,
        content_type: str,
        *,
        user_id: str,
        username: str | None = None,
        role: str | None = None,
        reply_to: str | None = None,
        dedup: tuple[str, str] | None = None,
    ) -> Message:
        """A kept ``new_message`` of a sender who need not be a user, for ``Pushes.send``.

        ``reply_to``: id of a message of the session; ``dedup``: scope and key, by which a repeated
        message is recognized for 24 hours.
        """
        wall = self._clock.wall()
        message_id = new_id("msg", wall)
        fields = NewMessage(
            session_id=session_id,
            content=content,
            content_type=content_type,
            sender=Sender(user_id=user_id, username=username, role=role),
            reply_to=UNSET if reply_to is None else reply_to,
        )
        return Message(
            type="new_message",
            members={
                "session_id": session_id,
                "message": message_of(message_id, fields, rfc3339(wall)),
            },
            target=session(session_id),
            message_id=message_id,
            keep=True,
            sender=user_id,
            dedup=dedup,
            replies_to=None if reply_to is None else (SESSION + session_id, reply_to),
        )

    async def assign(self, actor: Actor, session_id: str, organization_id: str) -> None:
        """Set the organization of a session; see ``SessionActions.change``."""
        request = SessionRequest(organization_id=organization_id)
        await self._session_actions.change(actor, session_id, request)

    async def replace_members(self, actor: Actor, session_id: str, user_ids: Sequence[str]) -> None:
        """Replace the members of a session; see ``AdminActions.replace_members``."""
        request = MembersRequest(user_ids=list(user_ids))
        await self._admin_actions.replace_members(actor, session_id, request)


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
    chat: Chat
    events: EventBus
    """``emit`` events of your own, or handle those of others."""
    notifications: NotificationService
    control: Control
    """Requests to other nodes."""
    leases: Leases
    """Jobs have theirs already."""
    statistics: Statistics
    """``add_source`` for figures of this node."""
    tracing: Tracing
    """``add_outside`` for messages that are delivered to others than connections."""
    make_http_client: MakeHttpClient
