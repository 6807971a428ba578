"""The live side as ``build_live`` makes it, and WebSocket clients over socket pairs."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tornado.ioloop import IOLoop

from tests.support.frames import CLOSE, PING, TEXT, client_frame, read_close
from tests.support.wire_peers import Peer
from wsserver.app import live_settings
from wsserver.cluster.broker import Broker
from wsserver.cluster.control import Control
from wsserver.cluster.directory import ConnectionDirectory
from wsserver.cluster.local import LocalControl, LocalDirectory
from wsserver.cluster.memory import MemoryBroker
from wsserver.config import Settings
from wsserver.identity.claims import Claims
from wsserver.identity.keys import SecretKeys
from wsserver.identity.permissions import Permissions
from wsserver.identity.revocations import Revocations
from wsserver.identity.tickets import Tickets
from wsserver.identity.tokens import TokenVerifier, sign_hmac
from wsserver.notifications.acknowledgements import Acknowledgements
from wsserver.notifications.metrics import NotificationMetrics
from wsserver.notifications.user_directory import UserDirectory
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.access.memberships import AssignedOrganizations, Members
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.connection_limit import ConnectionLimits
from wsserver.realtime.connections.connection_log import ConnectionLog
from wsserver.realtime.connections.hub import Hub, HubRecords
from wsserver.realtime.manager import ConnectRequest
from wsserver.realtime.wiring import build_live
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.notifications.acknowledgements import AcknowledgementStore
from wsserver.storage.notifications.known_users import KnownUserStore
from wsserver.storage.tables.access_lists import MemberStore, OrganizationStore, RevocationStore
from wsserver.storage.tables.audit import AuditEntry, AuditLog
from wsserver.tasks import Tasks
from wsserver.wire.poller import Poller

SECRET = b"0123456789abcdef0123456789abcdef"

LIMITS = ConnectionLimits(50_000, 5, "reject")
SESSION_LIMIT = 8
"""Sessions that a connection may be in."""


class Live:
    """One node: the real classes, a real database, real sockets, a clock that the test moves."""

    def __init__(
        self,
        clock: Any,
        path: Path,
        *,
        queue_limit_bytes: int = 1024 * 1024,
        roles: dict[str, list[str]] | None = None,
        with_notifications: bool = False,
        seams: Any = None,
        message_check: Any = None,
        removals: Any = (),
        **settings: Any,
    ) -> None:
        """``seams``: those of a node of a cluster; ``settings``: of ``LiveSettings``."""
        self.clock = clock
        self.tasks = Tasks()
        self.permissions = Permissions(roles)
        self.revocations = Revocations(clock)
        self.database = SqliteDatabase(path, clock=clock)
        self.organizations = AssignedOrganizations(OrganizationStore(self.database))
        resolve = self.organizations.resolve
        self.tickets = Tickets(clock, revocations=self.revocations, resolve=resolve)
        self.verifier = TokenVerifier(
            SecretKeys(SECRET), ["HS256"], clock, revocations=self.revocations, resolve=resolve
        )
        self.audit = AuditLog(self.database)
        self.revocation_store = RevocationStore(self.database)
        self.members = Members(MemberStore(self.database))
        self.connection_log = ConnectionLog(clock)
        self.broker: Broker = MemoryBroker() if seams is None else seams.broker
        self.hub = Hub(
            self.connection_log,
            resolve,
            follow=self.broker.follow,
            unfollow=self.broker.unfollow,
        )
        self.directory = UserDirectory(
            KnownUserStore(self.database), self.hub, clock, self.organizations.get
        )
        self.control: Control = LocalControl("node-1") if seams is None else seams.control
        self.connections: ConnectionDirectory = (
            LocalDirectory(HubRecords(self.hub, "node-1"), "node-1", "", 0.0)
            if seams is None
            else seams.directory_of(HubRecords(self.hub, seams.control.node))
        )
        self.poller = Poller(
            IOLoop.current(), clock, queue_limit_bytes=queue_limit_bytes, coalesce_s=0
        )
        self.metrics = NotificationMetrics()
        self.acknowledgements = Acknowledgements(
            AcknowledgementStore(self.database), self.metrics, clock, self.tasks
        )
        defaults = Settings(
            node="node-1",
            jwt_leeway_s=0.0,
            message_rate=1e6,
            message_burst=1_000_000,
            max_sessions_per_connection=SESSION_LIMIT,
            queue_limit_bytes=queue_limit_bytes,
            archive_retention_days=0.0,
        )
        chosen = replace(live_settings(defaults), **{"limits": LIMITS, **settings})
        live = build_live(
            chosen,
            clock=clock,
            tasks=self.tasks,
            database=self.database,
            broker=self.broker,
            control=self.control,
            connections=self.connections,
            poller=self.poller,
            hub=self.hub,
            directory=self.directory,
            organizations=self.organizations,
            members=self.members,
            permissions=self.permissions,
            revocations=self.revocations,
            revocation_store=self.revocation_store,
            tickets=self.tickets,
            verifier=self.verifier,
            audit=self.audit,
            notification_receipts=self.acknowledgements if with_notifications else None,
            message_check=message_check,
            removals=removals,
        )
        self.statistics, self.events, self.traces = live.statistics, live.events, live.traces
        self.tenancy, self.store, self.receipt_store = live.tenancy, live.store, live.receipt_store
        self.streams, self.router, self.writer = live.streams, live.router, live.writer
        self.revisions, self.unread, self.delivery = live.revisions, live.unread, live.delivery
        self.receipts, self.inboxes, self.statuses = live.receipts, live.inboxes, live.statuses
        self.plain_receipts = live.plain_receipts
        self.expirer, self.dispatcher, self.manager = live.expirer, live.dispatcher, live.manager
        self.admin_queries, self.admin_actions = live.admin_queries, live.admin_actions
        self.publishing, self.tracing = live.publishing, live.tracing
        self.conversations = live.conversations
        self.answers, self.owned_answers = live.answers, live.owned_answers
        self.message_changes = live.message_changes
        self.user_records = live.user_records
        self.search, self.search_indexer = live.search, live.search_indexer
        self.seen: list[dict[str, Any]] = []
        """Every event since ``watch``."""
        self.clients: list[Client] = []

    async def start(self) -> None:
        await self.database.open()
        await self.members.load()
        await self.organizations.load()
        await self.streams.load()
        await self.owned_answers.take_over()
        self.manager.started()

    async def stop(self) -> None:
        self.poller.close()
        await self.streams.finish()
        await self.receipts.settle()
        await self.owned_answers.stop()
        await self.tasks.cancel()
        for client in self.clients:
            client.socket.close()
        self.audit.close()
        await self.database.close()

    def claims(self, user: str = "u1", **changes: Any) -> Claims:
        if "sessions" in changes and changes["sessions"] != "*":
            changes["sessions"] = frozenset(changes["sessions"])
        changes.setdefault("exp", self.clock.wall() + 86400)
        return Claims(sub=user, **changes)

    def actor(self, role: str = "admin", user: str = "boss", **changes: Any) -> Actor:
        return Actor(self.claims(user, role=role, **changes), "10.0.0.9", "req_1")

    def token(self, user: str = "u1", **changes: Any) -> str:
        return sign_hmac(SECRET, {"sub": user, "exp": self.clock.wall() + 86400, **changes})

    async def connect(
        self,
        user: str = "u1",
        *,
        endpoint: str = "chat",
        session_id: str | None = None,
        protocol: str = "wsserver.v1",
        greeted: bool = True,
        received: bytes = b"",
        **claims: Any,
    ) -> Client:
        """A connected client, which has read its greeting unless ``greeted`` is False."""
        fd, client = socket_pair()
        self.clients.append(client)
        request = ConnectRequest(
            claims=self.claims(user, **claims),
            endpoint=endpoint,
            session_id=session_id,
            protocol=protocol,
            remote_ip="10.0.0.1",
            user_agent="test",
        )
        try:
            client.info = await self.manager.connect(fd, request, received=received)
        except Exception:
            os.close(fd)
            raise
        if greeted:
            client.established = await client.receive("connection_established")
            if session_id is not None:
                client.joined = await client.receive("session_joined")
        return client

    async def monitor(self, user: str = "admin", role: str = "admin", **claims: Any) -> Client:
        return await self.connect(user, endpoint="monitor", role=role, **claims)

    async def in_session(self, user: str, session_id: str = "s1", **claims: Any) -> Client:
        """A client on ``/ws/chat`` that has joined a session."""
        client = await self.connect(user, **{"sessions": [session_id], **claims})
        await client.call("join_session", session_id=session_id)
        return client

    def watch(self, glob: str = "*") -> list[dict[str, Any]]:
        self.events.add_event_handler(glob, self.seen.append)
        return self.seen

    def forget_streams(self) -> None:
        """Forget what is in memory of all streams, so that it is read from storage."""
        self.streams.forget_all(self.streams._index.epoch)

    def forget_traces(self) -> None:
        """Forget the traces of live messages, as after a restart."""
        self.traces._entries.clear()
        self.traces._index.clear()

    async def audited(self) -> list[AuditEntry]:
        return list((await self.audit.page(100)).items)

    async def tick(self, seconds: float, step_s: float | None = None) -> None:
        """Let time pass as the service's periodic work sees it."""
        step_s = step_s or self.manager.heartbeat.settings.tick_s
        for _ in range(round(seconds / step_s)):
            self.clock.advance(step_s)
            self.manager.heartbeat.advance()
        await settle()


class Client:
    """A WebSocket client over a socket pair."""

    info: ConnectionInfo
    established: dict[str, Any]
    joined: dict[str, Any]

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._peer = Peer(sock)
        self.pushes: list[dict[str, Any]] = []
        """Pushes that came while ``call`` waited for its reply, pings excepted."""
        self.pings: list[dict[str, Any]] = []
        self.unread_changes: list[dict[str, Any]] = []
        self.feed_changes: list[dict[str, Any]] = []
        self.wire_pings: list[bytes] = []
        self._ref = 0

    @property
    def id(self) -> str:
        return self.info.connection_id

    @property
    def sessions(self) -> set[str]:
        """The sessions that the server has it in."""
        return set(self.info.sessions or ())

    def send_frame(self, opcode: int, payload: bytes) -> None:
        self.socket.sendall(client_frame(payload, opcode))

    def send(self, type_: str | bytes, **members: Any) -> None:
        if isinstance(type_, bytes):
            self.send_frame(TEXT, type_)
        else:
            self.send_frame(TEXT, json.dumps({"type": type_, **members}).encode())

    async def call(self, type_: str, **members: Any) -> dict[str, Any]:
        """Send a command and return its one reply."""
        self._ref += 1
        self.send(type_, ref=self._ref, **members)
        return await self.reply(self._ref)

    async def reply(self, ref: Any) -> dict[str, Any]:
        while True:
            message = await self.message()
            if "ref" in message:
                assert message["ref"] == ref, message
                return message
            self.pushes.append(message)

    async def error(self, type_: str, **members: Any) -> str:
        """Send a command that must be refused; return the code."""
        answer = await self.call(type_, **members)
        assert answer["type"] == "error", answer
        return str(answer["error"]["code"])

    async def receive(self, type_: str) -> dict[str, Any]:
        """The next push, which must be of this type."""
        message = self.pushes.pop(0) if self.pushes else await self.message()
        assert message["type"] == type_, message
        return message

    async def rest(self) -> list[dict[str, Any]]:
        """Everything pushed so far: what comes before the answer to a command sent now."""
        await settle()
        await self.call("ping")
        taken, self.pushes = self.pushes, []
        return taken

    async def message(self) -> dict[str, Any]:
        """The next JSON message that is no heartbeat."""
        while True:
            opcode, payload = await self.frame()
            if opcode == PING:
                self.wire_pings.append(payload)
                continue
            assert opcode == TEXT, (opcode, payload)
            message: dict[str, Any] = json.loads(payload)
            if message["type"] == "unread_changed":  # comes when the server gets to it
                self.unread_changes.append(message)
            elif message["type"] == "notifications_changed":  # the same
                self.feed_changes.append(message)
            elif message["type"] == "ping":
                self.pings.append(message)
            else:
                return message

    async def closing(self) -> tuple[int, str]:
        """Code and reason of the close frame, whatever comes before it (kept in ``pushes``)."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                return read_close(payload)
            if opcode == TEXT:
                self.pushes.append(json.loads(payload))

    async def frame(self) -> tuple[int, bytes]:
        return await self._peer.frame()


def socket_pair() -> tuple[int, Client]:
    """A descriptor for a poller to own, and the client at its other end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours.detach(), Client(theirs)


async def settle() -> None:
    """Let the loop do what is ready: sockets included."""
    for _ in range(5):
        await asyncio.sleep(0)


MakeLive = Callable[..., Awaitable[Live]]
