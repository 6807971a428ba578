"""``Server``: the messaging server inside a Python program, and what plugins are called with."""

from __future__ import annotations

import asyncio
import math
import re
import secrets
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypedDict, TypeVar, Unpack, overload

import msgspec

from wsserver.app import System
from wsserver.config import Settings, check_settings, make_folders, secret_bytes
from wsserver.errors import ValidationFailed
from wsserver.extension_registry import find_extensions
from wsserver.identity.claim_parser import parse_claims
from wsserver.identity.permissions import PROGRAM
from wsserver.identity.tokens import sign_hmac
from wsserver.lifecycle import Lifecycle
from wsserver.notifications.service import NotificationService
from wsserver.paging import MAX_LIMIT
from wsserver.plugins import call_plugins
from wsserver.protocol.answers import AnswerStartArgs, answer_faults
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.notifications import ContactsRequest, PreferencesRequest
from wsserver.protocol.requests import (
    BroadcastRequest,
    DisconnectRequest,
    HolderRequest,
    MembersRequest,
    PublishRequest,
    RevokeRequest,
    SessionRequest,
    read_request,
    session_faults,
)
from wsserver.protocol.targets import EVERYONE, Target, TargetType
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.observability.events import Handler, Wanted, check_handler
from wsserver.realtime.operations.publishing import publish_faults
from wsserver.realtime.streams.retention_policy import (
    BROADCAST,
    INBOX,
    ORGANIZATION,
    SESSION,
    is_kept_by_default,
)
from wsserver.server_answer import ServerAnswer
from wsserver.web.api.context import WebContext

T = TypeVar("T")
H = TypeVar("H", bound=Handler)

ACTOR = Actor(PROGRAM, via="server")

_KEY = re.compile(r"[ -~]{1,255}")
"""An idempotency key, as in the header of the REST API."""


class Push(TypedDict, total=False):
    """Options and body fields of a message: those of ``POST /messages`` in the REST API.

    A type of your own has the field ``data`` alone. ``keep``: store it in its stream before it is
    sent. ``ttl_s``: seconds until a kept message expires. ``idempotency_key``: the same key within
    24 hours is the same kept message. ``term``: only while the session is in this term.
    """

    keep: bool
    ttl_s: float
    term: int
    exclude_users: Collection[str]
    idempotency_key: str

    data: Any
    session_id: str
    user_id: str
    username: str
    is_typing: bool
    content: Any
    content_type: str
    sender: Mapping[str, str | None]
    message_id: str
    status: str
    reason: str
    progress: float
    detail: str
    delta: str
    connections: int


class Published(msgspec.Struct, frozen=True):
    """The outcome of a send: how many connections it matched and reached, and its position."""

    message_id: str
    matched: int
    """Connections that the message is for."""
    sent: int
    failed: int
    stream: str | None = None
    """None: a live message, which is not stored."""
    epoch: str | None = None
    offset: int | None = None


class Server:
    """A messaging server on the running event loop: ``async with Server(settings) as server:``.

    It may be started again after a stop. Its methods, but for ``on`` and ``off``, raise
    ``RuntimeError`` while it does not run, and are to be called on its event loop. What they send
    and change is not limited by the permissions of any role.
    """

    def __init__(self, settings: Settings) -> None:
        if not isinstance(settings, Settings):
            raise TypeError(f"Server(Settings(…)), not Server({type(settings).__name__})")
        self.settings = settings
        """From the start on as checked: with ``database``, ``jwt_algorithm`` and
        ``extension_settings`` filled in."""
        self._handlers: list[tuple[Wanted, Handler]] = []
        self._run: Lifecycle | None = None
        self._stopping = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_owner = True

    @classmethod
    def of(cls, run: Lifecycle) -> Server:
        """The face of a run that another owner starts and stops, for its plugins."""
        server = cls(run.settings)
        server._run, server._is_owner = run, False
        return server

    # Start and stop

    async def start(self) -> None:
        """Check the settings, open the database, call the plugins, listen.

        Raises ``ConfigFaults`` with everything that is wrong with settings, plugins, address and
        database; ``StorageUnavailable`` or ``StorageFull`` where that may pass. Nothing runs then.
        """
        if self._run is not None:
            raise RuntimeError("the server runs already")
        settings = check_settings(self.settings, find_extensions)
        make_folders(settings)
        self._loop = asyncio.get_running_loop()
        run = self._run = Lifecycle.prepare(settings)
        self._stopping = asyncio.Lock()  # a new one, as a lock belongs to one event loop
        self.settings = settings
        try:
            for name, handler in self._handlers:
                self.manager.add_event_handler(name, handler)
            await call_plugins(run.plugins, self)
            await run.load()
            run.listen()
        except BaseException:
            await self._abandon(run)
            raise

    async def stop(self) -> None:
        """Close all connections, finish what is under way, close the database.

        Takes ``drain_timeout_s`` at most for clients that do not answer. When cancelled, it
        closes everything without waiting for them. May be called from an event handler or a
        spawned task, and while another call is under way, whose end it then waits for.
        """
        run = self._running
        if not self._is_owner:
            raise RuntimeError("this server is stopped by the process that runs it")
        async with self._stopping:
            if self._run is not run:
                return
            try:
                await run.stop()
            except BaseException:
                await self._abandon(run)
                raise
            self._run = None

    async def _abandon(self, run: Lifecycle) -> None:
        try:
            await asyncio.shield(run.abandon())
        finally:
            self._run = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._run is not None:  # else it was stopped within the block
            await self.stop()

    @property
    def is_running(self) -> bool:
        """Whether it has started and not stopped."""
        return self._run is not None and self._run.system.service.is_running

    @property
    def url(self) -> str:
        """Where it listens: ``http://127.0.0.1:8765``; with port 0, the port that was free."""
        return self._running.url

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    def websocket_url(self, path: str = "/ws/chat", *, ticket: str | None = None) -> str:
        """The address of a WebSocket endpoint: ``ws://127.0.0.1:8765/ws/chat?ticket=…``."""
        if not path.startswith("/"):
            raise ValueError(f"a path begins with /, not {path!r}")
        query = "" if ticket is None else f"?ticket={ticket}"
        return f"{self.url.replace('http', 'ws', 1)}{path}{query}"

    # Events

    @overload
    def on(self, name: Wanted, handler: H) -> H: ...

    @overload
    def on(self, name: Wanted) -> Callable[[H], H]: ...

    def on(self, name: Wanted, handler: H | None = None) -> H | Callable[[H], H]:
        """Call ``handler`` with each event of this name: a name, a glob, or a test of names.

        Also a decorator: ``@server.on("user_connected")``. Handlers may be ``async``; a failure is
        logged and affects nothing else. Those added before a start are there at every start;
        those added later end with that run.
        """
        if handler is None:
            return partial(self._on, name)
        return self._on(name, handler)

    def _on(self, name: Wanted, handler: H) -> H:
        if self._run is None:
            check_handler(name, handler)
            self._handlers.append((name, handler))
        else:
            self.manager.add_event_handler(name, handler)
        return handler

    def off(self, name: Wanted, handler: Handler) -> None:
        """Undo ``on``; raises ``ValueError`` for a handler that was not added."""
        try:
            if self._run is not None:
                self.manager.events.remove_event_handler(name, handler)
            if self._run is None or (name, handler) in self._handlers:
                self._handlers.remove((name, handler))
        except ValueError:
            raise ValueError(f"no such handler of {name!r} was added: {handler!r}") from None

    def emit(self, name: str, **fields: Any) -> None:
        """Raise an event of your own, for handlers, monitors and webhooks."""
        self.manager.emit(name, **fields)

    # Sending

    async def send_to_user(self, user_id: str, type: str, /, **push: Unpack[Push]) -> Published:
        """Send to all connections of a user; with ``keep``, to later ones until acknowledged.

        This and the other sending methods raise ``ValidationFailed`` naming each wrong field,
        and for kept messages ``StorageUnavailable`` or ``StorageFull``.
        """
        return await self._publish(Target(TargetType.USER, user_id), type, push)

    async def send_to_session(
        self, session_id: str, type: str, /, **push: Unpack[Push]
    ) -> Published:
        """Send to all connections that have joined a session."""
        return await self._publish(Target(TargetType.SESSION, session_id), type, push)

    async def send_to_organization(
        self, organization_id: str, type: str, /, **push: Unpack[Push]
    ) -> Published:
        """Send to all connections of an organization's users."""
        return await self._publish(Target(TargetType.ORGANIZATION, organization_id), type, push)

    async def send_to_role(self, role: str, type: str, /, **push: Unpack[Push]) -> Published:
        """Send to all connections with a role; never kept."""
        return await self._publish(Target(TargetType.ROLE, role), type, push)

    async def send_to_connection(
        self, connection_id: str, type: str, /, **push: Unpack[Push]
    ) -> Published:
        """Send to one connection; never kept."""
        return await self._publish(Target(TargetType.CONNECTION, connection_id), type, push)

    async def broadcast(
        self,
        type: str,
        /,
        *,
        organization_id: str | None = None,
        role: str | None = None,
        **push: Unpack[Push],
    ) -> Published:
        """Send to all connections, or to those of an organization, of a role, or of both."""
        actor, body = _request(EVERYONE, type, push)
        body |= _given(organization_id=organization_id, role=role)
        request = read_request(body, BroadcastRequest, publish_faults)
        answer = await _checked(self._context.publishing.broadcast(actor, request), body)
        return msgspec.convert(answer, Published)

    async def _publish(self, target: Target, type: str, push: Push) -> Published:
        actor, body = _request(target, type, push)
        body["target"] = target.view()
        request = read_request(body, PublishRequest, publish_faults)
        answer = await _checked(self._context.publishing.publish(actor, request), body)
        return msgspec.convert(answer, Published)

    async def start_answer(self, session_id: str, /, **fields: Any) -> ServerAnswer:
        """Begin a message whose text grows, with the fields of ``POST /sessions/{id}/answers``.

        ``sender``, ``content`` (the first text), ``content_type``, ``reply_to``, ``term``,
        ``metadata``. Raises ``ValidationFailed``, ``NotFound`` for an unknown ``reply_to``,
        ``StorageUnavailable``, ``StorageFull``; ``term_changed`` and ``answer_too_long``.
        """
        request = read_request({**fields, "session_id": session_id}, AnswerStartArgs, answer_faults)
        answers = self._context.answers
        started = await _checked(answers.start(ACTOR, session_id, request), fields)
        return ServerAnswer(answers, ACTOR, started)

    async def history(
        self, stream: str, *, before: int | None = None, after: int | None = None, limit: int = 50
    ) -> dict[str, Any]:
        """A page of kept messages: the last ``limit``, those before an offset, or those after one.

        ``stream``: ``session:ID``, ``user:ID``, ``organization:ID`` or ``broadcast``. Returns
        ``messages`` (ascending, as clients get them), ``epoch`` and ``has_more``. Raises
        ``ValueError`` for another name or limit, ``StorageUnavailable``.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise ValueError(f"limit: 1 to {MAX_LIMIT}, not {limit}")
        kind, _, id_ = stream.partition(":")
        if stream != BROADCAST and not (id_ and f"{kind}:" in (SESSION, INBOX, ORGANIZATION)):
            raise ValueError(f"a stream is session:ID, user:ID, … or broadcast, not {stream!r}")
        page = await self._system.streams.history(
            stream, None, before=before, after=after, limit=limit
        )
        return {**page.answer(), "messages": [msgspec.json.decode(each) for each in page.messages]}

    @property
    def notifications(self) -> NotificationService:
        """Notifications by WebSocket, e-mail, SMS and push."""
        return self._system.notifications

    # Connections and users

    @property
    def manager(self) -> WebSocketManager:
        """The connections and their events; also the argument of plugins that name it so."""
        return self._system.manager

    def connections(
        self, *, user_id: str | None = None, session_id: str | None = None
    ) -> list[ConnectionInfo]:
        """The open connections: all, or those of a user, in a session, or both."""
        hub = self.manager.hub
        if user_id is None:
            return list(hub if session_id is None else hub.of_session(session_id))
        return [c for c in hub.of_user(user_id) if session_id in (None, *(c.sessions or ()))]

    def is_online(self, user_id: str) -> bool:
        """Whether a user has an open connection."""
        return bool(self.manager.hub.of_user(user_id))

    def online_users(self) -> list[str]:
        """The ids of all users with an open connection, sorted."""
        return sorted(self.manager.hub.user_connections)

    async def disconnect(
        self, connection_id: str, code: int = CloseCode.DISCONNECTED, reason: str = ""
    ) -> bool:
        """Close a connection; False if there is none with this id."""
        return await self.manager.disconnect(connection_id, code, reason)

    async def disconnect_user(self, user_id: str, *, reason: str = "") -> int:
        """Close all connections of a user with 4502; returns their number."""
        request = read_request(_given(user_id=user_id, reason=reason or None), DisconnectRequest)
        answer = await self._context.admin_actions.disconnect_user(ACTOR, request)
        return int(answer["disconnected"])

    async def revoke(self, *, user_id: str | None = None, jti: str | None = None) -> int:
        """Refuse one token from now on, or all that a user has; returns the connections closed."""
        request = read_request(_given(user_id=user_id, jti=jti), RevokeRequest)
        answer = await self._context.admin_actions.revoke(ACTOR, request)
        return int(answer["disconnected"])

    async def members(self, session_id: str) -> list[str]:
        """The user ids in a session's member list."""
        answer = await self._context.admin_actions.members(ACTOR, session_id)
        return list(answer["user_ids"])

    async def replace_members(self, session_id: str, user_ids: Sequence[str]) -> list[str]:
        """Replace a session's member list; connections that lose access by it leave the session."""
        request = read_request({"user_ids": _listed(user_ids)}, MembersRequest)
        answer = await self._context.admin_actions.replace_members(ACTOR, session_id, request)
        return list(answer["user_ids"])

    async def session(self, session_id: str) -> dict[str, Any]:
        """A session as a conversation, as ``GET /sessions/{id}``; ``NotFound`` if never used."""
        view = await self._context.admin_queries.session(ACTOR, session_id)
        return _decoded(view)

    async def change_session(self, session_id: str, **fields: Any) -> dict[str, Any]:
        """Change its title, state, metadata or organization; creates one that is new."""
        request = read_request(fields, SessionRequest, session_faults)
        await _checked(self._context.session_actions.change(ACTOR, session_id, request), fields)
        return await self.session(session_id)

    async def give_session(
        self, session_id: str, holder: Mapping[str, str] | None, *, expected_term: int | None = None
    ) -> dict[str, Any]:
        """Give it to a user or an AI (``type``, ``id``), or to nobody; the term rises then.

        ``expected_term``: only while the session is in this term; else ``term_changed``.
        """
        request = read_request(
            {"holder": holder, **_given(expected_term=expected_term)}, HolderRequest
        )
        return _decoded(await self._context.session_actions.hold(ACTOR, session_id, request))

    async def contacts(self, user_id: str) -> dict[str, Any]:
        """Where notifications reach a user: e-mail address, phone number, push subscriptions."""
        return await self._context.notifications.contacts(ACTOR, user_id)

    async def replace_contacts(self, user_id: str, **fields: Any) -> dict[str, Any]:
        """Replace them, with the fields of ``PUT /users/{id}/contacts``; ``ValidationFailed``."""
        request = read_request(fields, ContactsRequest)
        return await self._context.notifications.replace_contacts(ACTOR, user_id, request)

    async def preferences(self, user_id: str) -> dict[str, Any]:
        """What a user has chosen about notifications, as ``GET /users/{id}/preferences``."""
        return await self._context.notification_preferences.get(ACTOR, user_id)

    async def change_preferences(self, user_id: str, **fields: Any) -> dict[str, Any]:
        """Change them: the fields of ``PATCH /users/{id}/preferences``; ``ValidationFailed``."""
        api = self._context.notification_preferences
        request = read_request(fields, PreferencesRequest, api.faults_of)
        return await api.change(ACTOR, user_id, request)

    # State

    def stats(self) -> dict[str, Any]:
        """The statistics, as ``GET /stats``."""
        return self.manager.stats()

    def health(self) -> dict[str, Any]:
        """``status`` (``ok``, ``degraded``, ``starting``, ``draining``) and ``checks``."""
        return self._system.service.health()

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run a coroutine in the background until the server stops; a failure is logged."""
        return self._system.service.tasks.spawn(coroutine, name=name)

    # Credentials

    def token(
        self, user_id: str, *, role: str = "user", ttl_s: float = 3600.0, **claims: Any
    ) -> str:
        """Sign a token for a user with the server's own secret.

        ``claims``: more of the token's claims, as ``organization_id``, ``username``,
        ``sessions=["s1"]`` or ``"*"``. Raises ``ValueError`` for a server that checks tokens with
        public keys, ``TokenInvalid`` for claims that it would refuse.
        """
        settings = self.settings
        secret = secret_bytes(settings)
        if secret is None:
            raise ValueError("the server has no secret to sign tokens with, only public keys")
        payload = self._payload(user_id, role, ttl_s, claims)
        payload[settings.jwt_user_claim] = user_id
        parse_claims(payload, settings.jwt_user_claim)
        return sign_hmac(secret, payload, settings.jwt_algorithm[0])

    def ticket(
        self, user_id: str, *, role: str = "user", ttl_s: float = 30.0, **claims: Any
    ) -> str:
        """Issue a ticket for a user: a credential for a URL, good for one connection.

        ``claims`` as those of ``token``; connections made with it last an hour.
        """
        if not math.isfinite(ttl_s):
            raise ValueError(f"ttl_s: a number of seconds, not {ttl_s}")
        parsed = parse_claims(self._payload(user_id, role, 3600.0, claims))
        ticket = self._system.tickets.issue(parsed, ttl_s)[0]
        if self._system.tickets.exchange.is_shared:
            self._context.tasks.spawn(self._system.tickets.share(ticket), name="ticket")
        return ticket

    def _payload(
        self, user_id: str, role: str, ttl_s: float, claims: Mapping[str, Any]
    ) -> dict[str, Any]:
        now = int(self._context.clock.wall())
        settings = self.settings
        return {
            "sub": user_id,
            "role": role,
            "iat": now,
            "exp": now + ttl_s,
            "jti": secrets.token_hex(8),
            **_given(iss=settings.jwt_issuer, aud=settings.jwt_audience),
            **claims,
        }

    # Internals

    @property
    def _running(self) -> Lifecycle:
        if self._run is None:
            raise RuntimeError("the server does not run; use it inside of `async with server`")
        if self._loop is not None and asyncio._get_running_loop() not in (None, self._loop):
            raise RuntimeError(
                "the server runs on another event loop; from there use"
                " asyncio.run_coroutine_threadsafe(server.…, loop)"
            )
        return self._run

    @property
    def _system(self) -> System:
        return self._running.system

    @property
    def _context(self) -> WebContext:
        return self._running.system.context


def _request(target: Target, type_: str, push: Push) -> tuple[Actor, dict[str, Any]]:
    """The requester, with the idempotency key, and the body of the request."""
    faults = [
        {"field": name, "message": "unknown field"} for name in ("type", "target") if name in push
    ]
    if faults:
        raise ValidationFailed(faults)
    body: dict[str, Any] = {"type": type_, **push}
    if "exclude_users" in body:
        body["exclude_users"] = _listed(body["exclude_users"])
    key = body.pop("idempotency_key", None)
    if key is None:
        return ACTOR, body
    if not isinstance(key, str) or _KEY.fullmatch(key) is None:
        message = "1 to 255 printable ASCII characters"
        raise ValidationFailed([{"field": "idempotency_key", "message": message}])
    if not body.get("keep", is_kept_by_default(type_, target)):
        message = "only for messages that are kept"
        raise ValidationFailed([{"field": "idempotency_key", "message": message}])
    return replace(ACTOR, once=(PROGRAM.sub, key)), body


async def _checked(publishing: Awaitable[T], body: Mapping[str, Any]) -> T:
    """Await ``publishing``; raises ``ValidationFailed`` for values that JSON does not have."""
    try:
        return await publishing
    except (TypeError, ValueError, RecursionError) as error:
        for name, value in body.items():
            try:
                msgspec.json.encode(value)
            except (TypeError, ValueError, RecursionError):
                message = f"is no JSON: {error}"
                raise ValidationFailed([{"field": name, "message": message}]) from None
        raise


def _listed(user_ids: Any) -> Any:
    """Several ids as a list. A string stays as it is, and is refused: it is not its characters."""
    if isinstance(user_ids, Collection) and not isinstance(user_ids, str | bytes | Mapping):
        return list(user_ids)
    return user_ids


def _decoded(view: Mapping[str, Any]) -> dict[str, Any]:
    """An answer of the REST API as it is read from JSON."""
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(view))
    return decoded


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
